"""One bad stamp is left out; a clock that jumped is one that stays where it jumped to.

A frame whose stamp does not follow is held until the next one tells which of the two it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from villa_ros.pipeline.clip_buffer import NS_PER_S

_FOLLOWS_NS = NS_PER_S // 2  # ahead of its arrival or behind the newest by no more: a hurry, an overtaking
_STEPS = 8  # that tell what is usual for a camera
_USUAL = 3  # times the longest of them is still the camera's own pace, however fast it is played

Item = TypeVar("Item")


@dataclass(frozen=True)
class Passed(Generic[Item]):
    """An item that follows, or begins after a jump of the clock by `jumped_ns`."""

    item: Item
    stamp_ns: int
    arrival_ns: int
    jumped_ns: int = 0


class StampFilter(Generic[Item]):
    """The items of one camera in the order of their arrival."""

    def __init__(self, left_out: Callable[[Item], None] = lambda item: None) -> None:
        """`left_out` is told each item whose stamp is bad."""
        self._left_out = left_out
        self._newest: tuple[int, int] | None = None  # stamp and arrival
        self._held: Passed[Item] | None = None
        self._steps: deque[int] = deque(maxlen=_STEPS)

    def offer(self, item: Item, stamp_ns: int, arrival_ns: int, jump_ns: int) -> list[Passed[Item]]:
        """What can go on now, oldest first: nothing while it is unclear what the item's stamp means.

        `jump_ns`: a clock that is ahead of the arrivals by more has jumped; 0: that never counts as a jump.
        """
        held, self._held = self._held, None
        if held is None:
            return self._next(Passed(item, stamp_ns, arrival_ns), jump_ns)
        assert self._newest is not None
        newest_ns = self._newest[0]
        follows_old = stamp_ns >= newest_ns - _FOLLOWS_NS
        follows_held = stamp_ns >= held.stamp_ns if held.stamp_ns > newest_ns else not follows_old
        one = Passed(item, stamp_ns, arrival_ns)
        if follows_held:
            return [self._taken(held, jump_ns), *self._next(one, jump_ns)]
        self._left_out(held.item)
        return self._next(one, jump_ns)

    def rest(self, jump_ns: int) -> list[Passed[Item]]:
        """What is still held when no more will come: it stays unclear, and goes on."""
        held, self._held = self._held, None
        return [] if held is None else [self._taken(held, jump_ns)]

    def _next(self, one: Passed[Item], jump_ns: int) -> list[Passed[Item]]:
        if self._follows(one):
            return [self._taken(one, 0)]
        self._held = one
        return []

    def _follows(self, one: Passed[Item]) -> bool:
        if self._newest is None:
            return True
        step, waited = one.stamp_ns - self._newest[0], one.arrival_ns - self._newest[1]
        return step >= -_FOLLOWS_NS and step - waited <= max(_FOLLOWS_NS, self._pace_ns)

    @property
    def _pace_ns(self) -> int:
        return _USUAL * max(self._steps, default=0)

    def _taken(self, one: Passed[Item], jump_ns: int) -> Passed[Item]:
        jumped_ns = 0
        if self._newest is not None:
            step, waited = one.stamp_ns - self._newest[0], one.arrival_ns - self._newest[1]
            if step < -_FOLLOWS_NS or (jump_ns and step - waited > max(jump_ns, self._pace_ns)):
                jumped_ns = step - waited
            elif step > 0:
                self._steps.append(step)
        if jumped_ns or self._newest is None or one.stamp_ns > self._newest[0]:
            self._newest = (one.stamp_ns, one.arrival_ns)
        return Passed(one.item, one.stamp_ns, one.arrival_ns, jumped_ns)
