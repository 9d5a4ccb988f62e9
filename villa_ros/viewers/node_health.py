"""What /diagnostics says of one node, and whether the node is still there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SILENCE_S = 3.5  # diagnostics come once a second, and a busy machine may be late with them
_MOST_LINES = 40
_MOST_VALUES = 80
_LONGEST = 300  # characters of a value
LEVELS = ("ok", "warn", "error", "stale")  # diagnostic_msgs/DiagnosticStatus


@dataclass(frozen=True)
class Line:
    """One line of diagnostics, without the node's name before it."""

    name: str  # "lifecycle", "camera wrist", "worker", ...
    level: str  # one of LEVELS
    message: str
    values: dict[str, str] = field(default_factory=dict)


class NodeHealth:
    """The newest lines of one node. Not for several threads at once; `Heard` sees to that."""

    def __init__(self) -> None:
        self.lines: tuple[Line, ...] = ()
        self.heard_s: float | None = None
        self.number = 0

    def diagnosed(self, lines: Sequence[Line], now_s: float) -> None:
        """Take the newest lines in."""
        self.lines = tuple(_bounded(line) for line in lines[:_MOST_LINES])
        self.heard_s = now_s
        self.number += 1

    def silent_s(self, now_s: float) -> float | None:
        """For how long nothing was heard; None: nothing ever was."""
        return None if self.heard_s is None else now_s - self.heard_s

    def alive(self, now_s: float) -> bool:
        """Is the node there?"""
        return self.heard_s is not None and now_s - self.heard_s < SILENCE_S

    def line(self, name: str) -> Line | None:
        """The line of this name."""
        return next((line for line in self.lines if line.name == name), None)

    @property
    def cameras(self) -> dict[str, str]:
        """Name -> image topic of every camera that the node tells of."""
        found = {}
        for line in self.lines:
            kind, _, camera = line.name.partition(" ")
            if kind == "camera" and camera:
                found[camera] = line.values.get("topic", "")
        return found


def _bounded(line: Line) -> Line:
    values = {key[:_LONGEST]: value[:_LONGEST] for key, value in list(line.values.items())[:_MOST_VALUES]}
    return Line(line.name[:_LONGEST], line.level, line.message[:_LONGEST], values)
