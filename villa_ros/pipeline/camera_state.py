"""What the pipeline knows of one camera and of one request."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from villa_ros.pipeline.events import AnswerEvent, TrackedInstance, TracksEvent
from villa_ros.pipeline.request import RequestState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from villa.interface import Session, Turn
    from villa_ros.pipeline.clip_buffer import ClipBuffer, RingEntry
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.request import Request
    from villa_ros.pipeline.tracks import Track


@dataclass(eq=False)
class ActiveRequest:
    """An accepted request until its final state."""

    request: Request
    state: RequestState = RequestState.UNKNOWN
    partial: AnswerEvent | None = None  # the last one told while the answer grows
    answers: int = 0  # answer events sent
    retained: frozenset[int] = frozenset()  # keys of ended tracks that a follow-up may still refer to
    history: tuple[Turn, ...] = ()  # what its slow pass read beside the request

    @property
    def request_id(self) -> str:
        """Its id, unique in the process."""
        return self.request.request_id

    @property
    def waiting(self) -> bool:
        """No slow pass has begun."""
        return self.state in (RequestState.QUEUED, RequestState.BUFFERING)


@dataclass(eq=False)
class Stream:
    """One camera: its ring, its model session and its live tracks."""

    camera: str
    ring: ClipBuffer
    session: Session | None = None
    tracks: dict[int, Track] = field(default_factory=dict)  # by the session's key
    to_drop: set[int] = field(default_factory=set)  # keys the model may forget at its next call
    catch_up: deque[int] = field(default_factory=deque)  # stamps of ring frames still to be stepped through
    stepped_ns: int | None = None  # stamp of the newest frame the tracks were carried to
    sequence: int = 0
    seen: Frame | None = None  # the frame of the last tracks event
    stalled: bool = False  # the camera is silent: its newest frame is not the present any more

    @property
    def has_frame(self) -> bool:
        """Is there a picture of the present?"""
        return self.ring.newest is not None and not self.stalled

    def begin_anew(self) -> None:
        """Nothing that was seen before counts any more."""
        self.session = None
        self.to_drop.clear()
        self.catch_up.clear()
        self.stepped_ns = None
        self.seen = None

    def taken_labels(self) -> set[int]:
        """Labels of the live tracks."""
        return {track.label for track in self.tracks.values()}

    def tracks_of(self, request_id: str) -> list[Track]:
        """Live tracks of one request."""
        return [track for track in self.tracks.values() if track.request_id == request_id]

    def tell(self, frame: Frame, instances: Iterable[TrackedInstance]) -> TracksEvent:
        """The next tracks event, about `frame`."""
        self.seen = frame
        self.sequence += 1
        return TracksEvent(frame.header, self.camera, self.sequence, tuple(instances), frame.arrival_ns)

    def unseen(self, stamp_ns: int) -> RingEntry | None:
        """This ring frame, if there are tracks and they have not been carried to it."""
        if not self.tracks or (self.stepped_ns is not None and stamp_ns <= self.stepped_ns):
            return None
        entry = self.ring.get(stamp_ns)
        return None if entry is None or entry.broken else entry

    def next_catch_up(self) -> RingEntry | None:
        """The next ring frame to step through, None when there is none left."""
        while self.catch_up and self.tracks:
            entry = self.ring.get(self.catch_up[0])
            if entry is not None and not entry.broken:
                return entry
            self.catch_up.popleft()
        self.catch_up.clear()
        return None
