"""Frames between whoever offers them and the worker's thread: bounded, and the oldest goes first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa_ros.pipeline.clip_buffer import NS_PER_S
from villa_ros.pipeline.stamp_filter import StampFilter

if TYPE_CHECKING:
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.frame import Frame


_Offered = tuple["Frame", int, int]  # as the first three of an Arrival


@dataclass(frozen=True)
class Arrival:
    """A frame, when it was offered, and when that was on the clock by which pictures grow old.

    `jumped_ns`: by how much its stamp shows a clock that jumped, else 0.
    """

    frame: Frame
    offered_ns: int
    present_ns: int
    jumped_ns: int


class FrameInbox:
    """Any thread puts frames in; the worker's thread takes all that came. No call waits for the model.

    `dropped` is told the camera of each frame that had to go, and why: "inbox_full", or "bad_stamp" where that does not
    follow the others.
    """

    def __init__(self, config: PipelineConfig, dropped: Callable[[str, str], None]) -> None:
        self._most_frames, self._most_bytes = config.clip_frames, config.clip_bytes
        self._dropped = dropped
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_Offered]] = {camera: deque() for camera in config.cameras}
        self._bytes = dict.fromkeys(config.cameras, 0)
        self._stamps = {camera: self._filter() for camera in config.cameras}

    def __contains__(self, camera: object) -> bool:
        return camera in self._waiting

    def put(self, frame: Frame, offered_ns: int, present_ns: int) -> None:
        """Take a frame of a camera that is known."""
        camera = frame.camera
        with self._lock:
            waiting = self._waiting[camera]
            waiting.append((frame, offered_ns, present_ns))
            self._bytes[camera] += frame.nbytes
            while len(waiting) > self._most_frames or (len(waiting) > 1 and self._bytes[camera] > self._most_bytes):
                self._bytes[camera] -= waiting.popleft()[0].nbytes
                self._dropped(camera, "inbox_full")

    def take(self, clock_jump_s: float) -> list[Arrival]:
        """All that came since the last time, by camera and oldest first. 0 s: no jump ahead is ever seen.

        A frame whose stamp does not follow is held back until the next one tells whether it was the stamp or the clock.
        """
        with self._lock:
            came = [entry for waiting in self._waiting.values() for entry in waiting]
            self._empty()
            jump_ns = round(clock_jump_s * NS_PER_S)
            return [
                Arrival(*passed.item, passed.jumped_ns)
                for one in came
                for passed in self._stamps[one[0].camera].offer(one, one[0].header.time_ns, one[1], jump_ns)
            ]

    def clear(self) -> None:
        """Forget what came and was not taken, and what stamps would follow."""
        with self._lock:
            self._empty()
            self._stamps = {camera: self._filter() for camera in self._stamps}

    def _filter(self) -> StampFilter[_Offered]:
        return StampFilter(lambda offered: self._dropped(offered[0].camera, "bad_stamp"))

    def _empty(self) -> None:
        for camera, waiting in self._waiting.items():
            waiting.clear()
            self._bytes[camera] = 0
