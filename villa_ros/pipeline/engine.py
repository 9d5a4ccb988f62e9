"""The pipeline's heart: requests, slow and fast passes and tracks in one deterministic machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from villa.interface import SlowStep, Turn
from villa.masks import RleMask
from villa_ros.pipeline import command_validation
from villa_ros.pipeline.answer_events import told_in_full, told_so_far, tracklets_of
from villa_ros.pipeline.camera_state import ActiveRequest, Stream
from villa_ros.pipeline.clip_buffer import Ingested, RingEntry, evenly_spaced
from villa_ros.pipeline.events import Event, TrackState
from villa_ros.pipeline.model_calls import Answered, Failure, Looked, SlowOutcome, SlowPass, look
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.pipeline.request_table import Books
from villa_ros.pipeline.track_assignment import begin_track, name_tracks

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.tracks import Track


class Engine(Books):
    """Deterministic and without a clock: the same operations in the same order give the same events.

    `fast` and `slow` run the model and belong to one thread. The other operations only keep books: any thread
    may call them, also while the model computes, because the one lock is never held across a model call. An
    operation has taken effect when it returns; what the model then hands back for a request that has ended is
    discarded. Events leave in the order of the operations, each led by its JournalEvent, and `sink` is called
    under the lock: it must be quick. A sink may call back; what that causes follows the events on their way.
    """

    def __init__(
        self, model: SegmentationModel, config: PipelineConfig, sink: Callable[[Event], None], nonce: str
    ) -> None:
        """`nonce` leads every id this engine gives; it must differ between processes."""
        super().__init__(config, sink, nonce)
        self._model = model

    # -- what is going on ---

    @property
    def busy(self) -> bool:
        """Has `slow` anything to do?"""
        with self._lock:
            streams = self._streams.values()
            loose = bool(self._retired) or any(s.to_drop or (s.catch_up and s.tracks) for s in streams)
            return loose or self._pass is not None or self._next_waiting() is not None

    @property
    def tracking(self) -> bool:
        """Is any track live on any camera?"""
        with self._lock:
            return any(stream.tracks for stream in self._streams.values())

    @property
    def active(self) -> tuple[str, ...]:
        """Requests without a final state, in the order of acceptance."""
        with self._lock:
            return tuple(self._active)

    def state_of(self, request_id: str) -> RequestState | None:
        """The state of an active request, None for any other."""
        with self._lock:
            record = self._active.get(request_id)
            return None if record is None else record.state

    def starved(self, request_id: str) -> bool:
        """Does this request wait for a first frame of its camera?"""
        with self._lock:
            record = self._active.get(request_id)
            return record is not None and record.waiting and self._streams[record.request.camera].ring.newest is None

    def unseen(self, camera: str, stamp_ns: int) -> bool:
        """Are there tracks that have not been carried to this ring frame?"""
        with self._lock:
            stream = self._streams.get(camera)
            return stream is not None and stream.unseen(stamp_ns) is not None

    def wants(self, camera: str, stamp_ns: int) -> bool:
        """Would a fast pass on this frame carry a track on now?"""
        with self._lock:
            stream = self._streams.get(camera)
            return stream is not None and self._due(stream, stamp_ns) is not None

    # -- operations that keep books: any thread ---

    def ingest(self, frame: Frame) -> Ingested:
        """Take a frame into its camera's ring and say what became of it."""
        with self._committing():
            stream = self._streams.get(frame.camera)
            if stream is None:
                return Ingested.UNKNOWN_CAMERA
            self._journal("ingest", frame.camera, frame.header.stamp_ns)
            before = stream.ring.newest
            outcome = stream.ring.add(frame)
            if outcome is Ingested.CLOCK_JUMP and before is not None:
                self._begin_anew(stream, frame.header.stamp_ns - before.stamp_ns)
            return outcome

    def jump(self, camera: str, jumped_ns: int) -> None:
        """The camera's clock is about to jump ahead: forget its frames, end what rests on them."""
        with self._committing():
            stream = self._streams.get(camera)
            if stream is not None:
                self._journal("jump", camera, jumped_ns)
                stream.ring.clear()
                self._begin_anew(stream, jumped_ns)

    def configure(self, config: PipelineConfig) -> None:
        """Go on with other settings. Cameras, bounds of the rings and of histories stay as they are.

        On the model's thread, or while it is at rest: a model call under way would not know of them.
        """
        with self._committing():
            self._config = config
            self._journal("configure", settings=True)

    def submit(self, request: Request) -> str:
        """Check a command and carry out its action or accept it; returns the id its status is reported under.

        That is the request's own id, a new one where it has none, and `ID~N` where the id was used before.
        """
        with self._committing():
            request_id = request.request_id or self._names.request_id()
            self._journal("submit", request.camera, 0, request_id)
            action = command_validation.meaning(request)
            if action == Action.STOP:
                self._stop_command(request.request_id)
                return request.request_id
            if action in (Action.STOP_ALL, Action.RESET):
                if request.request_id or action != request.action:
                    request_id = self._claim(request_id)
                    self._status(request_id, RequestState.QUEUED)
                ended = self._cancel_all("stopped by a command")
                if action == Action.RESET:
                    self._forget_everything()
                if request.request_id or action != request.action:
                    self._status(request_id, RequestState.SUCCEEDED, message=f"ended {len(ended)} request(s)")
                return request_id
            return self._accept(replace(request, request_id=request_id))

    def stop(self, request_id: str = "") -> tuple[str, ...]:
        """Cancel one request, or all with an empty id; returns those ended. No later event carries them."""
        with self._committing():
            self._journal("stop", request_id=request_id)
            if not request_id:
                return self._cancel_all("stopped on request")
            record = self._active.get(request_id)
            if record is None:
                return ()
            self._finish(record, RequestState.CANCELED, message="stopped on request")
            return (request_id,)

    def expire(self, request_id: str) -> None:
        """The request's time is over: a tracking one has succeeded, any other failed."""
        with self._committing():
            record = self._active.get(request_id)
            if record is None:
                return
            self._journal("expire", record.request.camera, 0, request_id)
            if record.state == RequestState.TRACKING:
                self._finish(record, RequestState.SUCCEEDED, message="tracked until its timeout")
            elif self._streams[record.request.camera].ring.newest is None:
                message = (
                    f"no frame of camera {record.request.camera!r} came in time: "
                    "check that its image topic publishes and that the transport lets images through"
                )
                self._finish(record, RequestState.FAILED, ErrorCode.NO_FRAMES, message)
            else:
                message = f"no answer in time ({record.state.name}): raise the timeout or use a smaller model"
                self._finish(record, RequestState.FAILED, ErrorCode.TIMEOUT, message)

    def reset(self) -> None:
        """Cancel everything and forget frames, tracks and conversations. Used ids stay used."""
        with self._committing():
            self._journal("reset")
            self._cancel_all("reset")
            self._forget_everything()

    # -- operations that run the model: one thread ---

    def fast(self, camera: str, stamp_ns: int) -> bool:
        """Fast pass on a ring frame; False when it is gone, older than the last one, or nothing is tracked."""
        self._release()
        with self._lock:
            stream = self._streams.get(camera)
            entry = None if stream is None else self._due(stream, stamp_ns)
        return stream is not None and entry is not None and self._carry(stream, entry, "fast")

    def slow(self) -> bool:
        """One small step of what is due: catching up, the running slow pass, or the start of the next one."""
        self._release()
        with self._committing():
            due = self._catch_up_due()
            running = self._pass
            if due is None and running is None:
                return self._begin()
        if due is not None:
            self._carry(*due, "slow")
            return True
        assert running is not None
        outcome = running.advance(self._model, self._config)
        with self._committing():
            if self._pass is not running:
                self._discard(running, outcome)
            else:
                self._take(running, self._active[running.request_id], outcome)
        return True

    def _release(self) -> None:
        """Close canceled passes and let the model forget ended tracks."""
        with self._lock:
            retired, self._retired = self._retired, []
            drops = [(s, s.session, tuple(sorted(s.to_drop))) for s in self._streams.values() if s.to_drop]
            for stream, _, _ in drops:
                stream.to_drop = set()
        for ended in retired:
            self._guarded(self._streams[ended.camera], ended.close)
        for stream, session, keys in drops:
            if session is not None:
                self._guarded(stream, partial(session.drop, keys))

    def _guarded(self, stream: Stream, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            with self._committing():
                self._break(stream, Failure(error))

    # -- the slow pass ---

    def _next_waiting(self) -> ActiveRequest | None:
        for record in self._active.values():
            if record.waiting and self._streams[record.request.camera].ring.newest is not None:
                return record
        return None

    def _begin(self) -> bool:
        record = self._next_waiting()
        if record is None:
            return False
        request = record.request
        stream = self._streams[request.camera]
        self._journal("slow", request.camera)
        self._advance(record, RequestState.BUFFERING)
        live = {*stream.tracks, *record.retained}
        follow_up = request.action == Action.FOLLOW_UP
        conversation = request.conversation_id if follow_up else None
        record.history = self._conversations.history(conversation, request.camera, live)
        self._pass = self._pass_of(record, self._clip(record))
        return True

    def look_again(self, request_id: str) -> bool:
        """Begin to answer a request that tracks anew; False where that cannot be now, or never.

        Nobody is told of the answer: what it names and nobody tracks yet is tracked from then on, what was lost and is
        found is TRACKED again, and all else goes on as it was.
        """
        with self._committing():
            record = self._active.get(request_id)
            if record is None or record.state != RequestState.TRACKING:
                return False
            if self._pass is not None or self._next_waiting() is not None:
                return False
            clip = self._clip(record)
            if not clip:
                return False
            self._journal("again", record.request.camera, 0, request_id)
            self._pass = replace(self._pass_of(record, clip), again=True)
            return True

    def _pass_of(self, record: ActiveRequest, clip: list[RingEntry]) -> SlowPass:
        request, stream = record.request, self._streams[record.request.camera]
        return SlowPass(
            request.request_id, request.camera, request.text.strip(), clip, record.history, session=stream.session
        )

    def _clip(self, record: ActiveRequest) -> list[RingEntry]:
        asked = record.request.clip_duration_s
        duration_s = asked if asked > 0 else self._config.clip_duration_s  # NaN: the default as well
        return self._streams[record.request.camera].ring.clip(duration_s, self._config.candidates)

    def _discard(self, ended: SlowPass, outcome: SlowOutcome) -> None:
        """The request ended while the model computed: what came of it never was."""
        stream = self._streams[ended.camera]
        if stream.session is None or stream.session is not ended.session:
            return  # that session went with a reset, or nobody else uses it
        if isinstance(outcome, Answered):
            # An object that was tracked before goes on for the request it belongs to.
            stream.to_drop |= {found.key for found in outcome.result.objects} - stream.tracks.keys()
        elif isinstance(outcome, Failure):
            stream.to_drop |= set(outcome.keys) - stream.tracks.keys()

    def _take(self, running: SlowPass, record: ActiveRequest, outcome: SlowOutcome) -> None:
        stream = self._streams[running.camera]
        self._journal("slow", running.camera)
        if stream.session is None:
            stream.session = running.session
        if isinstance(outcome, Failure):
            stream.to_drop |= set(outcome.keys) - stream.tracks.keys()
            if outcome.entry is None:
                self._finish(record, RequestState.FAILED, outcome.code, outcome.message)
            else:
                self._begin_again(running, record, outcome)
        elif running.again:
            if isinstance(outcome, Answered):
                self._pass = None
                self._take_anew(stream, record, outcome)
        elif isinstance(outcome, SlowStep):
            self._advance(record, RequestState(min(outcome.stage, RequestState.SEGMENTING)))
            so_far = outcome.partial_text
            if so_far and (record.partial is None or record.partial.text != so_far):
                header = running.entries[-1].frame.header
                self._answer(record, told_so_far(record, header, so_far))
        else:
            self._pass = None
            self._settle(running, record, outcome)

    def _begin_again(self, running: SlowPass, record: ActiveRequest, failure: Failure) -> None:
        """A frame did not decode: go on without it. Each time the ring gets smaller, so this ends."""
        stream = self._streams[running.camera]
        for entry in running.entries:
            if entry.broken:
                stream.ring.remove(entry)
        clip = self._clip(record)
        if not clip and not running.again:
            message = f"no frame of the clip decodes ({failure.error}): check the camera's images"
            self._finish(record, RequestState.FAILED, ErrorCode.NO_FRAMES, message)
            return
        self._retired.append(running)
        self._pass = replace(self._pass_of(record, clip), again=running.again) if clip else None

    def _take_anew(self, stream: Stream, record: ActiveRequest, answered: Answered) -> None:
        """A request that tracks was answered again: what is new in the answer is tracked as well."""
        for found in answered.result.objects:
            track = stream.tracks.get(found.key)
            if track is None and len(stream.tracks) < self._config.max_objects:
                begin_track(stream, record, found, self._names)
            elif track is None:
                stream.to_drop.add(found.key)
            elif track.request_id == record.request_id:
                track.meant = found.score

    def _settle(self, done: SlowPass, record: ActiveRequest, answered: Answered) -> None:
        """The answer is there: name the tracks, tell everything, begin to track."""
        stream, result, newest = self._streams[done.camera], answered.result, done.entries[-1]
        self._advance(record, RequestState.DECODING)
        stream.to_drop |= record.retained - {found.key for found in result.objects}
        record.retained = frozenset()
        alone = not stream.tracks
        kept, former = name_tracks(stream, record, result, self._names, self._config.max_objects)
        if kept:
            self._advance(record, RequestState.SEGMENTING)
        self._answer(record, told_in_full(record, newest.frame.header, result, kept))
        turn = Turn(
            record.request.text.strip(),
            result.text,
            tuple(result.objects[index].key for index in kept),
            tuple(result.seg_offsets[index] for index in kept),
        )
        follow_up = record.request.action == Action.FOLLOW_UP
        self._conversations.add(record.request.conversation_id, done.camera, turn, follow_up)
        if not result.objects:
            self._finish(record, RequestState.NO_TARGET, message="nothing in view is meant")
            return
        if not kept:
            message = f"{len(stream.tracks)} objects are tracked: stop some requests, or raise max_objects"
            self._finish(record, RequestState.FAILED, ErrorCode.BUSY, message)
            return
        self._outbox.append(tracklets_of(done, answered, kept, stream.ring))
        if alone:
            last = len(result.clip_index) - 1
            empty = RleMask.empty(newest.frame.height, newest.frame.width)
            told = []
            for index, track in kept.items():
                mask = answered.objects[index].get(last, empty)
                told.append(track.observe(mask, track.meant, 1.0 if mask.area else 0.0, self._config))
            self._outbox.append(stream.tell(newest.frame, told))
            self._plan_catch_up(stream, newest)
        if not record.request.track:
            self._finish(record, RequestState.SUCCEEDED)
            return
        left_out = len(result.objects) - len(kept)
        message = f"no room for {left_out} more object(s)" if left_out else ""
        self._advance(record, RequestState.TRACKING, message)
        for request_id in former:
            if not stream.tracks_of(request_id):
                message = f"what it tracked goes on for request {record.request_id!r}"
                self._finish(self._active[request_id], RequestState.SUCCEEDED, message=message)

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

    # -- the fast pass ---

    def _due(self, stream: Stream, stamp_ns: int) -> RingEntry | None:
        return None if stream.next_catch_up() is not None else stream.unseen(stamp_ns)

    def _catch_up_due(self) -> tuple[Stream, RingEntry] | None:
        for stream in self._streams.values():
            entry = stream.next_catch_up()
            if entry is not None:
                return stream, entry
        return None

    def _carry(self, stream: Stream, entry: RingEntry, operation: str) -> bool:
        with self._lock:
            session, begun = stream.session, list(stream.tracks.values())
        if session is None or not begun:
            return False
        outcome = look(self._model, session, entry, self._config)
        with self._committing():
            live = [track for track in begun if stream.tracks.get(track.key) is track]
            if not live:
                return False
            self._journal(operation, stream.camera, entry.stamp_ns)
            if stream.catch_up and stream.catch_up[0] == entry.stamp_ns:
                stream.catch_up.popleft()
            if isinstance(outcome, Looked):
                self._show(stream, entry, outcome, live)
                return True
            if outcome.entry is not None:  # this frame does not decode; the next one may
                entry.broken = True
                stream.ring.remove(entry)
            else:
                self._break(stream, outcome)
            return False

    def _show(self, stream: Stream, entry: RingEntry, looked: Looked, live: list[Track]) -> None:
        stream.ring.keep_features(entry, looked.features)
        stream.stepped_ns = entry.stamp_ns
        empty = RleMask.empty(entry.frame.height, entry.frame.width)
        told = []
        for track in live:
            seen = looked.tracks.get(track.key)
            if seen is None:
                told.append(track.observe(empty, 0.0, 0.0, self._config))
            else:
                told.append(track.observe(seen.mask, seen.mask_score, seen.present_score, self._config))
        self._outbox.append(stream.tell(entry.frame, told))
        for track in live:
            if track.state == TrackState.REMOVED:
                del stream.tracks[track.key]
                stream.to_drop.add(track.key)
        for request_id in dict.fromkeys(track.request_id for track in live):
            if not stream.tracks_of(request_id):
                message = f"not seen on {self._config.remove_after_frames} frames in a row"
                self._finish(self._active[request_id], RequestState.SUCCEEDED, message=message)

    def _break(self, stream: Stream, failure: Failure) -> None:
        """The session may be in any state after an exception: everything that rests on it fails."""
        for record in list(self._active.values()):
            resting = stream.tracks_of(record.request_id)
            running = self._pass is not None and self._pass.request_id == record.request_id
            if record.request.camera == stream.camera and (resting or running):
                self._finish(record, RequestState.FAILED, failure.code, failure.message)
        self._lose_session(stream)
