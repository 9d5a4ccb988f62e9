"""Mean, recall and decay of a measure over the frames of one sequence, as DAVIS reports J and F.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016. Read from
`db_statistics` of github.com/fperazzi/davis and of github.com/davisvideochallenge/davis2017-evaluation,
`davis2017/utils.py`; the two differ in how the end of a quarter is rounded, and here it is as in the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from villa.evaluation.davis_jf import MetricError

RECALLED = 0.5  # a frame counts for the recall where its value is higher
_QUARTERS = 4
_HALF_UP = 1e-10  # numpy rounds a half to the even number, Matlab, in which DAVIS was first scored, up


@dataclass(frozen=True)
class SequenceStatistics:
    """A measure, 0..1 on each frame, over one sequence."""

    mean: float
    recall: float  # share of frames above `RECALLED`
    decay: float  # mean of the first quarter less that of the last; above 0: it gets worse


def over_sequence(values: Sequence[float]) -> SequenceStatistics:
    """Values of the frames that count, in order, each 0..1 -> their mean, recall and decay.

    Neighbouring quarters share the frame between them.

    Raises:
        MetricError: no frames.
    """
    if not values:
        raise MetricError("no frames to take statistics of, wanted at least one")
    each = np.asarray(values, np.float64)
    ends = np.round(np.linspace(1, len(each), _QUARTERS + 1) + _HALF_UP).astype(int) - 1
    first, last = each[: ends[1] + 1], each[ends[-2] :]
    return SequenceStatistics(float(each.mean()), float((each > RECALLED).mean()), float(first.mean() - last.mean()))
