"""How often something may be done."""

from __future__ import annotations

import time
from collections.abc import Callable


class TokenBucket:
    """A short burst passes, a flood does not.

    Args:
        burst: How many pass at once after a pause; None: one second's worth, at least one.
        clock: Seconds that only grow.
    """

    def __init__(self, burst: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._clock = burst, clock
        self._tokens = 0.0
        self._looked_s: float | None = None  # None: the bucket is full

    def take(self, rate_hz: float) -> bool:
        """May one more pass now, with so many more each second? 0 Hz: no limit."""
        if rate_hz <= 0:
            self._looked_s = None
            return True
        full = float(self._burst) if self._burst is not None else max(1.0, rate_hz)
        now_s = self._clock()
        since_s = None if self._looked_s is None else max(0.0, now_s - self._looked_s)
        self._tokens = full if since_s is None else min(full, self._tokens + since_s * rate_hz)
        self._looked_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
