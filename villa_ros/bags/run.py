"""What a run of the node or of replay left in a bag."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villa_ros.bags.reader import Bag, BagError
from villa_ros.conversions.events import (
    answer_from_message,
    mask_from_message,
    nanoseconds,
    parse_journal_line,
    request_from_message,
    tracks_from_message,
)
from villa_ros.pipeline.events import AnswerEvent, Event, JournalEvent, StatusEvent, TrackletsEvent, TracksEvent
from villa_ros.pipeline.request import Action, ErrorCode, RequestState

if TYPE_CHECKING:
    from villa.masks import RleMask
    from villa_ros.pipeline.request import Request


MasksAt = Mapping[int, Sequence["RleMask"]]  # stamp in ns -> the masks of that frame


@dataclass(frozen=True)
class Timed:
    """A tracks event, answer, status or command of a run and when it was recorded."""

    log_ns: int
    value: Any


@dataclass
class Run:
    """What a run left: the node's live, or replay's."""

    commands: dict[str, Timed] = field(default_factory=dict)  # request_id -> Request, without stops
    tracks: list[Timed] = field(default_factory=list)  # TracksEvent
    answers: dict[str, Timed] = field(default_factory=dict)  # request_id -> its last AnswerEvent
    statuses: dict[str, list[Timed]] = field(default_factory=lambda: defaultdict(list))  # StatusEvent
    tracklets: dict[str, Timed] = field(default_factory=dict)  # request_id -> its MasksAt
    journal: list[tuple[JournalEvent, Request | None]] = field(default_factory=list)
    arrivals: dict[tuple[str, int], int] = field(default_factory=dict)  # camera, stamp -> when it was taken in, log ns

    def take(self, value: Event | Request, log_ns: int, carried: Request | None = None) -> None:
        """Add an event or a command in the order of recording; `carried`: the request that a journal entry holds."""
        if isinstance(value, TracksEvent):
            self.tracks.append(Timed(log_ns, value))
        elif isinstance(value, TrackletsEvent):
            self.tracklets[value.request_id] = Timed(log_ns, masks_of(value))
        elif isinstance(value, AnswerEvent):
            self.answers[value.request_id] = Timed(log_ns, value)
        elif isinstance(value, StatusEvent):
            self.statuses[value.request_id].append(Timed(log_ns, value))
        elif isinstance(value, JournalEvent):
            self.journal.append((value, carried))
            if value.op == "ingest":
                self.arrivals.setdefault((value.camera, value.stamp_ns), log_ns)
        elif value.action in (Action.SEGMENT, Action.FOLLOW_UP):  # a stop bears the name of what it ends
            self.commands[value.request_id] = Timed(log_ns, value)

    def tracks_of(self, request_id: str) -> list[Timed]:
        """The tracks events in which this request has an instance."""
        return [
            timed
            for timed in self.tracks
            if any(instance.request_id == request_id for instance in timed.value.instances)
        ]


_READ_TYPES = (
    "villa_msgs/msg/TrackedInstanceArray",
    "villa_msgs/msg/TrackletArray",
    "villa_msgs/msg/Answer",
    "villa_msgs/msg/RequestStatus",
    "villa_msgs/msg/Command",
)


def read_run(path: Path) -> Run:
    """Read what a run recorded; the topics are told by their types, the journal by its name's end.

    Raises:
        BagError: no bag, or damaged.
    """
    run = Run()
    with Bag(path) as bag:
        journals = [name for name in bag.topics if name.endswith("/journal")]
        for recorded in bag.messages([*bag.topics_of(*_READ_TYPES), *journals]):
            _take(run, recorded.message, recorded.log_ns)
    run.journal.sort(key=lambda entry: entry[0].index)
    return run


def _take(run: Run, message: Any, log_ns: int) -> None:
    kind = message.__msgtype__.rpartition("/")[2]
    if kind == "TrackedInstanceArray":
        run.take(tracks_from_message(message), log_ns)
    elif kind == "TrackletArray":
        run.tracklets[message.request_id] = Timed(log_ns, masks_at(message))
    elif kind == "Answer":
        run.take(answer_from_message(message), log_ns)
    elif kind == "RequestStatus":
        state, code = RequestState(message.state), ErrorCode(message.error_code)
        run.take(StatusEvent(message.request_id, state, code, message.message), log_ns)
    elif kind == "Command":
        run.take(request_from_message(message), log_ns)
    else:
        entry, carried = parse_journal_line(message.data)
        run.take(entry, log_ns, carried)


def masks_of(event: TrackletsEvent) -> dict[int, list[RleMask]]:
    """The masks of every frame of a clip, by stamp in ns."""
    return _by_stamp([header.time_ns for header in event.headers], event.tracklets, lambda mask: mask)


def masks_at(message: Any) -> dict[int, list[RleMask]]:
    """villa_msgs/TrackletArray -> the masks of every frame of its clip, by stamp in ns."""
    return _by_stamp([nanoseconds(stamp) for stamp in message.clip.stamps], message.tracklets, mask_from_message)


def _by_stamp(
    stamps: Sequence[int], tracklets: Iterable[Any], read: Callable[[Any], RleMask]
) -> dict[int, list[RleMask]]:
    found: dict[int, list[RleMask]] = {stamp: [] for stamp in stamps}
    for tracklet in tracklets:
        for index, mask in zip(tracklet.frame_index, tracklet.masks, strict=True):
            found[stamps[int(index)]].append(read(mask))
    return found


def request_in(run: Run, request_id: str, carried: Request | None) -> Request:
    """The request of a journalled submit: as the journal carries it, else as the command was recorded.

    Raises:
        BagError: neither is in the run.
    """
    if carried is not None:
        return carried
    if request_id in run.commands:
        request: Request = run.commands[request_id].value
        return request
    raise BagError(
        f"the run's journal names request {request_id!r}, but neither it nor the command topic holds "
        "its words; record ~/command too"
    )
