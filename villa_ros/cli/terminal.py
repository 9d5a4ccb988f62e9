"""What every `villa` command shares: where it writes, how it shows progress, how it fails."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from villa.interface import SegmentationModel

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # in any command, wherever it writes
EXIT_FAILURE = 1
EXIT_USAGE = 2
_PIPE_COLUMNS = 120

T = TypeVar("T")

# A file or a pipe has no width; 80 columns would fold the tables to shreds.
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_COLUMNS)
err = Console(stderr=True)


Checkpoint = Annotated[str, typer.Option(metavar="PATH", help="Model file or folder; empty: the shipped model.")]
Device = Annotated[str, typer.Option(help="Torch device: cpu, cuda, cuda:1.")]
Threads = Annotated[int, typer.Option(min=0, max=256, help="Threads of one torch operation; 0: torch decides.")]


def fail(message: str, code: int = EXIT_FAILURE) -> NoReturn:
    """Say on stderr what is wrong, and end with an exit code."""
    tell(message)
    raise typer.Exit(code)


def tell(message: str) -> None:
    """Say on stderr what is wrong."""
    err.print(f"[bold red]villa:[/] {escape(message)}", soft_wrap=True, highlight=False)


def need_ros() -> None:
    """End here where rclpy or villa_msgs is missing."""
    from villa_ros.replay.live_graph import have_ros

    if not have_ros():
        fail("rclpy or villa_msgs is not installed here: run `make setup`, or source your workspace")


def usage(message: str) -> NoReturn:
    """The command was called wrongly."""
    fail(message, EXIT_USAGE)


@contextmanager
def expected(*errors: type[BaseException]) -> Iterator[None]:
    """Turn errors that a user can do something about into one message and exit code 1."""
    try:
        yield
    except errors as error:
        fail(str(error))


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on stderr that vanishes when it is done; nothing where stderr is no terminal."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        yield bar


@contextmanager
def playing_bar() -> Iterator[Callable[[float, float], None]]:
    """A bar for a bag that plays at its own rate: tell it the seconds played and the seconds in all."""
    with progress_bar() as bar:
        task = bar.add_task("starting the node", total=None)

        def watch(played_s: float, total_s: float) -> None:
            if played_s:
                done_s = min(round(played_s), round(total_s))
                bar.update(task, description="playing, seconds", completed=done_s, total=round(total_s))

        yield watch


def bars_by_name(bar: Progress) -> Callable[[str, int, int], None]:
    """A bar for each thing that is under way: tell it the name, how much is done and how much there is."""
    tasks: dict[str, TaskID] = {}

    def progress(name: str, done: int, count: int) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=count)
        bar.update(tasks[name], completed=done)

    return progress


@contextmanager
def replay_bars() -> Iterator[Callable[[str, int, int], None]]:
    """`bars_by_name`, shown while this is open."""
    with progress_bar() as bar:
        yield bars_by_name(bar)


def tracked(items: Iterable[T], count: int | None, doing: str) -> Iterable[T]:
    """The same items, under a progress bar."""
    with progress_bar() as bar:
        yield from bar.track(items, total=count, description=doing)


def open_model(checkpoint: str, device: str, threads: int = 0) -> SegmentationModel:
    """Load the model, telling what is going on; what a checkpoint can be wrong about ends the command."""
    from villa_ros.runtime.model_loading import limit_threads, load_model

    # torch tells an unknown or missing device by RuntimeError, or AssertionError where it was built without
    with err.status("loading the model"), expected(OSError, ValueError, RuntimeError, AssertionError):
        limit_threads(threads)
        return load_model(checkpoint, device)


def paths(*named: tuple[str, Path | None]) -> None:
    """Say what lies where, one a line; what was not written is left out."""
    for name, path in named:
        if path is not None:
            out.print(f"{name + ':':<15}{path}", highlight=False, markup=False, soft_wrap=True)
