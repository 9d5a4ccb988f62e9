"""What a scan shows: its kind, colours and material, from a table of known scans or from the words of its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from villa.data.composites.cutouts import kind_of_name
from villa.data.language.vocabulary import COLOURS, KIND
from villa.data.scans.reading import ScanError

_FIELDS = {"kind", "colour", "also", "material", "nouns", "gaps", "skip"}
_NUMBER = re.compile(r"^\d+[-_]")  # as the YCB set has it before its names


@dataclass(frozen=True)
class ScanFacts:
    """What a scan shows. `kind` is empty where it is used for nothing, and `skip` then says why.

    `colour` is empty where people would differ, `also` are further colours that it shows; both are None where nobody
    wrote them down.
    """

    kind: str
    colour: str | None = None
    also: tuple[str, ...] | None = None
    material: str = ""
    nouns: tuple[str, ...] = ()
    gaps: bool = False  # a part in its middle was not scanned: seen from some sides it falls to pieces
    skip: str = ""


def facts_of(name: str) -> ScanFacts:
    """What the scan in a folder of this name shows."""
    plain = _NUMBER.sub("", name.lower())
    if plain in _known():
        return _known()[plain]
    kind = kind_of_name(plain)
    return ScanFacts("", skip="no word of its name is a kind of thing") if kind is None else ScanFacts(kind)


@cache
def _known() -> dict[str, ScanFacts]:
    return read_facts((resources.files(__package__) / "things.yaml").read_text("utf-8"))


def read_facts(text: str) -> dict[str, ScanFacts]:
    """The YAML of known scans -> name, facts; how it is written stands at its top.

    Raises:
        ScanError: an unknown field, kind or colour, or an entry with neither a kind nor a reason to skip it.
    """
    entries: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return {name: _entry(name, entry or {}) for name, entry in entries.items()}


def _entry(name: str, entry: dict[str, Any]) -> ScanFacts:
    unknown = sorted(set(entry) - _FIELDS)
    if unknown:
        raise ScanError(f"scan {name!r} has a field {unknown[0]!r}: known are {', '.join(sorted(_FIELDS))}")
    if "skip" in entry:
        return ScanFacts("", skip=str(entry["skip"]))
    kind, colour, also = entry.get("kind"), entry.get("colour", ""), tuple(entry.get("also", ()))
    if kind not in KIND:
        raise ScanError(f"scan {name!r} has kind {kind!r}: wanted one of kinds.yaml, or why to skip it")
    for shade in (colour, *also):
        if shade and shade not in COLOURS:
            raise ScanError(f"scan {name!r} has colour {shade!r}: wanted one of {', '.join(COLOURS)}")
    return ScanFacts(
        kind, colour, also, entry.get("material", ""), tuple(entry.get("nouns", ())), bool(entry.get("gaps"))
    )
