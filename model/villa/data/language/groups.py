"""Words for many kinds together ("all the fruit"): data, in groups.yaml beside this file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from villa.data.language.vocabulary import KIND, VocabularyError

_FIELDS = {"said", "one", "maybe", "groups"}


@dataclass(frozen=True)
class Group:
    """Kinds that one word means together."""

    name: str
    said: tuple[str, ...]  # several of them, as behind "all the"
    one: str
    kinds: frozenset[str]
    maybe: frozenset[str]  # that some would also count


def read_groups(text: str) -> dict[str, Group]:
    """The YAML of groups -> name, group; how it is written stands at its top.

    Raises:
        VocabularyError: an unknown field, a group that no kind is in, or a kind that does not exist.
    """
    found: dict[str, Group] = {}
    data: dict[str, dict[str, Any]] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for name, entry in data.items():
        unknown = sorted(set(entry) - _FIELDS)
        if unknown or not entry.get("said") or not entry.get("one"):
            wrong = f"a field {unknown[0]!r}" if unknown else "no words"
            raise VocabularyError(
                f"group {name!r} has {wrong}: wanted `said` and `one`, and maybe `maybe` and `groups`"
            )
        kinds = _of_groups((name,), name)
        maybe = frozenset(entry.get("maybe", ())) | _of_groups(entry.get("groups", ()), name)
        strange = sorted(maybe - set(KIND))
        if strange:
            raise VocabularyError(f"kind {strange[0]!r} of group {name!r} is none: wanted one of kinds.yaml")
        found[name] = Group(name, tuple(entry["said"]), str(entry["one"]), kinds, maybe - kinds)
    return found


def _of_groups(names: tuple[str, ...], of: str) -> frozenset[str]:
    kinds: set[str] = set()
    for name in names:
        own = {kind.name for kind in KIND.values() if name in kind.groups}
        if not own:
            raise VocabularyError(f"no kind is in {name!r}, of group {of!r}: wanted a group that kinds.yaml names")
        kinds |= own
    return frozenset(kinds)


@cache
def groups() -> dict[str, Group]:
    """The shipped ones."""
    return read_groups((resources.files(__package__) / "groups.yaml").read_text("utf-8"))
