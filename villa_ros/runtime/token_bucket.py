"""How many commands are taken in a second."""

from __future__ import annotations


class RateLimit:
    """A bucket of tokens: a short burst passes, a flood does not."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._looked_s: float | None = None

    def passes(self, now_s: float, rate_hz: float) -> bool:
        """May one more pass at this moment? At most one second's worth is saved up; 0 Hz: no limit."""
        if rate_hz <= 0:
            self._looked_s = None
            return True
        most = max(1.0, rate_hz)
        elapsed_s = 0.0 if self._looked_s is None else max(0.0, now_s - self._looked_s)
        self._tokens = most if self._looked_s is None else min(most, self._tokens + elapsed_s * rate_hz)
        self._looked_s = now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
