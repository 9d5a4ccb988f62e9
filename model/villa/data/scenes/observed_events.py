"""What happened to things in a rendered clip: read off what the physics did and the camera saw, not off the plan.

A thing is moved by a motion of its own, or it is bumped: then something that moves touches it as it begins to move.
Intervals: `t` of an array [N - 1] is from frame t to frame t + 1, and an event over frames first..last begins on the
last frame on which all is as before.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from villa.data.clip_making import SMALLEST_SEEN_PX
from villa.data.clips import EventFacts, View
from villa.data.language.motion_events import MOVED, MOVED_M, STILL_M, TOPPLED
from villa.data.scenes.motion import Motion

F64 = NDArray[np.float64]
Moving = NDArray[np.bool_]  # [N - 1, objects]
DROPPED = "dropped"
_STEP_M = 0.002  # between two frames, of something that is moving
_LANDED_M = 0.006  # change of height between two frames, of something that falls no more
_UPRIGHT, _TIPPED = 0.9, 0.5  # cosine of the tilt of what stands, and of what does so no more
_TURNING = 0.05  # change of that cosine between two frames, of something that is still falling over
# For these no side is up: they roll and do not topple.
_ROLLING = frozenset({"ball", "apple", "orange", "lemon"})


@dataclass(frozen=True)
class Record:
    """A whole clip of N frames as the physics had it and as it was seen."""

    position: F64  # [N, objects, 3] m, middles
    upright: F64  # [N, objects] cosine of the tilt
    seen: NDArray[np.bool_]  # [N, objects]
    touching: Sequence[Set[tuple[int, int]]]  # [N] pairs of objects that touched since the frame before

    @classmethod
    def of(
        cls, views: Sequence[Sequence[View]], upright: Sequence[F64], touching: Sequence[Set[tuple[int, int]]]
    ) -> Record:
        """From what there is of each frame: the views of all objects, their tilts [objects], and who touched."""
        shape = (len(views), len(views[0]))
        return cls(
            np.array([[view.position_m for view in frame] for frame in views], np.float64).reshape(*shape, 3),
            np.array(upright, np.float64).reshape(shape),
            np.array([[view.visible_px >= SMALLEST_SEEN_PX for view in frame] for frame in views], bool).reshape(shape),
            touching,
        )

    @property
    def moving(self) -> Moving:
        """Who moves between which frames."""
        return np.asarray(np.linalg.norm(np.diff(self.position, axis=0), axis=2) > _STEP_M)


def observed(record: Record, motions: Sequence[Motion], kinds: Sequence[str]) -> list[EventFacts]:
    """Drops as they are seen, and all that was moved or toppled without a motion of its own; `kinds` of the objects."""
    events = [
        EventFacts(DROPPED, motion.subject + 1, *fall)
        for motion in motions
        if motion.kind == DROPPED and (fall := fall_seen(record, motion)) is not None
    ]
    own = _own(record, motions)
    movers = _movers(record, own)
    for index, kind in enumerate(kinds):
        tipped = [] if kind in _ROLLING else _tipped(record, motions, index)
        for first, last in _runs(record.moving[:, index] & ~own[:, index]):
            path = record.position[first : last + 1, index]
            over = [tip for tip in tipped if first <= tip[0] < last]
            tipped = [tip for tip in tipped if tip not in over]
            if over or np.linalg.norm(path - path[0], axis=1).max() > STILL_M:
                by = movers.get((first, index), -1) + 1
                events.append(EventFacts(TOPPLED if over else MOVED, index + 1, first, last, by))
        events += [EventFacts(TOPPLED, index + 1, *tip) for tip in tipped]  # by motions of its own
    return events


def fall_seen(record: Record, motion: Motion) -> tuple[int, int] | None:
    """First and last frame of the fall of what is dropped, of the part that is seen; None where hardly any is.

    At a few frames a second, most of what comes from above the picture is seen to lie there the next moment.
    """
    first, last = _fall(record, motion)
    seen = np.flatnonzero(record.seen[first : last + 1, motion.subject]) + first
    height = record.position[seen, motion.subject, 2]
    return (int(seen[0]), int(seen[-1])) if len(seen) and height[0] - height.min() > MOVED_M else None


def _fall(record: Record, motion: Motion) -> tuple[int, int]:
    """From the frame on which it is let go to the one on which it lies; an empty fall where the clip ends before."""
    height = record.position[:, motion.subject, 2]
    end = len(height) - 1
    first = min(motion.last + 1, end)
    while first < end and height[first] - height[first + 1] <= _STEP_M:
        first += 1
    last = first
    while last < end and (last == first or abs(height[last + 1] - height[last]) > _LANDED_M):
        last += 1
    return first, last


def _own(record: Record, motions: Sequence[Motion]) -> Moving:
    """Who moves by a motion of its own between which frames, and until it has come to rest after it."""
    own = np.zeros_like(record.moving)
    for motion in motions:
        if motion.subject < 0:
            continue
        # What is to be dropped hangs in the air or out of the picture until then.
        first = 0 if motion.kind == DROPPED else motion.first
        last = _fall(record, motion)[1] if motion.kind == DROPPED else motion.last
        while last < len(own) and record.moving[last, motion.subject]:
            last += 1
        own[first:last, motion.subject] = True
    return own


def _movers(record: Record, own: Moving) -> dict[tuple[int, int], int]:
    """(interval, who begins to move then without a motion of its own) -> who moves it, where that is plain.

    Within an interval a push may go through several things: it is followed from those that moved before or by
    themselves, touch by touch.
    """
    moving = record.moving
    found: dict[tuple[int, int], int] = {}
    for t in range(len(moving)):
        before = moving[t - 1] if t else np.zeros_like(moving[t])
        pushing = {int(index) for index in np.flatnonzero(moving[t] & (before | own[t]))}
        fresh = {int(index) for index in np.flatnonzero(moving[t] & ~before & ~own[t])}
        touches = record.touching[t + 1] | record.touching[t]
        while fresh:
            reached = {}
            for index in fresh:
                near = {other for pair in touches if index in pair for other in pair if other != index} & pushing
                if near:
                    reached[index] = near
            if not reached:
                break
            for index, near in reached.items():
                by = {other for other in near if own[t, other]} or near
                if len(by) == 1:
                    found[t, index] = by.pop()
            pushing |= set(reached)
            fresh -= set(reached)
    return found


def _tipped(record: Record, motions: Sequence[Motion], index: int) -> list[tuple[int, int]]:
    """First and last frames over which something that stood falls over; what is carried or in the air cannot."""
    upright = record.upright[:, index].copy()
    for motion in motions:
        if motion.subject == index and motion.kind in (DROPPED, "carried"):
            last = _fall(record, motion)[1] if motion.kind == DROPPED else motion.last + 1
            upright[: last + 1] = 0.0
    tipped: list[tuple[int, int]] = []
    stood = -1  # the last frame on which it stood, -1 where it lies
    for t, cosine in enumerate(upright):
        if cosine > _UPRIGHT:
            stood = t
        elif cosine < _TIPPED and stood >= 0:
            last = t
            while last + 1 < len(upright) and abs(upright[last + 1] - upright[last]) > _TURNING:
                last += 1
            tipped.append((stood, last))
            stood = -1
    return tipped


def _runs(moving: Moving) -> list[tuple[int, int]]:
    """Frames first..last of the stretches over which something moves; rests of one interval count in."""
    runs: list[tuple[int, int]] = []
    for t in np.flatnonzero(moving):
        if runs and t - runs[-1][1] <= 1:
            runs[-1] = (runs[-1][0], int(t) + 1)
        else:
            runs.append((int(t), int(t) + 1))
    return runs
