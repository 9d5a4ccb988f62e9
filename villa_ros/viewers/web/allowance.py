"""How often something may be done."""

from __future__ import annotations

from collections.abc import Callable


class Allowance:
    """`burst` at once, and `rate_hz` more each second. `clock` gives seconds."""

    def __init__(self, rate_hz: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate_hz, self._burst, self._clock = rate_hz, burst, clock
        self._left = float(burst)
        self._at_s = clock()

    def take(self) -> bool:
        """May it be done once more now?"""
        now_s = self._clock()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._rate_hz)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
