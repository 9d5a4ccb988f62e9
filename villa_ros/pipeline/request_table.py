"""The pipeline's books: which requests are active, who gives way to whom, and what is told in which order."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from villa.masks import RleMask
from villa_ros.pipeline import command_validation, request_states
from villa_ros.pipeline.camera_state import ActiveRequest, Stream
from villa_ros.pipeline.clip_buffer import NS_PER_S, ClipBuffer
from villa_ros.pipeline.conversation import Conversations
from villa_ros.pipeline.events import AnswerEvent, Event, FinishReason, JournalEvent, StatusEvent, TrackState
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.pipeline.tracks import Names

if TYPE_CHECKING:
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.model_calls import SlowPass


class Books:
    """State under one lock that is never held across a model call. `Engine` adds the operations."""

    def __init__(self, config: PipelineConfig, sink: Callable[[Event], None], nonce: str) -> None:
        self._config = config
        self._sink = sink
        self._lock = threading.RLock()
        self._outbox: deque[Event] = deque()
        self._flushing = False
        self._operations = 0
        self._names = Names(nonce)
        self._conversations = Conversations(config.history_conversations, config.history_turns)
        self._streams = {
            name: Stream(name, ClipBuffer(config.clip_frames, config.clip_bytes, config.feature_frames))
            for name in config.cameras
        }
        self._active: dict[str, ActiveRequest] = {}  # in the order of acceptance
        self._used_ids: OrderedDict[str, None] = OrderedDict()
        self._pass: SlowPass | None = None
        self._retired: list[SlowPass] = []  # to be closed on the model's thread

    def _accept(self, request: Request) -> str:
        refusal = command_validation.refusal(request, self._config)
        used = request.request_id in self._used_ids
        request_id = self._claim(request.request_id[: command_validation.MAX_ID_CHARS])
        if used:
            refusal = (
                ErrorCode.DUPLICATE_ID,
                f"request id {request.request_id!r} was used before: send a new one, or none to get one",
            )
        request = replace(request, request_id=request_id, camera=request.camera or self._config.cameras[0])
        rivals = [r for r in self._active.values() if r.request.camera == request.camera]
        refusal = refusal or self._no_room(request, rivals)
        if refusal:
            self._status(request_id, RequestState.REJECTED, *refusal)
            return request_id
        record = ActiveRequest(request)
        self._active[request_id] = record
        self._advance(record, RequestState.QUEUED)
        if self._config.policy == "preempt":
            for rival in rivals:
                self._supersede(rival, record)
        if self._streams[request.camera].ring.newest is None:
            self._advance(record, RequestState.BUFFERING, f"waiting for a frame of camera {request.camera!r}")
        return request_id

    def _no_room(self, request: Request, rivals: list[ActiveRequest]) -> command_validation.Refusal | None:
        if self._config.policy == "reject" and rivals:
            message = f"request {rivals[0].request_id!r} is active: stop it first, or set policy=preempt"
            return ErrorCode.BUSY, message
        if self._config.policy != "queue":
            return None
        waiting = sum(record.waiting for record in self._active.values())
        if waiting >= self._config.queue_limit:
            return ErrorCode.BUSY, f"{waiting} requests wait already: stop some, or raise queue_limit"
        live = len(self._streams[request.camera].tracks)
        if live >= self._config.max_objects:
            return ErrorCode.BUSY, f"{live} objects are tracked: stop some requests, or raise max_objects"
        return None

    def _supersede(self, rival: ActiveRequest, by: ActiveRequest) -> None:
        request = by.request
        stays = request.action == Action.FOLLOW_UP and request.conversation_id == rival.request.conversation_id
        if stays:  # the model keeps these tracks until the follow-up is answered, so that "it" has a referent
            stream = self._streams[request.camera]
            by.retained |= rival.retained | {track.key for track in stream.tracks_of(rival.request_id)}
            rival.retained = frozenset()
        message = f"superseded by request {by.request_id!r}"
        self._finish(rival, RequestState.SUPERSEDED, message=message, keep=by)

    def _stop_command(self, request_id: str) -> None:
        record = self._active.get(request_id)
        if not request_id:
            self._cancel_all("stopped by a command")
        elif record is not None:
            self._finish(record, RequestState.CANCELED, message="stopped by a command")
        elif request_id not in self._used_ids:
            message = f"request {request_id[: command_validation.MAX_ID_CHARS]!r} is unknown; an empty id stops all"
            self._status(self._claim(request_id), RequestState.REJECTED, ErrorCode.UNKNOWN_REQUEST, message)

    def _cancel_all(self, message: str) -> tuple[str, ...]:
        ended = tuple(self._active)
        for record in list(self._active.values()):
            self._finish(record, RequestState.CANCELED, message=message)
        return ended

    def _forget_everything(self) -> None:
        self._conversations.clear()
        for stream in self._streams.values():
            stream.ring.clear()
            stream.begin_anew()

    def _begin_anew(self, stream: Stream, jumped_ns: int) -> None:
        """The camera's clock jumped: what was seen before and what comes have no time in common."""
        way = "back" if jumped_ns < 0 else "ahead"
        message = (
            f"the clock of camera {stream.camera!r} jumped {way} by {abs(jumped_ns) / NS_PER_S:.1f} s (a bag that "
            "starts over, a clock that was set): what was tracked has ended; send the request again"
        )
        for record in list(self._active.values()):
            begun = not record.waiting or (self._pass is not None and self._pass.request_id == record.request_id)
            if record.request.camera == stream.camera and begun:
                self._finish(record, RequestState.FAILED, ErrorCode.CLOCK_JUMPED, message)
        # Memories bear times: an old session would take new frames for older than its memories.
        self._lose_session(stream)
        stream.begin_anew()

    def _lose_session(self, stream: Stream) -> None:
        """Let go of a camera's session, and of all keys that only it knows."""
        for record in self._active.values():
            if record.request.camera == stream.camera:
                record.retained = frozenset()
        self._conversations.forget_keys(stream.camera)
        stream.session = None
        stream.to_drop.clear()

    def _claim(self, request_id: str) -> str:
        """The id to report a new command under: its own, marked as used, or a fresh one where that was used."""
        request_id = request_id[: command_validation.MAX_ID_CHARS]
        claimed = request_id
        while claimed in self._used_ids:
            claimed = self._names.repeated(request_id)
        if claimed == request_id:
            self._used_ids[claimed] = None
        while len(self._used_ids) > self._config.history_requests + len(self._active):
            oldest = next(iter(self._used_ids))
            if oldest in self._active:
                self._used_ids.move_to_end(oldest)
            else:
                del self._used_ids[oldest]
        return claimed

    def _advance(self, record: ActiveRequest, target: RequestState, message: str = "") -> None:
        for stage in request_states.stages_up_to(record.state, target):
            request_states.check(record.state, stage)
            record.state = stage
            self._status(record.request_id, stage, message=message)

    def _finish(
        self,
        record: ActiveRequest,
        final: RequestState,
        code: ErrorCode = ErrorCode.NONE,
        message: str = "",
        keep: ActiveRequest | None = None,
    ) -> None:
        """Give a request its final state: end its tracks, cancel its pass, close its answer."""
        request_states.check(record.state, final)
        stream = self._streams[record.request.camera]
        if self._pass is not None and self._pass.request_id == record.request_id:
            self._retired.append(self._pass)
            self._pass = None
        if record.partial is not None:
            self._answer(record, replace(record.partial, is_final=True, finish_reason=FinishReason.CANCELED))
        ended = stream.tracks_of(record.request_id)
        for track in ended:
            del stream.tracks[track.key]
            stream.to_drop.add(track.key)
        stream.to_drop |= record.retained
        if keep is not None:
            stream.to_drop -= keep.retained
        told = [track for track in ended if track.shown is not None and track.state != TrackState.REMOVED]
        if told and stream.seen is not None:
            empty = RleMask.empty(stream.seen.height, stream.seen.width)
            others = [track.shown for track in stream.tracks.values() if track.shown is not None]
            self._outbox.append(stream.tell(stream.seen, [*others, *(track.remove(empty) for track in told)]))
        if not stream.tracks:
            stream.catch_up.clear()
        record.state = final
        del self._active[record.request_id]
        self._status(record.request_id, final, code, message)

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """Hold the lock, then hand over what happened; nested calls leave that to the outermost."""
        with self._lock:
            try:
                yield
            finally:
                if not self._flushing:
                    self._flushing = True
                    try:
                        while self._outbox:
                            self._sink(self._outbox.popleft())
                    finally:
                        self._flushing = False

    def _journal(
        self, operation: str, camera: str = "", stamp_ns: int = 0, request_id: str = "", *, settings: bool = False
    ) -> None:
        config = self._config if settings or not self._operations else None
        self._outbox.append(JournalEvent(self._operations, operation, camera, stamp_ns, request_id, config))
        self._operations += 1

    def _status(
        self, request_id: str, state: RequestState, code: ErrorCode = ErrorCode.NONE, message: str = ""
    ) -> None:
        self._outbox.append(StatusEvent(request_id, state, code, message))

    def _answer(self, record: ActiveRequest, event: AnswerEvent) -> None:
        self._outbox.append(replace(event, sequence=record.answers))
        record.answers += 1
        record.partial = None if event.is_final else event
