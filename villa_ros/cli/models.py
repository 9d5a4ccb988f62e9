"""`villa info NAME` and `villa download`: named configurations and the published parts they are made of."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from villa_ros.cli.terminal import err, expected, fail, out, usage

if TYPE_CHECKING:
    from villa.checkpoints.presets import NamedConfig

_CONVERTED = "sa2va"  # the folder of what `villa convert` makes parts of


def show(name: str) -> None:
    """Print what a named configuration amounts to."""
    with err.status("counting parameters"), expected(FileNotFoundError, ValueError):
        from villa.checkpoints.presets import PARTS
        from villa.training.model_size import size_of
        from villa_ros.cli.model_table import notes, table
        from villa_ros.runtime.package_share import share_path

        named = read_named(name)
        size = size_of(named)
        folder = share_path("configs", PARTS)
    out.print(table(named, size))
    for line in notes(named, size, folder):
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def read_named(name: str) -> NamedConfig:
    """A configuration by its name, or by the path of its file.

    Raises:
        FileNotFoundError: the configurations are not installed.
        ConfigError: no such name, or a file that cannot be.
    """
    from villa.checkpoints.presets import read
    from villa_ros.runtime.package_share import share_path

    return read(name, share_path("configs"))


def download(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="Name of a configuration, or its JSON file.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the new checkpoint.")],
    update: Annotated[
        bool, typer.Option("--update", help="Accept revisions and files that differ from the lock.")
    ] = False,
) -> None:
    """Fetch a configuration's published parts from the Hugging Face hub and make a checkpoint folder of them."""
    with expected(FileNotFoundError, ValueError):
        named = read_named(config)
    wanted = {role: part.repository for role, part in named.parts.items()}
    if named.converted_from:
        wanted = {_CONVERTED: named.converted_from}
    if not wanted:
        usage(f"{named.name} is not made of published parts: it ships with villa_ros, or is trained by `villa train`")
    _licences(named)
    from villa.checkpoints.hub import LOCK, HubError, fetch, read_lock

    with expected(HubError, OSError):
        _quiet()
        before = read_lock(folder)
        locked = fetch(wanted, folder, update=update, endpoint=os.environ.get("HF_ENDPOINT") or None)
    for name, part in locked.items():
        revision = part.revision or "revision not known, put there by hand"
        out.print(f"{name + ':':<8}{part.repository} at {revision}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"lock:   {folder / LOCK}", highlight=False, markup=False, soft_wrap=True)
    if named.converted_from:
        out.print(
            f"next:   villa convert {folder / _CONVERTED} --out CHECKPOINT",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return
    changed = [name for name, part in locked.items() if name in before and before[name].files != part.files]
    _assembled(named, folder, changed)


def _assembled(named: NamedConfig, folder: Path, changed: list[str]) -> None:
    from villa.modeling.language.lora import AdapterError

    with expected(AdapterError, OSError, ValueError):
        from villa.checkpoints.assemble import assemble

        with err.status("putting the parts together"):
            made = assemble(named, folder)
    if not made:
        out.print(f"model:  {folder / 'villa'} was there already and is left as it is", markup=False, soft_wrap=True)
        if changed:
            out.print(
                f"[yellow]It was made over other files of {' and '.join(changed)}: what it learnt on those need not "
                "hold any more. Delete it and run the same command to begin anew, or run `villa tune` again.[/]",
                highlight=False,
                soft_wrap=True,
            )
        return
    out.print(f"model:  {folder}", highlight=False, markup=False, soft_wrap=True)
    out.print(
        "[yellow]ViLLa's own blocks in it are untrained: its masks mean nothing before `villa tune`.[/]",
        highlight=False,
    )


def _licences(named: NamedConfig) -> None:
    """Say before the download under what terms it is."""
    for part in named.parts.values():
        terms = part.licence or "licence not known"
        out.print(f"{part.repository}: {terms}", highlight=False, markup=False, soft_wrap=True)
        if part.licence_doubt:
            out.print(f"  in doubt: {part.licence_doubt}", style="yellow", highlight=False, markup=False)


def _quiet() -> None:
    """No progress bars where stderr is no terminal."""
    try:
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # it is
    except ImportError:
        fail("huggingface_hub is not installed: pip install huggingface_hub")
    if not sys.stderr.isatty() and "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        disable_progress_bars()
