"""KeySegmentSampler: which frames of the buffered clip the language model looks at.

Descriptors are split at change points (cosine) into segments of a least and a greatest length; a frame scores by how
typical it is of its segment, by recency, and (once trained: the projection starts at zero) by relevance to the
request. The newest frame is always kept. Where stamps leave long gaps, and in a clip of hardly more frames than are
wanted, the choice falls back to even spacing: segments of two frames each are noise, and with the first frame goes how
things stood before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_GAP_FACTOR = 5.0  # a gap this many times the median makes change points meaningless
_SHORTEST, _LONGEST = 0.25, 3.0  # a segment's length in mean lengths
_FEW = 2  # of so many times the frames that are wanted, evenly spaced ones miss less than typical ones
_RECENCY = 0.1  # how much the newest frame of a segment is worth over its oldest


class KeySegmentSampler(nn.Module):
    """Relevance of frames to a request: descriptors [N, d] and a query [D] -> [N]; untrained it is zero."""

    def __init__(self, width: int, channels: int) -> None:
        """`width` is D of the language model, `channels` d of a descriptor."""
        super().__init__()
        self.relevance = nn.Linear(width, channels, bias=False)
        nn.init.zeros_(self.relevance.weight)

    def forward(self, query: Tensor, descriptors: Tensor) -> Tensor:
        """Mean of a request's word embeddings [D], pooled features of N frames [N, d] -> relevance [N]."""
        unit = nn.functional.normalize(descriptors.float(), dim=-1)
        relevance: Tensor = self.relevance(query).float()
        return unit @ relevance

    def choose(
        self, stamps_s: Sequence[float], descriptors: NDArray[np.float32] | None, count: int, query: Tensor | None
    ) -> list[int]:
        """As the function `choose`, with the relevance that was learned; without a query it adds nothing."""
        if descriptors is None or query is None or descriptors.shape[1] != self.relevance.out_features:
            return choose(stamps_s, descriptors, count)
        with torch.inference_mode():
            device = self.relevance.weight.device
            scores = self(query, torch.from_numpy(descriptors).to(device)).cpu().numpy()
        return choose(stamps_s, descriptors, count, np.asarray(scores, np.float32))


def choose(
    stamps_s: Sequence[float],
    descriptors: NDArray[np.float32] | None,
    count: int,
    relevance: NDArray[np.float32] | None = None,
) -> list[int]:
    """Stamps [N] ascending and descriptors [N, d] (None: unknown) -> at most `count` indices, ascending."""
    length = len(stamps_s)
    by_stamps = undescribed(stamps_s, count)
    if by_stamps is not None:
        return by_stamps
    if descriptors is None:
        return even(length, count)
    units = descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-6)
    scores = np.zeros(length, np.float32) if relevance is None else relevance
    chosen = []
    for start, stop in pairwise(_edges(units, count)):
        centre = units[start:stop].mean(axis=0)
        typical = units[start:stop] @ centre
        recency = np.linspace(0.0, _RECENCY, stop - start)
        chosen.append(start + int(np.argmax(typical + recency + scores[start:stop])))
    chosen[-1] = length - 1
    return sorted(set(chosen))


def undescribed(stamps_s: Sequence[float], count: int) -> list[int] | None:
    """What is chosen of frames with these stamps [N] whatever they show; None: their descriptors decide."""
    length = len(stamps_s)
    if length <= count:
        return list(range(length))
    return even(length, count) if length <= _FEW * count or _has_gap(stamps_s) else None


def even(length: int, count: int) -> list[int]:
    """Evenly spaced indices that end at the newest."""
    if count == 1:
        return [length - 1]
    return sorted({round(i * (length - 1) / (count - 1)) for i in range(count)})


def _edges(units: NDArray[np.float32], count: int) -> list[int]:
    """Borders of at most `count` segments: the strongest changes, neither too close together nor too far apart."""
    length = len(units)
    change = 1.0 - (units[1:] * units[:-1]).sum(axis=1)  # [N - 1]
    shortest = max(1, round(_SHORTEST * length / count))
    longest = round(_LONGEST * length / count)
    cuts: list[int] = []  # strongest first
    for at in np.argsort(-change, kind="stable") + 1:
        if len(cuts) == count - 1:
            break
        if all(abs(int(at) - other) >= shortest for other in (0, length, *cuts)):
            cuts.append(int(at))
    # What does not change is looked at again all the same: the weakest cut moves into the longest stretch.
    for weakest in range(len(cuts) - 1, -1, -1):
        start, stop = max(pairwise([0, *sorted(cuts), length]), key=lambda edge: edge[1] - edge[0])
        if stop - start <= longest:
            break
        cuts[weakest] = (start + stop) // 2
    return [0, *sorted(set(cuts)), length]


def _has_gap(stamps_s: Sequence[float]) -> bool:
    steps = np.diff(np.asarray(stamps_s, np.float64))
    median = float(np.median(steps))
    return median <= 0 or float(steps.max()) > _GAP_FACTOR * median
