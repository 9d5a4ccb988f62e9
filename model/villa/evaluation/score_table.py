"""Scores of many requests -> a row for each kind, with how sure the means are, and a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from villa.evaluation.bootstrap import interval
from villa.evaluation.identity import combined
from villa.evaluation.split_evaluation import Score
from villa.files.whole import write_text

ALL = "all"


@dataclass(frozen=True)
class Row:
    """Means over the requests of one kind; None where there is nothing to take a mean of."""

    kind: str
    requests: int
    jf: float | None  # of what is there
    jf_low: float | None  # 95 % interval, clips drawn with replacement
    jf_high: float | None
    j: float | None
    f: float | None
    refused: float | None  # share of what is there that got no mask
    absent_accuracy: float | None  # share of what is not there that got none
    hota: float | None
    switches: int
    kept: float | None  # share of tracks that found their object again after a full cover
    # Over all kinds: share of pairs of requests for different objects of a clip in which both got the right one.
    pairs: float | None
    choice: float | None  # share of multiple-choice questions whose right name is the likeliest
    first_mask_s: float  # median
    baselines: dict[str, float]


def table(scores: Sequence[Score], seed: int = 0) -> list[Row]:
    """A row for each kind, and one for all.

    Raises:
        ValueError: no scores.
    """
    if not scores:
        raise ValueError("no scores: the folder holds no requests")
    kinds = sorted({score.kind for score in scores})
    rows = [_row(kind, [score for score in scores if score.kind == kind], seed) for kind in kinds]
    return [*rows, _row(ALL, scores, seed)]


def save(scores: Sequence[Score], path: Path, seed: int = 0) -> None:
    """Rows and single scores as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    single = []
    for score in scores:
        values = asdict(score)
        values["hota"] = score.identity.hota
        values["switches"] = values.pop("identity")["switches"]
        single.append(values | {"jf": score.jf})
    rows = [asdict(row) for row in table(scores, seed)]
    write_text(path, json.dumps({"seed": seed, "rows": rows, "scores": single}, indent=1))


def _row(kind: str, scores: Sequence[Score], seed: int) -> Row:
    present = [score for score in scores if not score.absent]
    absent = [score for score in scores if score.absent]
    kept = [float(score.kept) for score in scores if score.kept is not None]
    low, high = _spread(present, seed) if present else (None, None)

    def mean(of: Sequence[Score], value: Callable[[Score], Any]) -> float | None:
        return float(np.mean([value(score) for score in of])) if of else None

    names = present[0].baselines if present else {}
    identity = combined(score.identity for score in present) if present else None
    return Row(
        kind=kind,
        requests=len(scores),
        jf=mean(present, lambda score: score.jf),
        jf_low=low,
        jf_high=high,
        j=mean(present, lambda score: score.j),
        f=mean(present, lambda score: score.f),
        refused=mean(present, lambda score: not score.answered),
        absent_accuracy=mean(absent, lambda score: score.right),
        hota=None if identity is None else identity.hota,
        switches=0 if identity is None else identity.switches,
        kept=float(np.mean(kept)) if kept else None,
        pairs=_pairs(scores) if kind == ALL else None,
        choice=mean([score for score in scores if score.choice is not None], lambda score: score.choice),
        first_mask_s=median(score.first_mask_s for score in scores),
        baselines={name: float(np.mean([score.baselines[name] for score in present])) for name in names},
    )


def _pairs(scores: Sequence[Score]) -> float | None:
    """Other words, another object: both of a pair have to be right."""
    clips: dict[str, list[Score]] = {}
    for score in scores:
        if score.meant is not None:
            clips.setdefault(score.video, []).append(score)
    both = [
        a.hit == a.meant and b.hit == b.meant
        for of_clip in clips.values()
        for a, b in combinations(of_clip, 2)
        if a.meant != b.meant
    ]
    return float(np.mean(both)) if both else None


def _spread(scores: Sequence[Score], seed: int) -> tuple[float, float]:
    clips: dict[str, list[float]] = {}
    for score in scores:
        clips.setdefault(score.video, []).append(score.jf)
    return interval(clips.values(), seed)
