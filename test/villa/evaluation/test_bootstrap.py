"""The interval of a mean over clusters: against every possible draw, against scipy, and how often it is right."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from villa.evaluation.bootstrap import interval


def clips(seed: int, count: int) -> list[list[float]]:
    """Values around 0 that lie closer together within a clip than between clips."""
    rng = np.random.default_rng(seed)
    return [list(rng.normal(0, 1) + rng.normal(0, 0.3, size)) for size in rng.integers(1, 9, count)]


def test_the_interval_is_that_of_every_possible_draw() -> None:
    values = [[0.0, 0.25], [1.0], [0.5, 0.5, 0.125], [0.75]]
    means = [np.mean(np.concatenate(draw)) for draw in itertools.product([np.array(v) for v in values], repeat=4)]
    wanted = np.quantile(means, [0.1, 0.9])
    assert interval(values, seed=0, resamples=50_000, level=0.8) == pytest.approx(tuple(wanted), abs=0.02)


def test_the_interval_equals_that_of_scipy_where_clips_are_resampled_with_their_sizes() -> None:
    values = clips(seed=4, count=30)
    reference = stats.bootstrap(
        ([sum(v) for v in values], [len(v) for v in values]),
        lambda sums, sizes, axis: sums.sum(axis=axis) / sizes.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        random_state=np.random.default_rng(1),  # scipy before 1.15 has no `rng`
    ).confidence_interval
    assert interval(values, seed=0, resamples=20_000) == pytest.approx(tuple(reference), abs=0.02)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = clips(seed=1, count=20)
    assert interval(values, seed=7) == interval(values, seed=7)
    assert interval(values, seed=7) != interval(values, seed=8)


def test_repeating_the_values_of_a_clip_makes_nothing_surer() -> None:
    values = clips(seed=2, count=20)
    often = [v * 10 for v in values]
    assert interval(often, seed=0) == pytest.approx(interval(values, seed=0), abs=1e-12)
    as_single = interval([[x] for v in often for x in v], seed=0)
    assert np.diff(as_single) < 0.5 * np.diff(interval(often, seed=0))


def test_a_wider_level_contains_a_narrower_one_and_both_the_mean() -> None:
    values = clips(seed=3, count=25)
    (low, high), (lower, higher) = interval(values, seed=0, level=0.5), interval(values, seed=0, level=0.99)
    assert lower < low < np.mean(np.concatenate(values)) < high < higher


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    held = [low <= 0 <= high for low, high in (interval(clips(seed, 40), seed, 400, 0.9) for seed in range(300))]
    assert 0.84 < np.mean(held) < 0.95


def test_one_clip_or_equal_values_give_an_interval_without_width() -> None:
    assert interval([[0.25, 0.75]], seed=0) == (0.5, 0.5)
    assert interval([[0.5], [0.5, 0.5]], seed=0) == (0.5, 0.5)


def test_arrays_serve_and_clips_without_values_are_left_out() -> None:
    values = clips(seed=5, count=10)
    assert interval([np.array(v) for v in values], seed=0) == interval([[], *values, []], seed=0)


@pytest.mark.parametrize("nothing", [[], [[]], [[], np.zeros(0)]])
def test_nothing_to_resample_is_refused(nothing: list) -> None:
    with pytest.raises(ValueError, match="no values to resample"):
        interval(nothing, seed=0)


def test_values_and_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        interval([[0.5, float("nan")], [0.5]], seed=0)
    for resamples, level in (0, 0.95), (100, 0.0), (100, 1.0):
        with pytest.raises(ValueError, match="wanted at least 1, and a level between 0 and 1"):
            interval([[0.5]], seed=0, resamples=resamples, level=level)
