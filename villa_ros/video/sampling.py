"""Which of many pictures stand for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def evenly_spaced(count: int, wanted: int) -> Sequence[int]:
    """At most `wanted` indices spread evenly over `count` items, first and last included."""
    if count <= wanted:
        return range(count)
    if wanted == 1:
        return (count // 2,)
    return [math.floor(i * (count - 1) / (wanted - 1) + 0.5) for i in range(wanted)]
