"""The words of the scenes: kinds of object, colours, and what things are for.

The order of `KINDS` and `COLOURS` is stable (a classification loss indexes them): append only. The kinds are data, in
kinds.yaml beside this file.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import yaml

from villa.modeling.language.plurals import plural

COLOURS = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "gray",
)


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    `nouns` can stand for the kind in a request, the first one is used in answers. `near` names other kinds to
    which some speakers would give one of these nouns: a request that leaves the kind open never rests on the
    difference. `uses` are keys of `villa.data.language.affordances.USES`, `groups` words for many kinds together.
    """

    name: str
    nouns: tuple[str, ...]
    plural: str
    uses: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    lies: bool = False  # on a table it lies, and is seen from above
    size_m: tuple[float, float] | None = None  # its longest side, smallest and largest as it usually is


class VocabularyError(ValueError):
    """The file of kinds does not hold what it should; the message names the kind."""


_FIELDS = {"nouns", "plural", "uses", "near", "groups", "lies", "size"}
_CONFUSED = "confused"
_TABLETOP = "tabletop"


def read_kinds(text: str) -> dict[str, dict[str, Kind]]:
    """The YAML of kinds -> section, name, kind; how it is written stands at its top.

    Raises:
        VocabularyError: an unknown field, a noun that means two kinds, a kind that is near to none that exists, a size
            that is no range.
    """
    data: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    confused: list[list[str]] = data.pop(_CONFUSED, [])
    sections = {
        section: {name: _kind(name, {} if entry is None else entry) for name, entry in entries.items()}
        for section, entries in data.items()
    }
    every = {name: kind for kinds in sections.values() for name, kind in kinds.items()}
    if len(every) != sum(map(len, sections.values())):
        twice = Counter(name for kinds in sections.values() for name in kinds).most_common(1)[0][0]
        raise VocabularyError(f"kind {twice!r} stands in two sections: wanted it in one")
    nouns: dict[str, str] = {}
    for kind in every.values():
        for noun in kind.nouns:
            if noun in nouns:
                raise VocabularyError(
                    f"kinds {nouns[noun]!r} and {kind.name!r} both have the noun {noun!r}: give it to one"
                )
            nouns[noun] = kind.name
    near = {name: list(kind.near) for name, kind in every.items()}
    for alike in confused:
        for name in alike:
            near.setdefault(name, []).extend(other for other in alike if other != name)
    for name, others in near.items():
        unknown = [one for one in (name, *others) if one not in every]
        if unknown:
            raise VocabularyError(f"kind {unknown[0]!r}, near to {name!r}, is none: wanted one of this file")
    return {
        section: {name: replace(kind, near=tuple(dict.fromkeys(near[name]))) for name, kind in kinds.items()}
        for section, kinds in sections.items()
    }


def _kind(name: str, entry: dict[str, Any]) -> Kind:
    unknown = sorted(set(entry) - _FIELDS)
    if unknown:
        raise VocabularyError(f"kind {name!r} has a field {unknown[0]!r}: known are {', '.join(sorted(_FIELDS))}")
    size = entry.get("size")
    if size is not None and not (len(size) == 2 and 0 < size[0] <= size[1]):
        raise VocabularyError(f"kind {name!r} has size {size}: wanted its longest side in metres, [smallest, largest]")
    return Kind(
        name,
        (name, *entry.get("nouns", ())),
        entry.get("plural") or plural(name),
        tuple(entry.get("uses", ())),
        tuple(entry.get("near", ())),
        tuple(entry.get("groups", ())),
        bool(entry.get("lies", False)),
        None if size is None else (float(size[0]), float(size[1])),
    )


_SECTIONS = read_kinds((resources.files(__package__) / "kinds.yaml").read_text("utf-8"))
KIND = {name: kind for kinds in _SECTIONS.values() for name, kind in kinds.items()}
KINDS = tuple(KIND)
_NOUNS = [(noun, kind.name) for kind in reversed(KIND.values()) for noun in kind.nouns]
# File names have no hyphens left when they are read; "glasses" are spectacles rather than several of glass.
_KIND_OF = {plural(noun): kind for noun, kind in _NOUNS} | {noun.replace("-", " "): kind for noun, kind in _NOUNS}
_KIND_OF |= dict(_NOUNS)
# No things: "every object" does not mean them, and what they do happens to others.
PEOPLE = frozenset(kind.name for kind in KIND.values() if "people" in kind.groups) | {"robot arm"}
# The kinds of the table-top benchmark, and of the scenes that are rendered for it: its requests name no others.
TABLETOP = tuple(_SECTIONS[_TABLETOP])


def kind_named(noun: str) -> str | None:
    """The kind that a label calls so, in any case, one or several of it; None where it is none of them."""
    return _KIND_OF.get(noun.lower())


def kind_of(name: str) -> Kind:
    """The kind of a name; of what labels of one's own call something, nothing but the name is known."""
    return KIND.get(name) or Kind(name, (name,), plural(name))


@dataclass(frozen=True)
class Material:
    """A material that a kind of object has for every viewer; `maybe` are kinds that may be of it as well."""

    kinds: tuple[str, ...]
    maybe: tuple[str, ...]


MATERIALS = {
    "metal": Material(
        ("can", "pan", "pot", "moka pot"),
        ("hammer", "tray", "bowl", "mug", "cup", "plate", "bottle", "basket", "caddy", "vase", "cylinder", "jar"),
    ),
    "wicker": Material(("basket",), ("tray", "caddy", "box")),
    "paper": Material(("book",), ("box", "carton", "can", "cup")),
    "cardboard": Material(("box", "carton"), ("book", "block", "brick", "cylinder")),
}
