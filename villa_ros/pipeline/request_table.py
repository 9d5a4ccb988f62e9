"""Which requests are active, who gives way to whom, and how a request ends."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from villa.masks import RleMask
from villa_ros.pipeline import command_validation, request_states
from villa_ros.pipeline.camera_state import ActiveRequest, Stream
from villa_ros.pipeline.events import AnswerEvent, FinishReason, TrackState
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState

if TYPE_CHECKING:
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.event_outbox import EventOutbox
    from villa_ros.pipeline.model_calls import SlowPass
    from villa_ros.pipeline.tracks import Names


class RequestTable:
    """Active requests in the order of acceptance, the one slow pass at work, and the ids that were used.

    Everything here happens inside an operation of `outbox`, so under its lock.
    """

    def __init__(
        self, config: PipelineConfig, outbox: EventOutbox, streams: Mapping[str, Stream], names: Names
    ) -> None:
        self.config = config
        self.running: SlowPass | None = None
        self.retired: list[SlowPass] = []  # to be closed on the model's thread
        self._outbox = outbox
        self._streams = streams
        self._names = names
        self._active: dict[str, ActiveRequest] = {}
        self._used_ids: OrderedDict[str, None] = OrderedDict()

    def __iter__(self) -> Iterator[ActiveRequest]:
        """The active requests; what ends meanwhile does not matter."""
        return iter(list(self._active.values()))

    def __len__(self) -> int:
        return len(self._active)

    def __getitem__(self, request_id: str) -> ActiveRequest:
        return self._active[request_id]

    def get(self, request_id: str) -> ActiveRequest | None:
        """An active request, None for any other."""
        return self._active.get(request_id)

    def works_on(self, record: ActiveRequest) -> bool:
        """Is the slow pass at work on this request?"""
        return self.running is not None and self.running.request_id == record.request_id

    def completed(self, request: Request) -> Request:
        """A command with an id, a camera and a timeout where it left them open. A bare STOP means STOP_ALL."""
        if not request.request_id:
            action = Action.STOP_ALL if request.action == Action.STOP else request.action
            request = replace(request, request_id=self._names.request_id(), action=action)
        return replace(
            request,
            camera=request.camera or self.config.cameras[0],
            timeout_s=request.timeout_s or self.config.default_timeout_s,
        )

    def accept(self, request: Request, objection: str = "") -> str:
        """Accept a SEGMENT or FOLLOW_UP request or refuse it; returns the id that says which.

        `objection`: why the model cannot read it, if it cannot.
        """
        refusal = command_validation.refusal(request, self.config)
        if refusal is None and objection:
            refusal = ErrorCode.TEXT_NOT_READ, objection
        used = request.request_id in self._used_ids
        request_id = self.claim(request.request_id)
        if used:
            refusal = (
                ErrorCode.DUPLICATE_ID,
                f"request id {request.request_id!r} was used before: send a new one, or none to get one",
            )
        request = replace(request, request_id=request_id)
        rivals = [record for record in self if record.request.camera == request.camera]
        refusal = refusal or self._no_room(request, rivals)
        if refusal:
            self._outbox.status(request_id, RequestState.REJECTED, *refusal)
            return request_id
        record = ActiveRequest(request)
        self._active[request_id] = record
        self.advance(record, RequestState.QUEUED)
        if self.config.policy == "preempt":
            for rival in rivals:
                self._supersede(rival, record)
        if not self._streams[request.camera].has_frame:
            self.advance(record, RequestState.BUFFERING, f"waiting for a frame of camera {request.camera!r}")
        return request_id

    def stop(self, request_id: str) -> None:
        """Carry out a STOP of one request; one that has ended already is left alone, an unknown one refused."""
        record = self._active.get(request_id)
        if record is not None:
            self.finish(record, RequestState.CANCELED, message="stopped by a command")
        elif request_id not in self._used_ids:
            message = f"request {request_id[: command_validation.MAX_ID_CHARS]!r} is unknown; an empty id stops all"
            self._outbox.status(self.claim(request_id), RequestState.REJECTED, ErrorCode.UNKNOWN_REQUEST, message)

    def cancel_all(self, message: str) -> tuple[str, ...]:
        """End every request; returns their ids."""
        ended = tuple(self._active)
        for record in self:
            self.finish(record, RequestState.CANCELED, message=message)
        return ended

    def claim(self, request_id: str) -> str:
        """The id to report a new command under: its own, marked as used, or a fresh one where that was used."""
        request_id = request_id[: command_validation.MAX_ID_CHARS]
        claimed = request_id
        while claimed in self._used_ids:
            claimed = self._names.repeated(request_id)
        if claimed == request_id:
            self._used_ids[claimed] = None
        while len(self._used_ids) > self.config.history_requests + len(self._active):
            oldest = next(iter(self._used_ids))
            if oldest in self._active:
                self._used_ids.move_to_end(oldest)
            else:
                del self._used_ids[oldest]
        return claimed

    def advance(self, record: ActiveRequest, target: RequestState, message: str = "") -> None:
        """Take a request to a later state, through all that lie between."""
        for stage in request_states.stages_up_to(record.state, target):
            request_states.check(record.state, stage)
            record.state = stage
            self._outbox.status(record.request_id, stage, message=message)

    def answer(self, record: ActiveRequest, event: AnswerEvent) -> None:
        """Tell an answer, growing or whole."""
        self._outbox.put(replace(event, sequence=record.answers))
        record.answers += 1
        record.partial = None if event.is_final else event

    def finish(
        self,
        record: ActiveRequest,
        final: RequestState,
        code: ErrorCode = ErrorCode.NONE,
        message: str = "",
        keep: ActiveRequest | None = None,
    ) -> None:
        """Give a request its final state: end its tracks, cancel its pass, close its answer.

        What `keep` retains of the tracks stays known to the model.
        """
        request_states.check(record.state, final)
        stream = self._streams[record.request.camera]
        if self.running is not None and self.works_on(record):
            self.retired.append(self.running)
            self.running = None
        if record.partial is not None:
            self.answer(record, replace(record.partial, is_final=True, finish_reason=FinishReason.CANCELED))
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
            self._outbox.put(stream.tell(stream.seen, [*others, *(track.remove(empty) for track in told)]))
        if not stream.tracks:
            stream.catch_up.clear()
        record.state = final
        del self._active[record.request_id]
        self._outbox.status(record.request_id, final, code, message)

    def _no_room(self, request: Request, rivals: list[ActiveRequest]) -> command_validation.Refusal | None:
        if self.config.policy == "reject" and rivals:
            message = f"request {rivals[0].request_id!r} is active: stop it first, or set policy=preempt"
            return ErrorCode.BUSY, message
        if self.config.policy != "queue":
            return None
        waiting = sum(record.waiting for record in self)
        if waiting >= self.config.queue_limit:
            return ErrorCode.BUSY, f"{waiting} requests wait already: stop some, or raise queue_limit"
        live = len(self._streams[request.camera].tracks)
        if live >= self.config.max_objects:
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
        self.finish(rival, RequestState.SUPERSEDED, message=message, keep=by)
