"""Tables of parameters: a dataclass whose fields declare, document, limit and read what a ROS node can be given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field, field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.parameter import Parameter

# When a change takes effect.
START = "read once, when the node starts"
CONFIGURE = "read when configuring"
LIVE = "takes effect at once"


class ParameterError(ValueError):
    """Parameters that are each in range but do not fit together, or cannot be changed now."""


def setting(
    default: Any,
    text: str,
    limits: tuple[float, float] | None = None,
    *,
    choices: tuple[str, ...] | tuple[int, ...] = (),
    when: str = CONFIGURE,
) -> Any:
    """A field of a table: its default, meaning, range (or choices), and when a change takes effect."""
    return field(default=default, metadata={"text": text, "limits": limits, "choices": choices, "when": when})


def settings_of(kind: type) -> dict[str, Field[Any]]:
    """The fields of a table of parameters, by name."""
    return {row.name: row for row in fields(kind) if row.metadata}


def check_choice(name: str, row: Field[Any], seen: Any) -> None:
    """Is `seen` one of the choices of a row that has some?

    Raises:
        ParameterError: it is not; the message names the choices.
    """
    wanted = row.metadata["choices"]
    if wanted and seen not in wanted:
        raise ParameterError(f"{name} is {seen!r}; wanted one of {', '.join(map(str, wanted))}")


def descriptor(row: Field[Any]) -> ParameterDescriptor:
    """What rclpy is told of a parameter when it is declared."""
    made = ParameterDescriptor(description=row.metadata["text"], read_only=row.metadata["when"] == START)
    limits, choices = row.metadata["limits"], row.metadata["choices"]
    made.additional_constraints = row.metadata["when"]
    if choices:
        made.additional_constraints += f"; one of {', '.join(map(str, choices))}"
    if limits and isinstance(row.default, float):
        low, high = map(float, limits)
        made.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    elif limits:
        low, high = map(int, limits)
        made.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return made


def asked_for(changes: Iterable[Parameter[Any]]) -> dict[str, Any]:
    """Parameters as a client sets them -> name and value of each."""
    return {parameter.name: parameter.value for parameter in changes}


def plain_value(value: Any) -> Any:
    """A parameter's value as a table holds it: arrays are tuples."""
    return tuple(value) if isinstance(value, (list, tuple)) or hasattr(value, "typecode") else value
