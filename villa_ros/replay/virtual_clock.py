"""A recording as a live node would have met it, without DDS: the worker's own turns on a clock of our own.

Frames and requests come in when their stamps say. While the model computes, the clock runs by what that took (or by
what a scenario says that it takes), and where nothing is to be done it jumps ahead. So frames are dropped just where
the model is slower than the camera, and a recording of a minute takes no minute where little happens.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa.interface import ChoosyModel, ClipFrame, RequestResult, SlowStep, TrackOutput, Turn
from villa_ros.pipeline.request import Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from villa.interface import FrameFeatures, Rgb, SegmentationModel, Session
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.worker import Worker

_AFTER_S = 60.0  # after the last frame: the most that what is still to be answered may take


class VirtualClock:
    """Nanoseconds on the recording's own clock; runs while something is computed, or only as it is told to."""

    def __init__(self, *, measured: bool) -> None:
        self._ns = 0
        self._measured = measured
        self._since: float | None = None

    def __call__(self) -> int:
        """Now."""
        return self._ns + (0 if self._since is None else round((time.perf_counter() - self._since) * 1e9))

    def set(self, now_ns: int) -> None:
        """Stand still at this time."""
        self._ns, self._since = now_ns, None

    def run(self) -> None:
        """Run as time does, where times are measured."""
        self._since = time.perf_counter() if self._measured else None

    def stop(self) -> int:
        """Stand still; returns now."""
        self.set(self())
        return self._ns

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self._ns += round(seconds * 1e9)


class PacedModel:
    """A model whose passes take as long as a scenario says: another machine's times, the same each run."""

    def __init__(self, model: SegmentationModel, pace: Pace, clock: VirtualClock) -> None:
        self._model, self._pace, self._clock = model, pace, clock

    def encode(self, rgb: Rgb) -> FrameFeatures:
        """As the model's; part of a pass, so it takes no time of its own."""
        return self._model.encode(rgb)

    def describe(self, features: FrameFeatures) -> NDArray[np.float32]:
        """As the model's."""
        return self._model.describe(features)

    def objection(self, text: str) -> str:
        """As the model's."""
        return self._model.objection(text) if isinstance(self._model, ChoosyModel) else ""

    def open_session(self) -> PacedSession:
        """A session of the model, paced."""
        return PacedSession(self._model.open_session(), self._pace, self._clock)


class PacedSession:
    """A session whose steps take their time."""

    def __init__(self, session: Session, pace: Pace, clock: VirtualClock) -> None:
        self._session, self._pace, self._clock = session, pace, clock

    def request(
        self, text: str, clip: Sequence[ClipFrame], history: Sequence[Turn] = ()
    ) -> Generator[SlowStep, None, RequestResult]:
        """As the session's."""
        steps = self._session.request(text, clip, history)
        try:
            while True:
                self._clock.advance(self._pace.slow_step_s)
                try:
                    step = next(steps)
                except StopIteration as done:
                    result: RequestResult = done.value
                    return result
                yield step
        finally:
            steps.close()

    def step(self, features: FrameFeatures, stamp_s: float) -> list[TrackOutput]:
        """As the session's."""
        self._clock.advance(self._pace.fast_s)
        return self._session.step(features, stamp_s)

    def drop(self, keys: Sequence[int]) -> None:
        """As the session's."""
        self._session.drop(keys)

    @property
    def keys(self) -> tuple[int, ...]:
        """As the session's."""
        return self._session.keys


def drive_live(
    worker: Worker, clock: VirtualClock, frames: Iterable[Frame], requests: Sequence[Request]
) -> Iterator[Frame]:
    """Let a worker without a thread meet frames and requests when their stamps say, yielding each frame as it comes.

    The worker must have been made with this clock. Ends when all frames came and everything is answered.
    """
    coming = _Coming(frames, requests)
    first_ns = coming.next_ns
    if first_ns is None:
        return
    clock.set(first_ns)
    last_ns = first_ns
    while True:
        now_ns = clock.stop()
        while coming.next_ns is not None and coming.next_ns <= now_ns:
            last_ns = coming.next_ns
            clock.set(last_ns)  # it came then, also where the model was busy
            item = coming.take()
            if isinstance(item, Request):
                worker.submit(item)
            else:
                worker.offer(item)
                yield item
        if coming.next_ns is None:
            worker.end_of_input()
        clock.set(now_ns)
        clock.run()
        worked = worker.turn()
        now_ns = clock.stop()
        if worked:
            if coming.next_ns is None and now_ns > last_ns + round(_AFTER_S * 1e9):
                return
            continue
        due_ns = worker.next_due_ns
        if coming.next_ns is None:
            return
        clock.set(max(now_ns, coming.next_ns if due_ns is None else min(coming.next_ns, due_ns)))


class _Coming:
    """Frames and requests in the order of their stamps; a request before a frame of the same time."""

    def __init__(self, frames: Iterable[Frame], requests: Sequence[Request]) -> None:
        self._frames = iter(frames)
        self._requests = sorted(requests, key=lambda request: request.stamp_ns, reverse=True)
        self._frame = next(self._frames, None)

    @property
    def next_ns(self) -> int | None:
        stamps = [self._frame.header.time_ns] if self._frame is not None else []
        stamps += [self._requests[-1].stamp_ns] if self._requests else []
        return min(stamps, default=None)

    def take(self) -> Frame | Request:
        frame = self._frame
        if self._requests and (frame is None or self._requests[-1].stamp_ns <= frame.header.time_ns):
            return self._requests.pop()
        assert frame is not None
        self._frame = next(self._frames, None)
        return frame


@dataclass(frozen=True)
class Pace:
    """What the model takes in real-time mode, seconds."""

    fast_s: float
    slow_step_s: float
