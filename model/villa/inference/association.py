"""Which objects of a new answer are already tracked: identities that last across slow passes.

Objects are matched to live tracks one to one (Hungarian) by how much their masks overlap on the newest frame and by
how alike their prompts are. A track that is not visible can be found again by its prompt alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

LEAST_IOU = 0.5  # of masks that are taken for one object
LEAST_LIKENESS = 0.9  # cosine of prompts, where the track or the object is not visible now


@dataclass(frozen=True)
class Candidate:
    """A live track, or an object of a new answer, on the newest frame."""

    mask: NDArray[np.bool_] | None  # [h, w]; None: not visible
    prompt: NDArray[np.float32]  # p [C]
    name: str


@dataclass(frozen=True)
class Link:
    """An object of the answer is a track that is already live."""

    new: int
    old: int
    iou: float  # 0 where one of them is not visible


def link(new: Sequence[Candidate], old: Sequence[Candidate]) -> list[Link]:
    """Objects of a new answer and live tracks -> pairs that are the same thing."""
    if not new or not old:
        return []
    overlap = np.array([[_iou(a.mask, b.mask) for b in old] for a in new], np.float64)
    likeness = np.array([[_cosine(a.prompt, b.prompt) for b in old] for a in new], np.float64)
    allowed = np.array(
        [[_allowed(a, b, overlap[i, j], likeness[i, j]) for j, b in enumerate(old)] for i, a in enumerate(new)]
    )
    # What is not allowed costs more than any pair that is, so that it never pushes one of those out.
    score = np.where(allowed, overlap + likeness, -10.0)
    rows, columns = linear_sum_assignment(-score)
    return [Link(int(i), int(j), float(overlap[i, j])) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]


def _allowed(new: Candidate, old: Candidate, overlap: float, likeness: float) -> bool:
    if new.mask is not None and old.mask is not None:
        return overlap >= LEAST_IOU
    return likeness >= LEAST_LIKENESS and new.name.casefold() == old.name.casefold()


def _iou(a: NDArray[np.bool_] | None, b: NDArray[np.bool_] | None) -> float:
    if a is None or b is None:
        return 0.0
    union = int(np.count_nonzero(a | b))
    return float(np.count_nonzero(a & b)) / union if union else 0.0


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale else 0.0
