"""A table of parameters as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field
from typing import Any

from villa_ros.runtime.parameter_table import CONFIGURE, LIVE, START

_WHEN = {LIVE: "at once", CONFIGURE: "when configuring", START: "at the start"}


def table_rows(table: dict[str, Field[Any]], prefix: str) -> Iterator[str]:
    """The lines of a Markdown table, for every parameter with its default, range and meaning."""
    yield "| parameter | type | default | range | changes | meaning |"
    yield "|---|---|---|---|---|---|"
    for name, row in table.items():
        limits, choices, when = (row.metadata[key] for key in ("limits", "choices", "when"))
        span = f"{limits[0]:g} to {limits[1]:g}" if limits else ", ".join(map(str, choices))
        text = row.metadata["text"].replace("|", "\\|")
        yield f"| `{prefix}{name}` | {_kind(row)} | {_shown(row.default)} | {span} | {_WHEN[when]} | {text} |"


def _kind(row: Field[Any]) -> str:
    names = {bool: "bool", int: "integer", float: "double", str: "string", tuple: "string array"}
    return names[type(row.default)]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"
