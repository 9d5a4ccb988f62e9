"""What happened in a stretch of a clip, and to which object: who moved, fell, was lifted, pushed, hidden.

Read off where things were, not off what was planned: a thing that an arm was to push and missed did not move. What is
too slight to be sure of makes the question unanswerable instead of false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from villa.data.clips import ClipFacts
from villa.data.language.vocabulary import PEOPLE

MOVED_M, STILL_M = 0.045, 0.012  # a way at least so long is a move; one at most so long is none
_STEP_M = 0.006  # between two frames, of something that is moving
_FALL_M = 0.08  # height lost by something that fell
_FALL_S = 0.8  # within
_LIFT_M = 0.05  # height won and lost again by something that was lifted
_APART_S = 0.5  # between the beginnings of two moves that have an order
_HIDDEN_FRAMES = 2


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
        way = np.array([facts.frames[t][row].position_m for t in range(first, last + 1)], np.float64)
        reach = float(np.linalg.norm(way - way[0], axis=1).max())
        moving = np.flatnonzero(np.linalg.norm(np.diff(way, axis=0), axis=1) > _STEP_M)
        if reach <= STILL_M:
            still.add(thing.id)
        elif reach < MOVED_M or not len(moving):
            unsure.add(thing.id)
        else:
            moves.append(Move(thing.id, first + int(moving[0]), first + int(moving[-1]) + 1))
            if _fell(way[:, 2], max(1, round(_FALL_S * facts.fps))):
                fell.add(thing.id)
            elif float(way[:, 2].max() - max(way[0, 2], way[-1, 2])) > _LIFT_M:
                lifted.add(thing.id)
    hidden = {}
    for event in facts.events:
        inside = first < event.first and event.last < last
        if event.kind == "occluded" and event.object_id:
            if inside and event.last - event.first + 1 >= _HIDDEN_FRAMES:
                hidden[event.object_id] = (event.first + event.last) // 2
            elif event.last >= first and event.first <= last:
                unsure.add(event.object_id)
    arm = {event.object_id for event in facts.events if event.kind == "arm"}
    return Happenings(
        moves=tuple(sorted(moves, key=lambda move: move.first)),
        still=frozenset(still),
        fell=frozenset(fell),
        lifted=frozenset(lifted),
        by_arm=frozenset(arm & {move.object_id for move in moves}),
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


def _fell(height: NDArray[np.float64], frames: int) -> bool:
    if height[0] - height[-1] < _FALL_M:  # what is put down again was lifted before
        return False
    return any(height[t] - height[t + 1 : t + 1 + frames].min() > _FALL_M for t in range(len(height) - 1))


def _projected(facts: ClipFacts, point: tuple[float, float, float], frame: int) -> tuple[float, float]:
    rotation = np.array(facts.camera_rotation[frame]).reshape(3, 3)
    local = (np.array(point) - np.array(facts.camera_position_m[frame])) @ rotation
    fx, fy, cx, cy = facts.intrinsics
    depth = max(-float(local[2]), 1e-6)
    return cx + fx * float(local[0]) / depth, cy - fy * float(local[1]) / depth


def _inside(column: float, line: float, bbox: tuple[int, int, int, int]) -> bool:
    x, y, width, height = bbox
    return x <= column < x + width and y <= line < y + height
