"""A configuration as `villa info NAME` shows it: parameters, what is trained, memory, sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from villa.checkpoints.presets import NamedConfig
    from villa.training.model_size import Size

_LEAST_SHOWN = 50_000  # parameters that make 0.1 M


def table(named: NamedConfig, size: Size) -> Table:
    """One line for each part; the sums are the last lines."""
    whole = size.parameters
    result = Table(title=named.name, box=SIMPLE_HEAD, pad_edge=False)
    result.add_column("part")
    result.add_column("what")
    result.add_column("parameters", justify="right", no_wrap=True)
    result.add_column("share", justify="right", no_wrap=True)
    result.add_column("villa tune", no_wrap=True)
    before = ""
    for row in size.rows:
        if before and row.part != before:
            result.add_section()
        name = f"{row.name}, rank {size.lora_rank}" if row.name == "LoRA adapters" else row.name
        extra = row.name == "LoRA adapters" and size.lora_assumed
        result.add_row(
            row.part if row.part != before else "",
            escape(f"{name} *" if extra else name),
            millions(row.parameters),
            "" if extra else f"{row.parameters / whole:.1%}",
            "[green]trained[/]" if row.trained else "frozen",
        )
        before = row.part
    result.add_section()
    result.add_row("[bold]in all[/]", "", f"[bold]{millions(whole)}[/]")
    result.add_row("trained", "", millions(size.trained))
    return result


def notes(named: NamedConfig, size: Size, folder: Path) -> list[str]:
    """What stands below the table, a line each."""
    from villa.training.model_size import BYTES, FRAME_PX, gigabytes

    lines = []
    if size.lora_assumed:
        lines.append(
            f"* not in the configuration and not in the sum: `villa tune --lora-rank {size.lora_rank}` adds them"
        )
    height, width = FRAME_PX
    for dtype in BYTES:
        both = size.weight_bytes(dtype) + size.cache_bytes(dtype)
        lines.append(
            f"memory, {dtype:<8}  weights {gigabytes(size.weight_bytes(dtype))}, keys and values "
            f"{gigabytes(size.cache_bytes(dtype))}, together {gigabytes(both)}; activations come on top"
        )
    config = named.config
    lines.append(
        f"prompt            {size.prompt_tokens} tokens: {size.frames} frames of {width}x{height} at "
        f"{size.visual_tokens} visual tokens, a request of at most {config.max_request_tokens}, an answer of at most "
        f"{config.max_new_tokens}"
    )
    for role, part in named.parts.items():
        lines.append(
            f"{role:<16}  {part.repository}, {part.licence or 'licence not known'}; parameters published: "
            f"{part.published or 'none'}, counted: {part.parameters or 0:,}; sources: {folder / (part.name + '.json')}"
        )
        if part.licence_doubt:
            lines.append(f"{'':<16}  licence in doubt: {part.licence_doubt}")
    lines += [
        f"{label:<16}  {text}"
        for label, text in (("made from", named.converted_from), ("note", named.note), ("source", named.source))
        if text
    ]
    return lines


def millions(count: int) -> str:
    """A number of parameters in millions; small ones in full."""
    return f"{count / 1e6:,.1f} M" if count >= _LEAST_SHOWN else f"{count:,}"
