"""The requests that were heard of, with their states and answers: the newest ones, bounded."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from villa_ros.pipeline.request import Action, ErrorCode, RequestState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from villa_ros.pipeline.events import AnswerEvent, StatusEvent
    from villa_ros.pipeline.request import Request

KEPT_REQUESTS = 64
KEPT_STOPS = 64
LONGEST_ID = 200  # the node takes ids of 128 characters
LONGEST_TEXT = 4000  # characters of anybody's words that are kept


@dataclass(frozen=True)
class AskedRequest:
    """One request. UNKNOWN: it was sent, and the node has not said anything of it yet."""

    request_id: str
    asked_s: float
    revision: int  # grows with every change in the book
    text: str = ""  # empty: nobody told; it was asked in another way
    camera: str = ""
    state: RequestState = RequestState.UNKNOWN
    error_code: ErrorCode = ErrorCode.NONE
    message: str = ""
    answer: str = ""
    answered: bool = False  # the answer is whole
    named: tuple[tuple[int, str], ...] = ()  # code points into the answer where an object was named, and its track
    ended_s: float | None = None
    lost: bool = False  # the node went away while it was under way


class RequestLog:
    """Requests in the order they were heard of. Not for several threads at once; `Heard` sees to that."""

    def __init__(self) -> None:
        self.revision = 0
        self._entries: OrderedDict[str, AskedRequest] = OrderedDict()
        self._stops: OrderedDict[str, bool] = OrderedDict()  # ids of commands that ask for nothing; was one heard?

    def command(self, request: Request, now_s: float) -> None:
        """A command was given, by anybody."""
        if not request.request_id:
            return  # the node will give it an id, under which its state is heard
        if request.action not in (Action.SEGMENT, Action.FOLLOW_UP):
            if request.request_id not in self._entries:  # else it names the request to be stopped
                self._stops.setdefault(request.request_id, False)
                if len(self._stops) > KEPT_STOPS:
                    self._stops.popitem(last=False)
            return
        self._change(request.request_id, now_s, text=_cut(request.text), camera=request.camera)

    def status(self, event: StatusEvent, now_s: float) -> None:
        """A request changed its state."""
        if event.request_id in self._stops:
            self._stops[event.request_id] = True
            return
        self._change(
            event.request_id,
            now_s,
            state=event.state,
            error_code=event.error_code,
            message=_cut(event.message),
            ended_s=now_s if event.state.final else None,
            lost=False,
        )

    def stopped(self, request_id: str) -> bool:
        """Was a stop heard by the node: one of everything by its own id, one of a request by that of the request?"""
        if request_id in self._stops:
            return self._stops[request_id]
        entry = self._entries.get(request_id)
        return entry is not None and entry.state.final

    def answer(self, event: AnswerEvent, now_s: float) -> None:
        """An answer grew, or is whole."""
        known = self._entries.get(event.request_id)
        if known is not None and known.answered and not event.is_final:
            return  # topics keep no order among each other, and neither do best-effort bridges
        named = tuple(zip(event.seg_offsets, event.seg_track_ids, strict=False))
        self._change(event.request_id, now_s, answer=_cut(event.text), answered=event.is_final, named=named, lost=False)

    def tracked(self, request_ids: Iterable[str], camera: str, now_s: float) -> None:
        """These have tracks: a console that started late learns of them here."""
        for request_id in request_ids:
            known = self._entries.get(request_id)
            if known is None:
                self._change(request_id, now_s, state=RequestState.TRACKING, camera=camera)
            elif known.lost or known.state is RequestState.UNKNOWN:
                self._change(request_id, now_s, state=RequestState.TRACKING, lost=False)

    def node_gone(self, now_s: float) -> None:
        """Nothing more will be heard of what is under way, unless the node comes back with it."""
        for entry in list(self._entries.values()):
            if not entry.state.final and not entry.lost:
                self._change(entry.request_id, now_s, lost=True)

    def since(self, revision: int) -> list[AskedRequest]:
        """What changed after `revision`, oldest change first."""
        changed = [entry for entry in self._entries.values() if entry.revision > revision]
        return sorted(changed, key=lambda entry: entry.revision)

    def get(self, request_id: str) -> AskedRequest | None:
        """One request, if it is still in the book."""
        return self._entries.get(request_id)

    def _change(self, request_id: str, now_s: float, **fields: object) -> None:
        if len(request_id) > LONGEST_ID:
            return
        self.revision += 1
        known = self._entries.get(request_id) or AskedRequest(request_id, now_s, 0)
        self._entries[request_id] = replace(known, revision=self.revision, **fields)  # type: ignore[arg-type]
        while len(self._entries) > KEPT_REQUESTS:
            # one that is under way can still be stopped, so those that ended go first
            ended = next((name for name, entry in self._entries.items() if entry.state.final), None)
            self._entries.pop(ended or next(iter(self._entries)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
