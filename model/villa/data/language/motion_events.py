"""What happened in a stretch of a clip, and to which object: who moved, fell, was lifted, pushed, hidden.

Read off where things were while they were seen, not off what was planned: a thing that an arm was to push and missed
did not move, and one that waits above the picture does not fall before it comes into view. What is too slight to be
sure of makes the question unanswerable instead of false.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from villa.data.clips import ClipFacts
from villa.data.language.vocabulary import PEOPLE

MOVED_M, STILL_M = 0.045, 0.012  # a way at least so long is a move; one at most so long is none
_STEP_M = 0.006  # between two frames, of something that is moving
_CREEP_M = 0.001  # the same, of something whose drift nobody sees
_FALL_M = 0.08  # height lost by something that fell
_TIP_M = 0.13  # height lost by the middle of the tallest thing when it falls over: that is no fall from above
_FALL_S = 0.8  # within
_LIFT_M = 0.05  # height won and lost again by something that was lifted
_APART_S = 0.5  # between the beginnings of two moves that have an order
_HIDDEN_FRAMES = 2
MOVED, TOPPLED = "moved", "toppled"  # kinds of events: by something that bumped into it, if anything did


@dataclass(frozen=True)
class Move:
    """An object that moved, over frames first..last of the clip."""

    object_id: int
    first: int
    last: int


@dataclass(frozen=True)
class Happenings:
    """What happened over some frames of a clip; ids are mask ids."""

    moves: tuple[Move, ...]  # by their beginning
    still: frozenset[int]  # certainly did not move
    fell: frozenset[int]
    lifted: frozenset[int]
    by_arm: frozenset[int]
    passed_on: frozenset[int]  # moved by what the arm pushed: some would say that the arm did
    hidden: dict[int, int]  # who was out of sight for a while, and the frame in the middle of it
    unsure: frozenset[int]  # moved a little, or was out of sight for a moment

    @property
    def moved(self) -> frozenset[int]:
        """Who moved."""
        return frozenset(move.object_id for move in self.moves)


def happenings(facts: ClipFacts, first: int, last: int) -> Happenings:
    """What happened on frames first..last (inclusive)."""
    moves: list[Move] = []
    still, fell, lifted, unsure = set(), set(), set(), set()
    for row, thing in enumerate(facts.objects):
        if thing.kind in PEOPLE:  # what they do happens to others
            continue
        path = _Path.seen(facts, row, first, last)
        if path is None:  # who watches does not know of it
            continue
        toppled = [e for e in facts.events if e.kind == TOPPLED and e.object_id == thing.id]
        over = [e for e in toppled if first <= e.first and e.last <= last]
        if len(over) < sum(e.first < last and first < e.last for e in toppled):  # begins before or ends after
            unsure.add(thing.id)
        if (path.reach <= STILL_M or path.creeps) and path.came_m <= STILL_M and not over:
            still.add(thing.id)
            continue
        if (path.reach < MOVED_M and not over) or not len(path.moving):
            unsure.add(thing.id)
            continue
        # What was moved before it came into view is seen to move as it comes.
        begins = path.frames[0] if path.came_m > STILL_M else path.frames[path.moving[0]]
        moves.append(Move(thing.id, begins, path.frames[path.moving[-1] + 1]))
        # Of a fall into the picture or out of it, a part is enough.
        least = (MOVED_M if path.fell_unseen_m > _FALL_M else _FALL_M) + (_TIP_M if over else 0.0)
        if path.falls(least, _FALL_S * facts.fps):
            fell.add(thing.id)
        elif path.fell_unseen_m > _FALL_M:
            unsure.add(thing.id)  # hardly any of the fall was seen
        elif float(path.height.max() - max(path.height[0], path.height[-1])) > _LIFT_M:
            lifted.add(thing.id)
    hidden = {}
    for event in facts.events:
        inside = first < event.first and event.last < last
        if event.kind == "occluded" and event.object_id:
            if inside and event.last - event.first + 1 >= _HIDDEN_FRAMES:
                hidden[event.object_id] = (event.first + event.last) // 2
            elif event.last >= first and event.first <= last:
                unsure.add(event.object_id)
    moved = {move.object_id for move in moves}
    by_arm = moved & {event.object_id for event in facts.events if event.kind == "arm"}
    return Happenings(
        moves=tuple(sorted(moves, key=lambda move: move.first)),
        still=frozenset(still),
        fell=frozenset(fell),
        lifted=frozenset(lifted),
        by_arm=frozenset(by_arm),
        passed_on=frozenset(moved & _passed_on(facts, by_arm, first, last)),
        hidden=hidden,
        unsure=frozenset(unsure),
    )


def first_and_last(facts: ClipFacts, seen: Happenings) -> tuple[int, int | None] | None:
    """Who moved first and who moved last, None where moves do not clearly begin one after the other, at both ends.

    Who began last moved last, but where something else moved on for longer, some would name that: last is None then.
    """
    begins = [move.first for move in seen.moves]
    apart = _APART_S * facts.fps
    if len(begins) < 2 or begins[1] - begins[0] < apart or begins[-1] - begins[-2] < apart:
        return None
    last = seen.moves[-1]
    ended_last = all(move.last <= last.last for move in seen.moves)
    return seen.moves[0].object_id, last.object_id if ended_last else None


def screen_of(facts: ClipFacts, object_id: int, frame: int) -> int | None:
    """Mask id of the one object that stands before a hidden one on a frame; None where that is not plain."""
    row = next(i for i, thing in enumerate(facts.objects) if thing.id == object_id)
    view = facts.frames[frame][row]
    column, line = _projected(facts, view.position_m, frame)
    before = [
        other.id
        for other in facts.frames[frame]
        if other.id != object_id
        and other.visible_px
        and other.depth_m < view.depth_m
        and _inside(column, line, other.bbox)
    ]
    return before[0] if len(before) == 1 else None


def _passed_on(facts: ClipFacts, by_arm: set[int], first: int, last: int) -> set[int]:
    """Ids of what the arm moved through other things, on frames first..last."""
    bumps = {
        (e.object_id, e.by) for e in facts.events if e.kind in (MOVED, TOPPLED) and e.first < last and first < e.last
    }
    reached: set[int] = set()
    while more := {one for one, by in bumps if by in by_arm | reached} - by_arm - reached:
        reached |= more
    return reached


@dataclass(frozen=True)
class _Path:
    """Where an object was on the frames that show it, and what is known of the others."""

    frames: tuple[int, ...]
    places: NDArray[np.float64]  # [frames, 3] m
    came_m: float  # way from where it was at first to where it was first seen
    fell_unseen_m: float  # height that it lost on the way there and after it was last seen

    @classmethod
    def seen(cls, facts: ClipFacts, row: int, first: int, last: int) -> _Path | None:
        """The path of one row of the views over frames first..last; None where none shows it."""
        frames = tuple(t for t in range(first, last + 1) if facts.frames[t][row].visible_px)
        if not frames:
            return None
        places = np.array([facts.frames[t][row].position_m for t in frames], np.float64)
        start, end = (np.array(facts.frames[t][row].position_m, np.float64) for t in (first, last))
        fell_unseen_m = max(start[2] - places[0, 2], 0.0) + max(places[-1, 2] - end[2], 0.0)
        return cls(frames, places, float(np.linalg.norm(places[0] - start)), float(fell_unseen_m))

    @property
    def height(self) -> NDArray[np.float64]:
        """Of its middle on each frame, m."""
        return self.places[:, 2]

    @cached_property
    def reach(self) -> float:
        """Farthest that it got from its first place, m."""
        return float(np.linalg.norm(self.places - self.places[0], axis=1).max())

    @cached_property
    def moving(self) -> NDArray[np.int64]:
        """Which of its frames are followed by another place."""
        return np.flatnonzero(np.linalg.norm(np.diff(self.places, axis=0), axis=1) > _STEP_M)

    @property
    def creeps(self) -> bool:
        """Does it get nowhere, so slowly that nobody sees it move?"""
        steps = np.linalg.norm(np.diff(self.places, axis=0), axis=1)
        return self.reach < MOVED_M and float(steps.max(initial=0.0)) < _CREEP_M

    def falls(self, least_m: float, within: float) -> bool:
        """Does it lose so much height within so many frames, and not win it back?"""
        height, frames = self.height, np.array(self.frames)
        if height[0] - height[-1] < least_m:  # what is put down again was lifted before
            return False
        span = max(1, round(within))
        return any(
            height[t] - height[t + 1 :][frames[t + 1 :] <= at + span].min(initial=height[t]) > least_m
            for t, at in enumerate(self.frames)
        )


def _projected(facts: ClipFacts, point: tuple[float, float, float], frame: int) -> tuple[float, float]:
    rotation = np.array(facts.camera_rotation[frame]).reshape(3, 3)
    local = (np.array(point) - np.array(facts.camera_position_m[frame])) @ rotation
    fx, fy, cx, cy = facts.intrinsics
    depth = max(-float(local[2]), 1e-6)
    return cx + fx * float(local[0]) / depth, cy - fy * float(local[1]) / depth


def _inside(column: float, line: float, bbox: tuple[int, int, int, int]) -> bool:
    x, y, width, height = bbox
    return x <= column < x + width and y <= line < y + height
