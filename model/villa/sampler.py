"""KeySegmentSampler: which frames of the buffered clip the language model looks at.

Descriptors are split at change points (cosine) into segments; a frame scores by novelty and recency (and, once
trained, by relevance to the request: that projection starts at zero and so adds nothing). The newest frame is always
kept. Where stamps leave long gaps, the choice falls back to even spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_GAP_FACTOR = 5.0  # a gap this many times the median makes change points meaningless


def choose(stamps_s: Sequence[float], descriptors: NDArray[np.float32] | None, count: int) -> list[int]:
    """Stamps [N] ascending and descriptors [N, d] (None: unknown) -> at most `count` indices, ascending."""
    length = len(stamps_s)
    if length <= count:
        return list(range(length))
    if descriptors is None or _has_gap(stamps_s):
        return even(length, count)
    units = descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-6)
    change = 1.0 - (units[1:] * units[:-1]).sum(axis=1)  # [N - 1]
    # The strongest count - 1 changes cut the clip into `count` segments; one frame stands for each.
    cuts = np.sort(np.argsort(-change, kind="stable")[: count - 1] + 1)
    edges = [0, *(int(c) for c in cuts), length]
    chosen = []
    for start, stop in pairwise(edges):
        centre = units[start:stop].mean(axis=0)
        typical = units[start:stop] @ centre
        recency = np.linspace(0.0, 0.1, stop - start)
        chosen.append(start + int(np.argmax(typical + recency)))
    chosen[-1] = length - 1
    return sorted(set(chosen))


def even(length: int, count: int) -> list[int]:
    """Evenly spaced indices that end at the newest."""
    if count == 1:
        return [length - 1]
    return sorted({round(i * (length - 1) / (count - 1)) for i in range(count)})


def _has_gap(stamps_s: Sequence[float]) -> bool:
    steps = np.diff(np.asarray(stamps_s, np.float64))
    median = float(np.median(steps))
    return median <= 0 or float(steps.max()) > _GAP_FACTOR * median
