"""A run as it is made: written to a bag, kept in memory, and shown to whoever draws or labels its frames."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from villa_ros.bags.run import Run
from villa_ros.pipeline.events import Event, JournalEvent, TracksEvent

if TYPE_CHECKING:
    from villa_ros.bags.writer import EventBag
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.request import Request

_KEPT_FRAMES = 64  # while nothing says which frames can still be told of: a journal names some later than their order


@dataclass(frozen=True)
class SettledFrame:
    """A frame, all that was told of it, and how long the pipeline took for it (s; None: not measured)."""

    frame: Frame
    told: tuple[TracksEvent, ...]
    seconds: float | None = None


class FrameObserver(Protocol):
    """Is shown the frames of a run, in the order of their stamps."""

    @property
    def beside(self) -> Mapping[str, Callable[[Any], None]]:
        """Further topics of the bag whose messages it wants, as they are read."""
        ...

    def observe(self, settled: SettledFrame, run: Run) -> None:
        """The next frame; `run` holds everything so far."""
        ...


class RunLog:
    """Writes what happens to a bag and keeps it as a `Run`, so that nobody has to read the bag back."""

    def __init__(self, bag: EventBag) -> None:
        self.run = Run()
        self._bag = bag

    def event(self, event: Event, log_ns: int) -> None:
        """Take an event; the journal entry of a submit carries its request."""
        self.run.take(event, log_ns, self._bag.carried(event))
        self._bag.event(event, log_ns)

    def command(self, request: Request, log_ns: int) -> None:
        """A command is about to be submitted."""
        self.run.take(request, log_ns)
        self._bag.command(request, log_ns)


class RunWatch:
    """The engine's sink in a replay, and the way of the frames to it.

    Events are stamped with the frame that came in last. A frame is shown to the observers of its camera once no event
    that is still to come can be about it, which `oldest_open_ns` knows.
    """

    def __init__(self, bag: EventBag, observers: Mapping[str, Sequence[FrameObserver]]) -> None:
        """`observers` by camera, of every camera."""
        self.frames = 0  # that came in
        self.problem: Exception | None = None  # of the first observer that failed; it was shown nothing more
        self._log = RunLog(bag)
        self._observers = {camera: list(own) for camera, own in observers.items()}
        self._now_ns = 0
        self._pending: dict[str, deque[Frame]] = {camera: deque() for camera in observers}
        # By camera and time.
        self._told: defaultdict[tuple[str, int], list[TracksEvent]] = defaultdict(list)
        self._seconds: dict[tuple[str, int], float] = {}

    @property
    def run(self) -> Run:
        """Everything so far."""
        return self._log.run

    @property
    def beside(self) -> dict[str, Callable[[Any], None]]:
        """What the observers want to be read beside the images."""
        every = [observer for own in self._observers.values() for observer in own]
        return {topic: take for observer in every for topic, take in observer.beside.items()}

    def __call__(self, event: Event) -> None:
        """Take an event of the engine."""
        if isinstance(event, JournalEvent) and event.op == "ingest":
            self._now_ns = event.stamp_ns
        if isinstance(event, TracksEvent) and self._observers.get(event.camera):
            self._told[event.camera, event.header.time_ns].append(event)
        self._log.event(event, self._now_ns)

    def command(self, request: Request) -> None:
        """A command is about to be submitted."""
        self._log.command(request, self._now_ns)

    def watched(self, frames: Iterable[Frame], oldest_open_ns: Callable[[str], int | None]) -> Iterator[Frame]:
        """The same frames, timed between each and the next; shown to the observers when they are settled."""
        for frame in frames:
            self.frames += 1
            camera, pending = frame.camera, self._pending[frame.camera]
            if self._observers[camera]:
                pending.append(frame)
            began_s = time.perf_counter()
            yield frame
            if self._observers[camera]:
                self._seconds[camera, frame.header.time_ns] = time.perf_counter() - began_s
            open_ns = oldest_open_ns(camera)
            while pending and (len(pending) > _KEPT_FRAMES if open_ns is None else pending[0].header.time_ns < open_ns):
                self._show(pending.popleft())

    def end(self) -> None:
        """Everything was told: show the frames that are left."""
        for pending in self._pending.values():
            while pending:
                self._show(pending.popleft())

    def _show(self, frame: Frame) -> None:
        which = (frame.camera, frame.header.time_ns)
        settled = SettledFrame(frame, tuple(self._told.pop(which, ())), self._seconds.pop(which, None))
        own = self._observers[frame.camera]
        self._observers[frame.camera] = [observer for observer in own if self._observed(observer, settled)]

    def _observed(self, observer: FrameObserver, settled: SettledFrame) -> bool:
        """Does it go on? The run itself is not to be lost for a picture that cannot be drawn."""
        try:
            observer.observe(settled, self.run)
        except Exception as error:
            self.problem = self.problem or error
            return False
        return True


def show_run(frames: Iterable[Frame], run: Run, observers: Sequence[FrameObserver], camera: str) -> Iterator[Frame]:
    """Show the frames of a camera with what a recorded run told of them, yielding each afterwards."""
    told: defaultdict[int, list[TracksEvent]] = defaultdict(list)
    for timed in run.tracks:
        if timed.value.camera == camera:
            told[timed.value.header.time_ns].append(timed.value)
    for frame in frames:
        for observer in observers:
            observer.observe(SettledFrame(frame, tuple(told.get(frame.header.time_ns, ()))), run)
        yield frame
