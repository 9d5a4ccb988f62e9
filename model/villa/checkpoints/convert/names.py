"""Renaming tensors by rules, so that nothing is lost and nothing is made up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from torch import Tensor

Rules = Sequence[tuple[str, str]]  # (regular expression, replacement)


class ConvertError(ValueError):
    """A checkpoint is not what the converter knows: a tensor too many or too few, or a setting it cannot keep."""


def renamed(name: str, rules: Rules) -> str:
    """Every rule that matches is applied once, in order."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name, count=1)
    return name


def rename(tensors: dict[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """All names by the rules.

    Raises:
        ConvertError: two tensors get one name.
    """
    new: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in tensors.items():
        to = renamed(name, rules)
        if to in new:
            raise ConvertError(f"{name!r} and {origin[to]!r} would both become {to!r}")
        new[to], origin[to] = tensor, name
    return new


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def compare(have: dict[str, Tensor], want: dict[str, Tensor], what: str) -> None:
    """Exactly the wanted names, in the wanted shapes.

    Raises:
        ConvertError: not so; the first name is given.
    """
    missing, unknown = sorted(set(want) - set(have)), sorted(set(have) - set(want))
    if missing:
        raise ConvertError(f"{what}: no source for {len(missing)} tensor(s), first {missing[0]!r}")
    if unknown:
        raise ConvertError(f"{what}: no place for {len(unknown)} tensor(s), first {unknown[0]!r}")
    for name, tensor in have.items():
        if tensor.shape != want[name].shape:
            raise ConvertError(f"{what}: {name!r} has shape {list(tensor.shape)}, wanted {list(want[name].shape)}")


def taken(tensors: dict[str, Tensor], used: Iterable[str], ignored: dict[str, str]) -> None:
    """Every source tensor is used or on the ignore list (pattern -> why).

    Raises:
        ConvertError: one is neither.
    """
    known = set(used)
    for name in sorted(tensors):
        if name not in known and not any(re.fullmatch(pattern, name) for pattern in ignored):
            raise ConvertError(f"nothing uses {name!r}, and it is not on the list of what may be left out")
