"""The pipeline's heart: requests, slow and fast passes and tracks in one deterministic machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from villa.interface import ChoosyModel
from villa.masks import RleMask
from villa_ros.pipeline import command_validation
from villa_ros.pipeline.camera_state import Stream
from villa_ros.pipeline.clip_buffer import NS_PER_S, ClipBuffer, Ingested, RingEntry
from villa_ros.pipeline.conversation import Conversations
from villa_ros.pipeline.event_outbox import EventOutbox
from villa_ros.pipeline.events import Event, TrackState
from villa_ros.pipeline.model_calls import Failure, Propagated, propagate
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.pipeline.request_answering import RequestAnswering
from villa_ros.pipeline.request_table import RequestTable
from villa_ros.pipeline.tracks import Names

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.tracks import Track


class Engine:
    """Deterministic and without a clock: the same operations in the same order give the same events.

    `fast` and `slow` run the model and belong to one thread. The other operations only keep books: any thread
    may call them, also while the model computes, because the one lock is never held across a model call. An
    operation has taken effect when it returns; what the model then hands back for a request that has ended is
    discarded. Events leave as `EventOutbox` tells, to `sink`, which must be quick.
    """

    def __init__(
        self, model: SegmentationModel, config: PipelineConfig, sink: Callable[[Event], None], nonce: str
    ) -> None:
        """`nonce` leads every id this engine gives; it must differ between processes."""
        self._model = model
        self._outbox = EventOutbox(sink)
        self._streams = {
            name: Stream(name, ClipBuffer(config.clip_frames, config.clip_bytes, config.feature_frames))
            for name in config.cameras
        }
        names = Names(nonce)
        self._conversations = Conversations(config.history_conversations, config.history_turns)
        self._requests = RequestTable(config, self._outbox, self._streams, names)
        self._answering = RequestAnswering(self._requests, self._outbox, self._streams, self._conversations, names)

    @property
    def _config(self) -> PipelineConfig:
        return self._requests.config

    # -- what is going on ---

    @property
    def busy(self) -> bool:
        """Has `slow` anything to do?"""
        with self._outbox.lock:
            streams = self._streams.values()
            loose = bool(self._requests.retired) or any(s.to_drop or (s.catch_up and s.tracks) for s in streams)
            return loose or self._requests.running is not None or self._answering.next_waiting() is not None

    @property
    def tracking(self) -> bool:
        """Is any track live on any camera?"""
        with self._outbox.lock:
            return any(stream.tracks for stream in self._streams.values())

    @property
    def active(self) -> tuple[str, ...]:
        """Requests without a final state, in the order of acceptance."""
        with self._outbox.lock:
            return tuple(record.request_id for record in self._requests)

    def state_of(self, request_id: str) -> RequestState | None:
        """The state of an active request, None for any other."""
        with self._outbox.lock:
            record = self._requests.get(request_id)
            return None if record is None else record.state

    def camera_of(self, request_id: str) -> str | None:
        """The camera of an active request, None for any other."""
        with self._outbox.lock:
            record = self._requests.get(request_id)
            return None if record is None else record.request.camera

    def starved(self, request_id: str) -> bool:
        """Does this request wait for a frame of its camera?"""
        with self._outbox.lock:
            record = self._requests.get(request_id)
            return record is not None and record.waiting and not self._streams[record.request.camera].has_frame

    def unseen(self, camera: str, stamp_ns: int) -> bool:
        """Are there tracks that have not been carried to this ring frame?"""
        with self._outbox.lock:
            stream = self._streams.get(camera)
            return stream is not None and stream.unseen(stamp_ns) is not None

    def wants(self, camera: str, stamp_ns: int) -> bool:
        """Would a fast pass on this frame carry a track on now?"""
        with self._outbox.lock:
            stream = self._streams.get(camera)
            return stream is not None and _due(stream, stamp_ns) is not None

    def oldest_open_ns(self, camera: str) -> int | None:
        """Stamp of the oldest frame of a camera that an event still to come can be about; None where there is none."""
        with self._outbox.lock:
            stream = self._streams[camera]
            stamps = [entry.stamp_ns for entry in (stream.ring.oldest,) if entry is not None]
            running = self._requests.running
            if running is not None and running.camera == camera:  # its clip may have left the ring
                stamps.append(running.entries[-1].stamp_ns)
            if stream.tracks and stream.seen is not None:  # told once more when a track ends
                stamps.append(stream.seen.header.time_ns)
            return min(stamps, default=None)

    # -- operations that keep books: any thread ---

    def ingest(self, frame: Frame) -> Ingested:
        """Take a frame into its camera's ring and say what became of it."""
        with self._outbox.committing():
            stream = self._streams.get(frame.camera)
            if stream is None:
                return Ingested.UNKNOWN_CAMERA
            self._journal("ingest", frame.camera, frame.header.time_ns)
            before = stream.ring.newest
            outcome = stream.ring.add(frame)
            if outcome in (Ingested.KEPT, Ingested.CLOCK_JUMP):
                stream.stalled = False
            if outcome is Ingested.CLOCK_JUMP and before is not None:
                self._begin_anew(stream, frame.header.time_ns - before.stamp_ns)
            return outcome

    def jump(self, camera: str, jumped_ns: int) -> None:
        """The camera's clock is about to jump ahead: forget its frames, end what rests on them."""
        with self._outbox.committing():
            stream = self._streams.get(camera)
            if stream is not None:
                self._journal("jump", camera, jumped_ns)
                stream.ring.clear()
                self._begin_anew(stream, jumped_ns)

    def stall(self, camera: str, age_ns: int) -> None:
        """The camera has been silent for so long: requests wait for its next frame, and its tracks are LOST until then.

        Nothing happens where that was told before.
        """
        with self._outbox.committing():
            stream = self._streams[camera]
            live = [track for track in stream.tracks.values() if track.shown is not None]
            lost = [track for track in live if track.state != TrackState.LOST]
            if stream.stalled and not lost:
                return
            self._journal("stall", camera, age_ns)
            stream.stalled = True
            if lost and stream.seen is not None:
                empty = RleMask.empty(stream.seen.height, stream.seen.width)
                self._outbox.put(stream.tell(stream.seen, [track.lose(empty, self._config) for track in live]))

    def configure(self, config: PipelineConfig) -> None:
        """Go on with other settings. Cameras, bounds of the rings and of histories stay as they are.

        On the model's thread, or while it is at rest: a model call under way would not know of them.
        """
        with self._outbox.committing():
            self._requests.config = config
            self._journal("configure", settings=True)

    def completed(self, request: Request) -> Request:
        """The command as `submit` takes it: with an id, a camera and a timeout where it leaves them open."""
        with self._outbox.lock:
            return self._requests.completed(request)

    def submit(self, request: Request) -> str:
        """Carry out a command, whichever way it came; returns the id its states are reported under.

        That is the request's own id, a new one where it has none, and `ID~N` where the id was used before.
        """
        with self._outbox.committing():
            request = self._requests.completed(request)
            self._journal("submit", request.camera, 0, request.request_id)
            action = command_validation.meaning(request)
            if action == Action.STOP:
                self._requests.stop(request.request_id)
                return request.request_id
            if action not in (Action.STOP_ALL, Action.RESET):
                return self._requests.accept(request, self._objection(request.text))
            request_id = self._requests.claim(request.request_id)
            self._outbox.status(request_id, RequestState.QUEUED)
            ended = self._requests.cancel_all("stopped by a command")
            if action == Action.RESET:
                self._forget_everything()
            self._outbox.status(request_id, RequestState.SUCCEEDED, message=f"ended {len(ended)} request(s)")
            return request_id

    def stop(self, request_id: str = "") -> tuple[str, ...]:
        """Cancel one request, or all with an empty id; returns those ended. No later event carries them.

        For whoever gets the answer directly, a service or a cancelled action; a STOP command is submitted.
        """
        with self._outbox.committing():
            self._journal("stop", request_id=request_id)
            if not request_id:
                return self._requests.cancel_all("stopped on request")
            record = self._requests.get(request_id)
            if record is None:
                return ()
            self._requests.finish(record, RequestState.CANCELED, message="stopped on request")
            return (request_id,)

    def expire(self, request_id: str, age_ns: int = 0) -> None:
        """The request's time is over: a tracking one has succeeded, any other failed.

        `age_ns`: how long ago the newest frame of its camera came.
        """
        with self._outbox.committing():
            record = self._requests.get(request_id)
            if record is None:
                return
            self._journal("expire", record.request.camera, age_ns, request_id)
            camera = record.request.camera
            stream = self._streams[camera]
            if record.state == RequestState.TRACKING:
                self._requests.finish(record, RequestState.SUCCEEDED, message="tracked until its timeout")
            elif record.waiting and not stream.has_frame:
                came = "no frame came in time"
                if stream.ring.newest is not None:
                    came = f"the last new frame came {age_ns / NS_PER_S:.1f} s ago"
                message = (
                    f"camera {camera!r}: {came}; check that its image topic publishes and that the transport lets "
                    "images through"
                )
                self._requests.finish(record, RequestState.FAILED, ErrorCode.NO_FRAMES, message)
            else:
                message = f"no answer in time ({record.state.name}): raise the timeout or use a smaller model"
                self._requests.finish(record, RequestState.FAILED, ErrorCode.TIMEOUT, message)

    def give_up(self, age_ns: int) -> None:
        """A call of the model has taken so long and does not come back: every request fails."""
        with self._outbox.committing():
            self._journal("give_up", stamp_ns=age_ns)
            message = (
                f"the model has not come back for {age_ns / NS_PER_S:.0f} s and is loaded anew: send the request "
                "again, and raise model_patience_s if the model is only slow"
            )
            for record in self._requests:
                self._requests.finish(record, RequestState.FAILED, ErrorCode.MODEL_FAILED, message)

    def reset(self) -> None:
        """Cancel everything and forget frames, tracks and conversations. Used ids stay used."""
        with self._outbox.committing():
            self._journal("reset")
            self._requests.cancel_all("reset")
            self._forget_everything()

    # -- operations that run the model: one thread ---

    def let_go(self) -> None:
        """The last call: forget frames, tracks and conversations, for what refers to this may live on for a while."""
        self._release()
        with self._outbox.lock:
            self._forget_everything()

    def fast(self, camera: str, stamp_ns: int) -> bool:
        """Fast pass on a ring frame; False when it is gone, older than the last one, or nothing is tracked."""
        self._release()
        with self._outbox.lock:
            stream = self._streams.get(camera)
            entry = None if stream is None else _due(stream, stamp_ns)
        return stream is not None and entry is not None and self._carry(stream, entry, "fast")

    def slow(self) -> bool:
        """One small step of what is due: catching up, the running slow pass, or the start of the next one."""
        self._release()
        with self._outbox.committing():
            due = self._catch_up_due()
            running = self._requests.running
            if due is None and running is None:
                record = self._answering.next_waiting()
                if record is not None:
                    self._journal("slow", record.request.camera)
                    self._answering.begin(record)
                return record is not None
        if due is not None:
            self._carry(*due, "slow")
            return True
        assert running is not None
        outcome = running.advance(self._model, self._config)
        with self._outbox.committing():
            if self._requests.running is not running:
                self._answering.discard(running, outcome)
            else:
                self._journal("slow", running.camera)
                self._answering.take(running, self._requests[running.request_id], outcome)
        return True

    def look_again(self, request_id: str) -> bool:
        """Begin to answer a request that tracks anew; False where that cannot be now, or never.

        No answer is published: what it names and nobody tracks yet is tracked from then on, what was lost and is found
        is TRACKED again, and all else goes on as it was.
        """
        with self._outbox.committing():
            record = self._requests.get(request_id)
            if record is None or record.state != RequestState.TRACKING:
                return False
            if self._requests.running is not None or self._answering.next_waiting() is not None:
                return False
            clip = self._answering.clip(record)
            if not clip or self._streams[record.request.camera].stalled:
                return False
            self._journal("again", record.request.camera, 0, request_id)
            self._answering.begin_again(record, clip)
            return True

    # -- what a camera's tracks rest on ---

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
        for record in self._requests:
            begun = not record.waiting or self._requests.works_on(record)
            if record.request.camera == stream.camera and begun:
                self._requests.finish(record, RequestState.FAILED, ErrorCode.CLOCK_JUMPED, message)
        # Memories bear times: an old session would take new frames for older than its memories.
        self._lose_session(stream)
        stream.begin_anew()

    def _lose_session(self, stream: Stream) -> None:
        """Let go of a camera's session, and of all keys that only it knows."""
        for record in self._requests:
            if record.request.camera == stream.camera:
                record.retained = frozenset()
        self._conversations.forget_keys(stream.camera)
        stream.session = None
        stream.to_drop.clear()

    def _release(self) -> None:
        """Close canceled passes and let the model forget ended tracks."""
        with self._outbox.lock:
            retired, self._requests.retired = self._requests.retired, []
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
        except BaseException as error:  # a model that calls exit() must not end the worker
            with self._outbox.committing():
                self._break(stream, Failure(error))

    def _break(self, stream: Stream, failure: Failure) -> None:
        """The session may be in any state after an exception: everything that rests on it fails."""
        for record in self._requests:
            resting = stream.tracks_of(record.request_id)
            if record.request.camera == stream.camera and (resting or self._requests.works_on(record)):
                self._requests.finish(record, RequestState.FAILED, failure.code, failure.message)
        self._lose_session(stream)

    # -- the fast pass ---

    def _catch_up_due(self) -> tuple[Stream, RingEntry] | None:
        for stream in self._streams.values():
            entry = stream.next_catch_up()
            if entry is not None:
                return stream, entry
        return None

    def _carry(self, stream: Stream, entry: RingEntry, operation: str) -> bool:
        with self._outbox.lock:
            session, begun = stream.session, list(stream.tracks.values())
        if session is None or not begun:
            return False
        outcome = propagate(self._model, session, entry, self._config)
        with self._outbox.committing():
            live = [track for track in begun if stream.tracks.get(track.key) is track]
            if not live:
                return False
            self._journal(operation, stream.camera, entry.stamp_ns)
            if stream.catch_up and stream.catch_up[0] == entry.stamp_ns:
                stream.catch_up.popleft()
            if isinstance(outcome, Propagated):
                self._show(stream, entry, outcome, live)
                return True
            if outcome.entry is not None:  # this frame does not decode; the next one may
                entry.broken = True
                stream.ring.remove(entry)
            else:
                self._break(stream, outcome)
            return False

    def _show(self, stream: Stream, entry: RingEntry, looked: Propagated, live: list[Track]) -> None:
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
        self._outbox.put(stream.tell(entry.frame, told))
        for track in live:
            if track.state == TrackState.REMOVED:
                del stream.tracks[track.key]
                stream.to_drop.add(track.key)
        for request_id in dict.fromkeys(track.request_id for track in live):
            if not stream.tracks_of(request_id):
                message = f"not seen on {self._config.remove_after_frames} frames in a row"
                self._requests.finish(self._requests[request_id], RequestState.SUCCEEDED, message=message)

    def _objection(self, text: str) -> str:
        try:
            return self._model.objection(text) if isinstance(self._model, ChoosyModel) else ""
        except BaseException as error:  # it is asked in whatever thread a command comes in
            return f"the model cannot read it ({type(error).__name__}: {error}): word it in another way"

    def _journal(
        self, operation: str, camera: str = "", stamp_ns: int = 0, request_id: str = "", *, settings: bool = False
    ) -> None:
        """Lead an operation; the first entry, and one that sets them, carry the settings in force."""
        config = self._config if settings or not self._outbox.began else None
        self._outbox.journal(operation, camera, stamp_ns, request_id, config)


def _due(stream: Stream, stamp_ns: int) -> RingEntry | None:
    return None if stream.next_catch_up() is not None else stream.unseen(stamp_ns)
