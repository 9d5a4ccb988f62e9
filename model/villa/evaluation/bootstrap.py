"""How sure a mean is when values come in clusters: a percentile bootstrap that draws whole clusters.

Requests about one clip succeed and fail together, so that drawing single ones would make the interval too narrow.
Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; Field & Welsh, "Bootstrapping clustered data",
JRSS B 2007.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.floating[Any]]


def interval(
    values_by_cluster: Iterable[Values], seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Values of each cluster -> (low, high) around the mean of all values, the same for the same seed.

    Every value weighs the same, so a cluster weighs as much as it has values; clusters without values are left out.
    A single cluster gives its mean twice, as it tells nothing about others.

    Raises:
        ValueError: no values, one that is not finite, no resamples, or a level that is not between 0 and 1.
    """
    clusters = [np.asarray(values, np.float64).reshape(-1) for values in values_by_cluster]
    clusters = [values for values in clusters if values.size]
    if not clusters:
        raise ValueError("no values to resample, wanted at least one cluster with a value")
    sums, counts = np.array([values.sum() for values in clusters]), np.array([values.size for values in clusters])
    if not np.isfinite(sums).all():
        raise ValueError("a value is not finite")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"{resamples} resamples at level {level}, wanted at least 1, and a level between 0 and 1")
    drawn = np.random.default_rng(seed).integers(len(clusters), size=(resamples, len(clusters)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
