"""When a camera has been silent for so long that its last picture is not the present any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median

from villa_ros.pipeline.clip_buffer import NS_PER_S

_GAPS = 8  # between pictures, that tell a camera's pace
_MISSED = 3  # times its pace: a slow camera is not silent between two of its pictures


class CameraSilence:
    """Times at which pictures came, by camera. One thread's own."""

    def __init__(self, cameras: Iterable[str]) -> None:
        self._came: dict[str, int] = {}
        self._gaps: dict[str, deque[int]] = {camera: deque(maxlen=_GAPS) for camera in cameras}
        self._told: set[str] = set()

    def heard(self, camera: str, when_ns: int) -> None:
        """A picture came that had not come before."""
        if camera in self._came:
            self._gaps[camera].append(when_ns - self._came[camera])
        self._came[camera] = when_ns
        self._told.discard(camera)

    def age_ns(self, camera: str, now_ns: int) -> int:
        """How long ago the last picture came; 0 before the first."""
        return max(0, now_ns - self._came.get(camera, now_ns))

    def is_silent(self, camera: str) -> bool:
        """Was it found so, and has nothing come since?"""
        return camera in self._told

    def silent(self, now_ns: int, most_s: float) -> list[str]:
        """Cameras of which nothing came for longer than `most_s`, and for longer than their pace explains."""
        found = [camera for camera in self._came if now_ns >= self._due_ns(camera, most_s)]
        self._told.update(found)
        return found

    def next_due_ns(self, most_s: float) -> int | None:
        """When the next camera is silent that was not found so yet, if nothing comes before; None: never."""
        return min((self._due_ns(camera, most_s) for camera in self._came if camera not in self._told), default=None)

    def _due_ns(self, camera: str, most_s: float) -> int:
        gaps = self._gaps[camera]
        pace_ns = round(median(gaps)) if gaps else 0
        return self._came[camera] + max(round(most_s * NS_PER_S), _MISSED * pace_ns)
