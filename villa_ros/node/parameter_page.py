"""docs/parameters.md, made from the tables that declare the parameters: python -m villa_ros.node.parameter_page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import Field
from typing import Any

from villa_ros.node.parameters import CAMERA_TABLE, CONFIGURE, LIVE, START, TABLE

_HEAD = """# Parameters of villa_node

Made from `villa_ros/node/parameters.py` by `python -m villa_ros.node.parameter_page`; a test keeps it in step.
[node.md](node.md) says how parameters are given.

A change takes effect

- **at once**: `ros2 param set` works while the node is active. A value that does not fit is refused with the reason.
- **when configuring**: refused while the node is configured. Clean it up, set the parameter, configure it again.
- **at the start** only: read-only once the node runs.
"""
_CAMERAS = """
## Of each camera

Each name in `cameras` has these parameters below its own name, `camera.image_topic` for the camera `camera`.
"""
_WHEN = {LIVE: "at once", CONFIGURE: "when configuring", START: "at the start"}


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *table_rows(TABLE, ""), _CAMERAS, *table_rows(CAMERA_TABLE, "<camera>."), ""])


def table_rows(table: dict[str, Field[Any]], prefix: str) -> Iterator[str]:
    """The lines of a Markdown table, for every parameter with its default, range and meaning."""
    yield "| parameter | type | default | range | changes | meaning |"
    yield "|---|---|---|---|---|---|"
    for name, row in table.items():
        limits, choices, when = (row.metadata[key] for key in ("limits", "choices", "when"))
        span = f"{limits[0]:g} to {limits[1]:g}" if limits else ", ".join(choices)
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


if __name__ == "__main__":
    sys.stdout.write(page())
