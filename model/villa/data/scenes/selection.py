"""Which objects share a table: many kinds, and on purpose some that are easy to mix up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from villa.data.language.vocabulary import KIND
from villa.data.scenes import procedural
from villa.data.scenes.objects import ObjectModel

# Everyday kinds a little more often than the rest.
_WEIGHT = {"mug": 2.2, "bowl": 1.6, "bottle": 1.5, "cup": 1.4, "can": 1.3, "plate": 1.3, "box": 1.3, "block": 1.3}
_TWIN_ODDS = 0.55  # a second object of a kind, most often in another colour
_SAME_COLOUR_ODDS = 0.4  # another kind in a colour that is already there
_SCANNED_ODDS = 0.5  # an object is a scan, where there are any
_LIKE_ODDS = 0.35  # of these, one of a kind that is there or near to it
_FROM_MODELS = 0.4  # where a source of finished models has the kind, or for any object


def _draw_kind(rng: np.random.Generator) -> str:
    weights = np.array([_WEIGHT.get(kind, 1.0) for kind in procedural.PROCEDURAL_KINDS])
    return str(rng.choice(procedural.PROCEDURAL_KINDS, p=weights / weights.sum()))


def _make(kind: str, rng: np.random.Generator, models: Sequence[ObjectModel], colour: str | None) -> ObjectModel:
    fitting = [item for item in models if item.kind == kind and (colour is None or item.colour == colour)]
    if fitting and rng.random() < _FROM_MODELS:
        return fitting[int(rng.integers(len(fitting)))]
    return procedural.make(kind, rng, colour)


def _scanned(
    chosen: Sequence[ObjectModel], scans: Sequence[ObjectModel], rng: np.random.Generator
) -> ObjectModel | None:
    """A scan that is not there yet: kinds come first, since some have many scans."""
    there = {item.key for item in chosen}
    free = [item for item in scans if item.key not in there]
    alike = {kind for item in chosen for kind in (item.kind, *KIND[item.kind].near)}
    like = [item for item in free if item.kind in alike] if rng.random() < _LIKE_ODDS else []
    kinds = sorted({item.kind for item in like or free})
    if not kinds:
        return None
    kind = str(rng.choice(kinds))
    group = [item for item in free if item.kind == kind]
    return group[int(rng.integers(len(group)))]


def choose_objects(
    count: int,
    rng: np.random.Generator,
    models: Sequence[ObjectModel] = (),
    *,
    all_finished: bool = False,
    scans: Sequence[ObjectModel] = (),
) -> list[ObjectModel]:
    """`count` objects; `models` are finished models, the rest is made from random numbers.

    `all_finished`: half of the objects are finished models, no two the same. `scans`: finished models that about half
    of the objects are made of, no two the same.
    """
    chosen: list[ObjectModel] = []
    if all_finished and models:
        picked = rng.permutation(len(models))[: (count + 1) // 2]
        chosen = [models[int(index)] for index in picked]
    while len(chosen) < count:
        scan = _scanned(chosen, scans, rng) if scans and rng.random() < _SCANNED_ODDS else None
        if scan is not None:
            chosen.append(scan)
            continue
        twins = [
            item
            for item in chosen
            if item.kind in procedural.PROCEDURAL_KINDS
            and sum(other.kind == item.kind for other in chosen)
            < (3 if len(procedural.palette_of(item.kind)) > 2 else 2)
        ]
        if twins and rng.random() < _TWIN_ODDS / max(1, len(chosen) - 1):
            like = twins[int(rng.integers(len(twins)))]
            others = [c for c in procedural.palette_of(like.kind) if c != like.colour]
            another = str(rng.choice(others)) if others and rng.random() < 0.85 else like.colour or None
            chosen.append(_make(like.kind, rng, models, another))
            continue
        if models and not all_finished and rng.random() < 0.18:
            # By source first: one of them has far more entries than the other.
            source = str(rng.choice(sorted({item.source for item in models})))
            group = [item for item in models if item.source == source]
            chosen.append(group[int(rng.integers(len(group)))])
            continue
        kind = _draw_kind(rng)
        colour: str | None = None
        if chosen and rng.random() < _SAME_COLOUR_ODDS:
            wanted = chosen[int(rng.integers(len(chosen)))].colour
            colour = wanted if wanted in procedural.palette_of(kind) else None
        chosen.append(_make(kind, rng, models, colour))
    return chosen
