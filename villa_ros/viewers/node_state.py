"""All that a console knows: what its source heard of cameras, tracks, requests and health. Bounded, and without ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa_ros.viewers.camera_feed import CameraFeed, View
from villa_ros.viewers.node_health import Line, NodeHealth
from villa_ros.viewers.request_log import AskedRequest, RequestLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from villa_ros.pipeline.events import AnswerEvent, StatusEvent, TracksEvent
    from villa_ros.pipeline.request import Request
    from villa_ros.viewers.picture import Picture

MOST_CAMERAS = 16
GONE_S = 2.0  # a camera that sends nothing for so long is said to be gone


@dataclass(frozen=True)
class CameraState:
    """How one camera does."""

    name: str
    topic: str
    silent_s: float | None  # since its last picture; None: there was none
    rate_hz: float
    latency_s: float | None  # of the node, on its last tracks
    received: int
    bad: int
    last_error: str

    @property
    def alive(self) -> bool:
        """Do pictures come?"""
        return self.silent_s is not None and self.silent_s < GONE_S


@dataclass(frozen=True)
class Health:
    """How node and cameras do."""

    node_alive: bool
    node_silent_s: float | None
    lines: tuple[Line, ...]
    cameras: tuple[CameraState, ...]
    note: str  # of the source: that a recording has ended, say


@dataclass(frozen=True)
class Question:
    """What the speech node wants to have confirmed before it asks for it."""

    request_id: str
    text: str


class NodeState:
    """What was heard, from any thread; who listens is told that something changed, and asks for what it wants.

    `clock` gives seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._feeds: dict[str, CameraFeed] = {}
        self._book = RequestLog()
        self._node = NodeHealth()
        self._node_was_alive = False
        self._note = ""
        self._question: Question | None = None
        self._listeners: tuple[Callable[[], None], ...] = ()

    # What a source tells

    def camera(self, name: str, topic: str = "") -> None:
        """There is a camera of this name, and this is its image topic."""
        with self._lock:
            feed = self._feed(name)
            if feed is not None and topic:
                feed.topic = topic
        self._tell()

    def picture(self, picture: Picture) -> None:
        """A picture came."""
        with self._lock:
            feed = self._feed(picture.camera)
            if feed is not None:
                feed.picture(picture, self._clock())
        self._tell()

    def bad_picture(self, camera: str, error: str) -> None:
        """An image came that cannot be shown."""
        with self._lock:
            feed = self._feed(camera)
            if feed is not None:
                feed.bad += 1
                feed.last_error = error

    def tracks(self, event: TracksEvent, latency_s: float | None = None) -> None:
        """The tracks of a frame came."""
        with self._lock:
            feed = self._feed(event.camera)
            if feed is not None:
                now_s = self._clock()
                feed.tracks(event, latency_s, now_s)
                self._book.tracked(feed.tracked, event.camera, now_s)
        self._tell()

    def command(self, request: Request) -> None:
        """A command was given, by anybody."""
        with self._lock:
            self._book.command(request, self._clock())
            self._answered(request.request_id)
        self._tell()

    def status(self, event: StatusEvent) -> None:
        """A request changed its state."""
        with self._lock:
            self._book.status(event, self._clock())
        self._tell()

    def answer(self, event: AnswerEvent) -> None:
        """An answer grew, or is whole."""
        with self._lock:
            self._book.answer(event, self._clock())
        self._tell()

    def asks(self, request_id: str, text: str) -> None:
        """The speech node asks whether a request was meant; it asks one thing at a time."""
        with self._lock:
            self._question = Question(request_id, text)
        self._tell()

    def asks_no_more(self, request_id: str) -> None:
        """That question was answered, or is not asked any more."""
        with self._lock:
            self._answered(request_id)
        self._tell()

    def diagnosed(self, lines: Sequence[Line]) -> None:
        """The node told how it does."""
        with self._lock:
            self._node.diagnosed(lines, self._clock())
            self._node_was_alive = True
            for name, topic in self._node.cameras.items():
                feed = self._feed(name)
                if feed is not None and topic:
                    feed.topic = topic
        self._tell()

    def note(self, text: str) -> None:
        """Something about the source itself that people should know; empty: nothing."""
        with self._lock:
            self._note = text
        self._tell()

    # What a browser is shown

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback`, from any thread, when something changed; returns what ends that."""
        with self._lock:
            self._listeners = (*self._listeners, callback)

        def end() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not callback)

        return end

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names of all cameras, in the order they were heard of."""
        with self._lock:
            return tuple(self._feeds)

    def view(self, camera: str, *, masks: bool = True) -> View | None:
        """What to show of a camera now; None where there is nothing yet."""
        with self._lock:
            feed = self._feeds.get(camera)
            return None if feed is None else feed.view(self._clock(), masks=masks)

    def requests(self, since: int = 0) -> tuple[int, list[AskedRequest]]:
        """The book's revision, and the requests that changed after the revision `since`."""
        with self._lock:
            self._look_after_the_node()
            return self._book.revision, self._book.since(since)

    def request(self, request_id: str) -> AskedRequest | None:
        """One request, if it is still known."""
        with self._lock:
            return self._book.get(request_id)

    def stopped(self, request_id: str) -> bool:
        """Did the node hear a stop? `request_id`: as `Source.stop` returned it."""
        with self._lock:
            return self._book.stopped(request_id)

    @property
    def question(self) -> Question | None:
        """What waits for a yes or a no."""
        with self._lock:
            return self._question

    def now_s(self) -> float:
        """The clock that times of requests are told by."""
        return self._clock()

    def health(self) -> Health:
        """How node and cameras do now."""
        with self._lock:
            self._look_after_the_node()
            now_s = self._clock()
            return Health(
                self._node.alive(now_s),
                self._node.silent_s(now_s),
                self._node.lines,
                tuple(_state(feed, now_s) for feed in self._feeds.values()),
                self._note,
            )

    def _answered(self, request_id: str) -> None:
        if self._question is not None and self._question.request_id == request_id:
            self._question = None

    def _look_after_the_node(self) -> None:
        now_s = self._clock()
        alive = self._node.alive(now_s)
        if self._node_was_alive and not alive:
            self._book.node_gone(now_s)
        self._node_was_alive = alive

    def _feed(self, name: str) -> CameraFeed | None:
        if name not in self._feeds:
            if len(self._feeds) >= MOST_CAMERAS:
                return None
            self._feeds[name] = CameraFeed(name)
        return self._feeds[name]

    def _tell(self) -> None:
        for callback in self._listeners:
            callback()


def _state(feed: CameraFeed, now_s: float) -> CameraState:
    silent_s = None if feed.arrived_s is None else now_s - feed.arrived_s
    return CameraState(
        feed.name, feed.topic, silent_s, feed.rate_hz(now_s), feed.latency_s, feed.received, feed.bad, feed.last_error
    )
