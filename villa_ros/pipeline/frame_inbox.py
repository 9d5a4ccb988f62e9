"""Frames between whoever offers them and the worker's thread: bounded, and the oldest goes first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa_ros.pipeline.clip_buffer import NS_PER_S

if TYPE_CHECKING:
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.frame import Frame


@dataclass(frozen=True)
class Arrival:
    """A frame and when it was offered; `ahead_ns`: by how much its stamp shows a clock that jumped ahead, else 0."""

    frame: Frame
    offered_ns: int
    ahead_ns: int


class FrameInbox:
    """Any thread puts frames in; the worker's thread takes all that came. No call waits for the model.

    `dropped` is told the camera of each frame that had to go.
    """

    def __init__(self, config: PipelineConfig, dropped: Callable[[str], None]) -> None:
        self._most_frames, self._most_bytes = config.clip_frames, config.clip_bytes
        self._dropped = dropped
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[Frame, int]]] = {camera: deque() for camera in config.cameras}
        self._bytes = dict.fromkeys(config.cameras, 0)
        self._newest: dict[str, tuple[int, int]] = {}  # stamp and arrival; worker's thread only

    def __contains__(self, camera: object) -> bool:
        return camera in self._waiting

    def put(self, frame: Frame, offered_ns: int) -> None:
        """Take a frame of a camera that is known."""
        camera = frame.camera
        with self._lock:
            waiting = self._waiting[camera]
            waiting.append((frame, offered_ns))
            self._bytes[camera] += frame.nbytes
            while len(waiting) > self._most_frames or (len(waiting) > 1 and self._bytes[camera] > self._most_bytes):
                self._bytes[camera] -= waiting.popleft()[0].nbytes
                self._dropped(camera)

    def take(self, clock_jump_s: float) -> list[Arrival]:
        """All that came since the last time, by camera and oldest first. 0 s: no jump is ever seen."""
        with self._lock:
            came = [entry for waiting in self._waiting.values() for entry in waiting]
            self._empty()
        return [Arrival(frame, offered_ns, self._ahead(frame, offered_ns, clock_jump_s)) for frame, offered_ns in came]

    def clear(self) -> None:
        """Forget what came and was not taken."""
        with self._lock:
            self._empty()

    def _empty(self) -> None:
        for camera, waiting in self._waiting.items():
            waiting.clear()
            self._bytes[camera] = 0

    def _ahead(self, frame: Frame, offered_ns: int, clock_jump_s: float) -> int:
        """By how much the stamps ran ahead of the arrivals since the last frame, ns; 0 where that is no jump."""
        stamp_ns = frame.header.stamp_ns
        before = self._newest.get(frame.camera)
        self._newest[frame.camera] = (stamp_ns, offered_ns)
        if before is None or not clock_jump_s:
            return 0
        ahead_ns = (stamp_ns - before[0]) - (offered_ns - before[1])
        return ahead_ns if ahead_ns > clock_jump_s * NS_PER_S else 0
