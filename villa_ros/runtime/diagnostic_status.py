"""A finding and its level -> a line of /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

OK, WARN, ERROR, STALE = (bytes([level]) for level in range(4))  # diagnostic_msgs/DiagnosticStatus


@dataclass(frozen=True)
class Finding:
    """One line of /diagnostics before it is a message."""

    level: bytes
    message: str
    values: Mapping[str, object]


def status(name: str, hardware_id: str, finding: Finding) -> Any:
    """Finding -> diagnostic_msgs/DiagnosticStatus."""
    values = [KeyValue(key=key, value=_text(value)) for key, value in finding.values.items()]
    return DiagnosticStatus(
        level=finding.level, name=name, message=finding.message, hardware_id=hardware_id, values=values
    )


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
