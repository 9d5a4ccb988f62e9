"""What one camera shows now: its newest picture, or the newest one that masks belong to.

Masks come later than the picture they were made from. While they come, pictures therefore wait for theirs, found by
the exact stamp; a mask is never put on another frame's pixels. When none come any more, pictures are shown at once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa_ros.pipeline.events import TracksEvent, TrackState

if TYPE_CHECKING:
    from villa_ros.viewers.picture import Picture

KEPT_PICTURES = 48  # that may still get masks: 1.6 s at 30 Hz ...
KEPT_BYTES = 64 * 1024 * 1024  # ... and in bytes
_KEPT_TRACKS = 8  # that came before their picture
_WAIT_S = (1.0, 5.0)  # for the next masks before pictures are shown without
_WAIT_PERIODS = 3.0  # ... in between: so many times what they took last
_BACKWARDS_NS = 500_000_000  # an older stamp than this is a clock that was set back, as when a bag starts over
_RATE_WINDOW = 32


@dataclass(frozen=True)
class View:
    """What to show of a camera. `tracks` are of this very picture, or None. `key` differs from view to view."""

    picture: Picture
    tracks: TracksEvent | None
    latency_s: float | None  # from the frame's arrival at the node to its tracks
    key: tuple[int, int]


class CameraFeed:
    """Pictures and tracks of one camera, bounded. Not for several threads at once; `Heard` sees to that."""

    def __init__(self, name: str, topic: str = "") -> None:
        self.name = name
        self.topic = topic
        self.received = 0
        self.bad = 0
        self.last_error = ""
        self.arrived_s: float | None = None
        self._arrivals: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._pictures: OrderedDict[int, Picture] = OrderedDict()
        self._bytes = 0
        self._newest: Picture | None = None
        self._early: OrderedDict[int, tuple[TracksEvent, float | None]] = OrderedDict()
        self._paired: View | None = None
        self._pairs = 0
        self._tracks_s: float | None = None  # when masks came last
        self._period_s = 0.0
        self.latency_s: float | None = None
        self.tracked: tuple[str, ...] = ()  # requests that the newest tracks speak of

    def picture(self, picture: Picture, now_s: float) -> None:
        """Take the newest picture in."""
        self.received += 1
        self.arrived_s = now_s
        self._arrivals.append(now_s)
        if self._newest is not None and picture.stamp_ns < self._newest.stamp_ns - _BACKWARDS_NS:
            self._forget()
        self._newest = picture
        # Of pictures with one stamp the node takes the first, so masks belong to that one.
        if picture.stamp_ns not in self._pictures:
            self._pictures[picture.stamp_ns] = picture
            self._bytes += picture.nbytes
        while len(self._pictures) > KEPT_PICTURES or (self._bytes > KEPT_BYTES and len(self._pictures) > 1):
            self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        early = self._early.pop(picture.stamp_ns, None)
        if early is not None:
            self._pair(picture, *early)

    def tracks(self, event: TracksEvent, latency_s: float | None, now_s: float) -> None:
        """Take the tracks of a frame in."""
        ended = bool(event.instances) and all(one.state == TrackState.REMOVED for one in event.instances)
        if self._tracks_s is not None and now_s > self._tracks_s:
            self._period_s = now_s - self._tracks_s
        self._tracks_s = None if ended else now_s
        self.latency_s = latency_s
        self.tracked = tuple({one.request_id: None for one in event.instances if one.state != TrackState.REMOVED})
        picture = self._pictures.get(event.header.time_ns)
        if picture is not None:
            self._pair(picture, event, latency_s)
            return
        self._early[event.header.time_ns] = (event, latency_s)
        if len(self._early) > _KEPT_TRACKS:
            self._early.popitem(last=False)

    def view(self, now_s: float, *, masks: bool = True) -> View | None:
        """What to show now; None before the first picture. Without `masks` nothing waits for them."""
        if masks and self._paired is not None and self._waits(now_s):
            return self._paired
        if self._newest is None:
            return None
        return View(self._newest, None, None, (self.received, 0))

    def rate_hz(self, now_s: float) -> float:
        """Pictures a second, of late."""
        if len(self._arrivals) < 2:
            return 0.0
        span_s = max(now_s - self._arrivals[0], 1e-6)
        return (len(self._arrivals) - 1) / span_s

    def _waits(self, now_s: float) -> bool:
        if self._tracks_s is None:
            return False
        if self._paired is not None and self._paired.picture is self._newest:
            return True  # a camera that stands still, or has gone: these masks are of the newest picture there is
        shortest_s, longest_s = _WAIT_S
        return now_s - self._tracks_s < min(longest_s, max(shortest_s, _WAIT_PERIODS * self._period_s))

    def _pair(self, picture: Picture, event: TracksEvent, latency_s: float | None) -> None:
        if self._paired is not None and picture.stamp_ns < self._paired.picture.stamp_ns:
            return  # overtaken on its way
        self._pairs += 1
        self._paired = View(picture, event, latency_s, (self.received, self._pairs))

    def _forget(self) -> None:
        self._pictures.clear()
        self._bytes = 0
        self._early.clear()
        self._paired = None
        self._tracks_s = None
