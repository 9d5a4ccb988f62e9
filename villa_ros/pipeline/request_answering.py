"""From a waiting request to its answer and its tracks: the life of a slow pass, between its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from villa.interface import SlowStep, Turn
from villa.masks import RleMask
from villa_ros.pipeline.answer_events import told_in_full, told_so_far, tracklets_of
from villa_ros.pipeline.clip_buffer import evenly_spaced
from villa_ros.pipeline.model_calls import Answered, Failure, SlowOutcome, SlowPass
from villa_ros.pipeline.request import Action, ErrorCode, RequestState
from villa_ros.pipeline.track_assignment import begin_track, name_tracks

if TYPE_CHECKING:
    from villa_ros.pipeline.camera_state import ActiveRequest, Stream
    from villa_ros.pipeline.clip_buffer import RingEntry
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.conversation import Conversations
    from villa_ros.pipeline.event_outbox import EventOutbox
    from villa_ros.pipeline.request_table import RequestTable
    from villa_ros.pipeline.tracks import Names


class RequestAnswering:
    """Begins slow passes and takes in what comes of them. Every method runs inside an operation of `outbox`."""

    def __init__(
        self,
        requests: RequestTable,
        outbox: EventOutbox,
        streams: Mapping[str, Stream],
        conversations: Conversations,
        names: Names,
    ) -> None:
        self._requests = requests
        self._outbox = outbox
        self._streams = streams
        self._conversations = conversations
        self._names = names

    @property
    def _config(self) -> PipelineConfig:
        return self._requests.config

    def next_waiting(self) -> ActiveRequest | None:
        """The request whose slow pass is to begin next: the first that waits and whose camera sees something."""
        for record in self._requests:
            if record.waiting and self._streams[record.request.camera].has_frame:
                return record
        return None

    def begin(self, record: ActiveRequest) -> None:
        """Begin the slow pass of a request that waits."""
        request = record.request
        stream = self._streams[request.camera]
        self._requests.advance(record, RequestState.BUFFERING)
        live = {*stream.tracks, *record.retained}
        follow_up = request.action == Action.FOLLOW_UP
        conversation = request.conversation_id if follow_up else None
        record.history = self._conversations.history(conversation, request.camera, live)
        self._requests.running = self._pass_of(record, self.clip(record))

    def begin_again(self, record: ActiveRequest, clip: list[RingEntry]) -> None:
        """Begin to answer a request anew that tracks already; only its tracks will change."""
        self._requests.running = replace(self._pass_of(record, clip), again=True)

    def clip(self, record: ActiveRequest) -> list[RingEntry]:
        """What a request looks at if its pass begins now, oldest first."""
        asked = record.request.clip_duration_s
        duration_s = asked if asked > 0 else self._config.clip_duration_s  # NaN: the default as well
        return self._streams[record.request.camera].ring.clip(duration_s, self._config.candidates)

    def discard(self, ended: SlowPass, outcome: SlowOutcome) -> None:
        """The request ended while the model computed: what came of it never was."""
        stream = self._streams[ended.camera]
        if stream.session is None or stream.session is not ended.session:
            return  # that session went with a reset, or nobody else uses it
        if isinstance(outcome, Answered):
            # An object that was tracked before goes on for the request it belongs to.
            stream.to_drop |= {found.key for found in outcome.result.objects} - stream.tracks.keys()
        elif isinstance(outcome, Failure):
            stream.to_drop |= set(outcome.keys) - stream.tracks.keys()

    def take(self, running: SlowPass, record: ActiveRequest, outcome: SlowOutcome) -> None:
        """What a step of the pass at work gave."""
        stream = self._streams[running.camera]
        if stream.session is None:
            stream.session = running.session
        if isinstance(outcome, Failure):
            stream.to_drop |= set(outcome.keys) - stream.tracks.keys()
            if outcome.entry is None:
                self._requests.finish(record, RequestState.FAILED, outcome.code, outcome.message)
            else:
                self._without_a_frame(running, record, outcome)
        elif running.again:
            if isinstance(outcome, Answered):
                self._requests.running = None
                self._take_anew(stream, record, outcome)
        elif isinstance(outcome, SlowStep):
            self._requests.advance(record, RequestState(min(outcome.stage, RequestState.SEGMENTING)))
            so_far = outcome.partial_text
            if so_far and (record.partial is None or record.partial.text != so_far):
                header = running.entries[-1].frame.header
                self._requests.answer(record, told_so_far(record, header, so_far))
        else:
            self._requests.running = None
            self._settle(running, record, outcome)

    def _pass_of(self, record: ActiveRequest, clip: list[RingEntry]) -> SlowPass:
        request, stream = record.request, self._streams[record.request.camera]
        return SlowPass(
            request.request_id, request.camera, request.text.strip(), clip, record.history, session=stream.session
        )

    def _without_a_frame(self, running: SlowPass, record: ActiveRequest, failure: Failure) -> None:
        """A frame did not decode: go on without it. Each time the ring gets smaller, so this ends."""
        stream = self._streams[running.camera]
        for entry in running.entries:
            if entry.broken:
                stream.ring.remove(entry)
        clip = self.clip(record)
        if not clip and not running.again:
            message = f"no frame of the clip decodes ({failure.error}): check the camera's images"
            self._requests.finish(record, RequestState.FAILED, ErrorCode.NO_FRAMES, message)
            return
        self._requests.retired.append(running)
        self._requests.running = replace(self._pass_of(record, clip), again=running.again) if clip else None

    def _take_anew(self, stream: Stream, record: ActiveRequest, answered: Answered) -> None:
        """A request that tracks was answered again: what is new in the answer is tracked as well."""
        for found in answered.result.objects:
            track = stream.tracks.get(found.key)
            if track is None and len(stream.tracks) < self._config.max_objects:
                begin_track(stream, record, found, self._names)
            elif track is None:
                stream.to_drop.add(found.key)
            elif track.request_id == record.request_id:
                track.relevance = found.score

    def _settle(self, done: SlowPass, record: ActiveRequest, answered: Answered) -> None:
        """The answer is there: name the tracks, tell everything, begin to track."""
        stream, result, newest = self._streams[done.camera], answered.result, done.entries[-1]
        self._requests.advance(record, RequestState.DECODING)
        stream.to_drop |= record.retained - {found.key for found in result.objects}
        record.retained = frozenset()
        alone = not stream.tracks
        kept, former = name_tracks(stream, record, result, self._names, self._config.max_objects)
        if kept:
            self._requests.advance(record, RequestState.SEGMENTING)
        self._requests.answer(record, told_in_full(record, newest.frame.header, result, kept))
        turn = Turn(
            record.request.text.strip(),
            result.text,
            tuple(result.objects[index].key for index in kept),
            tuple(result.seg_offsets[index] for index in kept),
        )
        follow_up = record.request.action == Action.FOLLOW_UP
        self._conversations.add(record.request.conversation_id, done.camera, turn, follow_up)
        if not result.objects:
            self._requests.finish(record, RequestState.NO_TARGET, message="nothing in view is meant")
            return
        if not kept:
            message = f"{len(stream.tracks)} objects are tracked: stop some requests, or raise max_objects"
            self._requests.finish(record, RequestState.FAILED, ErrorCode.BUSY, message)
            return
        self._outbox.put(tracklets_of(done, answered, kept, stream.ring))
        if alone:
            last = len(result.clip_index) - 1
            empty = RleMask.empty(newest.frame.height, newest.frame.width)
            told = []
            for index, track in kept.items():
                mask = answered.objects[index].get(last, empty)
                told.append(track.observe(mask, track.relevance, 1.0 if mask.area else 0.0, self._config))
            self._outbox.put(stream.tell(newest.frame, told))
            self._plan_catch_up(stream, newest)
        if not record.request.track:
            self._requests.finish(record, RequestState.SUCCEEDED)
            return
        left_out = len(result.objects) - len(kept)
        message = f"no room for {left_out} more object(s)" if left_out else ""
        self._requests.advance(record, RequestState.TRACKING, message)
        for request_id in former:
            if not stream.tracks_of(request_id):
                message = f"what it tracked goes on for request {record.request_id!r}"
                self._requests.finish(self._requests[request_id], RequestState.SUCCEEDED, message=message)

    def _plan_catch_up(self, stream: Stream, newest: RingEntry) -> None:
        """A few of the frames that came in meanwhile, so that an identity survives the gap."""
        ring_newest = stream.ring.newest
        if ring_newest is None or ring_newest.stamp_ns < newest.stamp_ns:  # the clock went backwards
            stream.stepped_ns = None
            return
        stream.stepped_ns = newest.stamp_ns
        missed = stream.ring.between(newest.stamp_ns, ring_newest.stamp_ns)
        if self._config.catch_up_frames and missed:
            stream.catch_up.extend(entry.stamp_ns for entry in evenly_spaced(missed, self._config.catch_up_frames))
