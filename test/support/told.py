"""What a source would tell a console: pictures, tracks, and a source that does nothing by itself."""

from __future__ import annotations

import numpy as np
from fakes import HEIGHT, WIDTH, frame

from villa.masks import RleMask, encode
from villa_ros.pipeline.events import TrackedInstance, TracksEvent, TrackState
from villa_ros.pipeline.request import Request
from villa_ros.viewers.picture import Picture
from villa_ros.viewers.source import NotSentError


def picture(index: int, camera: str = "camera", nbytes: int | None = None) -> Picture:
    """Picture `index` of a 10 Hz camera."""
    return Picture(frame(index, camera=camera, nbytes=nbytes))


def box_mask(x: int = 10, y: int = 5, width: int = 12, height: int = 8) -> RleMask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + height, x : x + width] = True
    return encode(mask)


def instance(
    name: str = "red box", request_id: str = "one", state: TrackState = TrackState.TRACKED, track_id: str = "t-1"
) -> TrackedInstance:
    seen = state in (TrackState.TRACKED, TrackState.TENTATIVE)
    mask = box_mask() if seen else RleMask.empty(HEIGHT, WIDTH)
    return TrackedInstance(track_id, request_id, 1, state, name, 0.9, 0.8, mask)


def tracks(index: int, *instances: TrackedInstance, camera: str = "camera") -> TracksEvent:
    """Tracks of picture `index`."""
    return TracksEvent(frame(index, camera=camera).header, camera, index, instances, 0)


class Clock:
    """Seconds that go on when they are told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class QuietSource:
    """Takes commands and remembers them; `deaf` says why it takes none."""

    name = "/villa_node"
    repeats = False

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.stopped: list[str] = []
        self.confirmed: list[bool] = []
        self.running = False
        self.deaf = ""

    def start(self) -> None:
        self.running = True

    def close(self) -> None:
        self.running = False

    def ask(self, request: Request) -> None:
        self._hear()
        self.asked.append(request)

    def stop(self, request_id: str) -> str:
        self._hear()
        self.stopped.append(request_id)
        return request_id or f"stop-{len(self.stopped)}"

    def confirm(self, *, yes: bool) -> None:
        self._hear()
        self.confirmed.append(yes)

    def again(self) -> None: ...

    def _hear(self) -> None:
        if self.deaf:
            raise NotSentError(self.deaf)
