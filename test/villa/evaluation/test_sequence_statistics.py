"""Mean, recall and decay over the frames of a sequence: by hand, and by their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from villa.evaluation.davis_jf import MetricError
from villa.evaluation.sequence_statistics import SequenceStatistics, over_sequence


def test_by_hand() -> None:
    # Quarters of nine frames end at the first, third, fifth, seventh and ninth and share the frames between them.
    values = [0.9, 0.9, 0.6, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    found = over_sequence(values)
    assert found.mean == pytest.approx(0.5)
    assert found.recall == pytest.approx(4 / 9), "0.5 itself is not above 0.5"
    assert found.decay == pytest.approx((0.9 + 0.9 + 0.6) / 3 - (0.3 + 0.2 + 0.1) / 3)


def test_what_gets_better_decays_below_zero() -> None:
    assert over_sequence([0.2, 0.4, 0.6, 0.8]).decay == pytest.approx((0.2 + 0.4) / 2 - (0.6 + 0.8) / 2)


def test_a_single_frame_does_not_decay() -> None:
    assert over_sequence([0.7]) == SequenceStatistics(0.7, 1.0, 0.0)


def plain(values: list[float]) -> tuple[float, float, float]:
    """The same with frames counted from one and without numpy; halves of a place round up."""
    count = len(values)
    ends = [math.floor(1 + quarter * (count - 1) / 4 + 0.5) for quarter in range(5)]
    first = [value for place, value in enumerate(values, start=1) if place <= ends[1]]
    last = [value for place, value in enumerate(values, start=1) if place >= ends[3]]
    recall = sum(value > 0.5 for value in values) / count
    return sum(values) / count, recall, sum(first) / len(first) - sum(last) / len(last)


@pytest.mark.parametrize("count", [*range(1, 26), 48, 88, 102, 300])
def test_as_their_definition_has_them(count: int) -> None:
    values = np.random.default_rng(count).random(count).tolist()
    found = over_sequence(values)
    assert (found.mean, found.recall, found.decay) == pytest.approx(plain(values), abs=1e-12)


def test_no_frames_are_refused() -> None:
    with pytest.raises(MetricError, match="no frames to take statistics of"):
        over_sequence([])
