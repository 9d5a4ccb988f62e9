"""The one thread that owns the model."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from villa_ros.pipeline.clip_buffer import NS_PER_S, Ingested
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import AnswerEvent, Event, StatusEvent, TrackletsEvent, TracksEvent, TrackState
from villa_ros.pipeline.request import ErrorCode, Request, RequestState
from villa_ros.pipeline.stats import Tally, WorkerStats

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.frame import Frame

_LOG = logging.getLogger(__name__)
_LONGEST_TIMEOUT_S = 1e8
_PAUSE_AFTER_ERROR_S = 0.1
_MODEL_CODES = (ErrorCode.MODEL_FAILED, ErrorCode.OUT_OF_MEMORY)


class Worker:
    """Runs an Engine live: slow passes in small steps, the newest frame of each camera between them.

    `offer`, `submit`, `stop` and `reset` may be called from any thread and never wait for the model. `sink` is called
    from the worker's thread or the caller's, one call at a time; it must be quick and must not wait for another
    thread that calls into the worker. What it raises is counted and logged, and nothing else happens.
    """

    def __init__(
        self,
        model: SegmentationModel,
        config: PipelineConfig,
        sink: Callable[[Event], None],
        clock: Callable[[], int] = time.monotonic_ns,
        nonce: str | None = None,
    ) -> None:
        """`clock` gives nanoseconds for timeouts and latencies; `nonce` leads all ids (random when None)."""
        self._config = config
        self._sink = sink
        self._clock = clock
        self._nonce = secrets.token_hex(4) if nonce is None else nonce
        self._tally = Tally(config.cameras)
        self._engine = Engine(model, config, self._emit, self._nonce)
        self._wake = threading.Condition()
        self._woken = False
        self._closing = False
        self._state = "not started"
        self._thread: threading.Thread | None = None
        # Under `_wake`: frames not yet in the ring, with the time they came in.
        self._inbox: dict[str, deque[tuple[Frame, int]]] = {camera: deque() for camera in config.cameras}
        self._inbox_bytes = dict.fromkeys(config.cameras, 0)
        # Taken last and never held while calling out. Request -> (when, only while it waits for a frame).
        self._deadline_lock = threading.Lock()
        self._deadlines: dict[str, tuple[int, bool]] = {}
        # Worker thread only: the newest frame of a camera that no fast pass has seen, and when it came in.
        self._fresh: dict[str, tuple[int, int]] = {}
        # Under the engine's lock.
        self._began: dict[str, int] = {}
        self._lost: set[str] = set()  # tracks
        self._stopped_ns: int | None = None  # when a request was ended while a slow step was under way
        # Request -> when it is to be looked for again. Under `_deadline_lock`.
        self._again: dict[str, int] = {}
        # Worker thread only: stamp and arrival of the newest frame of a camera.
        self._came: dict[str, tuple[int, int]] = {}
        self._next_config: PipelineConfig | None = None

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: it was started before.
        """
        if self._thread is not None or self._closing:
            raise RuntimeError("the worker was started before; make a new one")
        self._state = "idle"
        self._thread = threading.Thread(target=self._run, name="villa-worker", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Cancel everything and end the thread; False when a model call is still running after `timeout_s`."""
        with self._wake:
            self._closing = True
        self._engine.stop()
        self._notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        self._engine.stop()  # a request may have slipped in before it could see that we are closing
        self._state = "closed"
        return self._thread is None or not self._thread.is_alive()

    def offer(self, frame: Frame) -> None:
        """Hand over a frame. Never blocks; the oldest frame not yet looked at goes when there are too many."""
        if frame.camera not in self._inbox:
            self._tally.dropped(frame.camera, Ingested.UNKNOWN_CAMERA.value)
            return
        self._tally.received(frame.camera)
        with self._wake:
            if self._closing:
                return
            inbox = self._inbox[frame.camera]
            inbox.append((frame, self._clock()))
            self._inbox_bytes[frame.camera] += frame.nbytes
            while len(inbox) > self._config.clip_frames or (
                len(inbox) > 1 and self._inbox_bytes[frame.camera] > self._config.clip_bytes
            ):
                self._inbox_bytes[frame.camera] -= inbox.popleft()[0].nbytes
                self._tally.dropped(frame.camera, "inbox_full")
            self._woken = True
            self._wake.notify()

    def dropped(self, camera: str, reason: str) -> None:
        """Count a frame that was refused before it could be offered, a bad image say."""
        self._tally.dropped(camera, reason)

    def submit(self, request: Request) -> str:
        """Submit a command; QUEUED or REJECTED is out when this returns. Returns the id it is reported under."""
        if self._closing:
            request_id = request.request_id or f"{self._nonce}-closed"
            message = "the worker is closed: activate the node again"
            self._emit(StatusEvent(request_id, RequestState.REJECTED, ErrorCode.MODEL_NOT_READY, message))
            return request_id
        request_id = self._engine.submit(request)
        own = request.timeout_s > 0 and not math.isnan(request.timeout_s)
        timeout_s = min(request.timeout_s, _LONGEST_TIMEOUT_S) if own else self._config.frame_timeout_s
        with self._deadline_lock:
            self._deadlines[request_id] = (self._clock() + round(timeout_s * NS_PER_S), not own)
        if self._engine.state_of(request_id) is None:
            self._forget_deadline(request_id)
        self._notify()
        return request_id

    def stop(self, request_id: str = "") -> tuple[str, ...]:
        """Cancel one request, or all with an empty id; returns those ended.

        CANCELED is out when this returns, and no later event carries such a request.
        """
        ended = self._engine.stop(request_id)
        self._notify()
        return ended

    def reset(self) -> None:
        """Cancel everything and forget frames, tracks and conversations."""
        with self._wake:
            for camera, inbox in self._inbox.items():
                inbox.clear()
                self._inbox_bytes[camera] = 0
        self._engine.reset()
        self._notify()

    def configure(self, config: PipelineConfig) -> None:
        """Go on with other settings from the next turn on. Cameras and bounds of memory stay as they are."""
        with self._wake:
            self._next_config = config
            self._woken = True
            self._wake.notify()

    def stats(self) -> WorkerStats:
        """Counts and latencies so far."""
        return self._tally.report(self._state)

    @property
    def active(self) -> tuple[str, ...]:
        """Requests without a final state, in the order of acceptance."""
        return self._engine.active

    @property
    def next_due_ns(self) -> int | None:
        """When a timeout runs out or a request is to be looked for again, if nothing happens before; None: never."""
        with self._deadline_lock:
            planned = [entry[0] for entry in self._deadlines.values()] + list(self._again.values())
            return min(planned, default=None)

    def _run(self) -> None:
        while not self._closing:
            try:
                worked = self.turn()
            except Exception as error:  # a defect here must not end the node; it is told and counted
                self._tally.failed("internal", f"{type(error).__name__}: {error}")
                _LOG.exception("the worker's turn failed; report this")
                time.sleep(_PAUSE_AFTER_ERROR_S)
                continue
            if not worked:
                self._rest()

    def turn(self) -> bool:
        """Take in what came, one fast pass for each camera that has a fresh frame, slow steps; was there any?

        Slow steps go on until they took as long as the fast passes before them: a model that is as slow as the camera
        always has a fresh frame, and one step between two of them (a token, say) would hold up an answer for seconds.

        What the worker's thread does over and over. Without a thread, whoever made the worker may do it instead.
        """
        self._reconfigure()
        self._drain()
        self._expire()
        self._look_again()
        began_ns = self._clock()
        carried = self._carry_on()
        stepped = self._step_on(self._clock() - began_ns)
        self._state = "idle"
        return carried or stepped

    def _carry_on(self) -> bool:
        """A fast pass for each camera that has a fresh frame; was any due?"""
        worked = False
        for camera in self._config.cameras:
            stamp_ns, offered_ns = self._fresh.get(camera, (0, 0))
            if camera not in self._fresh or not self._engine.wants(camera, stamp_ns):
                continue
            del self._fresh[camera]
            self._state = "fast"
            began_ns = self._clock()
            if self._engine.fast(camera, stamp_ns):
                now_ns = self._clock()
                self._tally.used(camera)
                self._tally.took("fast", now_ns - began_ns)
                self._tally.took("frame", now_ns - offered_ns)
            worked = True
        return worked

    def _step_on(self, budget_ns: int) -> bool:
        """A slow step, and further ones until the budget is spent; was there any?

        A stop or close from another thread ends what is under way, and so the steps.
        """
        end_ns = self._clock() + budget_ns
        worked = False
        while self._engine.busy and (not worked or self._clock() < end_ns):
            self._state = "slow"
            began_ns = self._clock()
            stepped = self._engine.slow()
            took_ns = self._clock() - began_ns
            stopped_ns, self._stopped_ns = self._stopped_ns, None
            if stopped_ns is not None:
                self._tally.took("stop_to_end", self._clock() - stopped_ns)
            if not stepped:
                break
            self._tally.took("slow_step", took_ns)
            worked = True
        return worked

    def _reconfigure(self) -> None:
        with self._wake:
            config, self._next_config = self._next_config, None
        if config is not None:
            self._config = config
            self._engine.configure(config)
            for request_id in self._engine.active:
                if self._engine.state_of(request_id) is RequestState.TRACKING:
                    self._plan_another_look(request_id)

    def _look_again(self) -> None:
        now_ns = self._clock()
        with self._deadline_lock:
            due = [name for name, when in self._again.items() if when <= now_ns]
        for request_id in due:
            if self._engine.state_of(request_id) is not RequestState.TRACKING:
                self._forget_deadline(request_id)
            elif self._engine.look_again(request_id) or not self._engine.busy:
                self._plan_another_look(request_id)
                return  # one at a time

    def _plan_another_look(self, request_id: str) -> None:
        period_s = self._config.look_again_s
        with self._deadline_lock:
            if period_s > 0:
                self._again[request_id] = self._clock() + round(period_s * NS_PER_S)
            else:
                self._again.pop(request_id, None)

    def _jumped(self, frame: Frame, offered_ns: int) -> int:
        """By how much the stamps ran ahead of the arrivals since the last frame, ns; 0 where that is no jump."""
        stamp_ns = frame.header.stamp_ns
        before = self._came.get(frame.camera)
        self._came[frame.camera] = (stamp_ns, offered_ns)
        limit_s = self._config.clock_jump_s
        if before is None or not limit_s:
            return 0
        ahead_ns = (stamp_ns - before[0]) - (offered_ns - before[1])
        return ahead_ns if ahead_ns > limit_s * NS_PER_S else 0

    def _drain(self) -> None:
        with self._wake:
            came = [item for inbox in self._inbox.values() for item in inbox]
            for camera, inbox in self._inbox.items():
                inbox.clear()
                self._inbox_bytes[camera] = 0
        for frame, offered_ns in came:
            camera, stamp_ns = frame.camera, frame.header.stamp_ns
            jumped_ns = self._jumped(frame, offered_ns)
            if jumped_ns:
                self._engine.jump(camera, jumped_ns)
                self._tally.dropped(camera, Ingested.CLOCK_JUMP.value)
            outcome = self._engine.ingest(frame)
            if outcome is not Ingested.KEPT:
                self._tally.dropped(camera, outcome.value)
            if outcome is Ingested.KEPT or outcome is Ingested.CLOCK_JUMP:
                unseen = self._fresh.get(camera)
                if unseen is not None and self._engine.unseen(camera, unseen[0]):
                    self._tally.dropped(camera, "replaced")
                self._fresh[camera] = (stamp_ns, offered_ns)

    def _expire(self) -> None:
        now_ns = self._clock()
        with self._deadline_lock:
            due = [(name, entry[1]) for name, entry in self._deadlines.items() if entry[0] <= now_ns]
            for request_id, _ in due:
                del self._deadlines[request_id]
        for request_id, only_starved in due:
            if not only_starved or self._engine.starved(request_id):
                self._engine.expire(request_id)

    def _rest(self) -> None:
        next_ns = self.next_due_ns
        with self._wake:
            if not self._woken and not self._closing:
                wait_s = None if next_ns is None else max(0.0, (next_ns - self._clock()) / NS_PER_S)
                self._wake.wait(wait_s)
            self._woken = False

    def _forget_deadline(self, request_id: str) -> None:
        with self._deadline_lock:
            self._deadlines.pop(request_id, None)
            self._again.pop(request_id, None)

    def _notify(self) -> None:
        with self._wake:
            self._woken = True
            self._wake.notify()

    def _emit(self, event: Event) -> None:
        if isinstance(event, StatusEvent):
            self._note(event)
        elif isinstance(event, TracksEvent):
            self._note_lost(event)
        elif isinstance(event, TrackletsEvent) and event.request_id in self._began:
            self._tally.took("first_mask", self._clock() - self._began[event.request_id])
        elif isinstance(event, AnswerEvent) and event.is_final and event.request_id in self._began:
            self._tally.took("answer", self._clock() - self._began[event.request_id])
        try:
            self._sink(event)
        except Exception as error:
            message = f"sink raised {type(error).__name__}: {error}"
            if self._tally.failed("sink", message) == 1:
                _LOG.exception("the sink of events raised; further ones are only counted")

    def _note(self, status: StatusEvent) -> None:
        if status.state == RequestState.QUEUED:
            self._began[status.request_id] = self._clock()
        elif status.state == RequestState.TRACKING:
            self._plan_another_look(status.request_id)
        if not status.state.final:
            return
        if status.state == RequestState.CANCELED and self._state == "slow":
            self._stopped_ns = self._clock()
        self._began.pop(status.request_id, None)
        self._forget_deadline(status.request_id)
        self._tally.ended(status.state.name)
        if status.error_code in _MODEL_CODES:
            self._tally.failed("model", status.message)

    def _note_lost(self, event: TracksEvent) -> None:
        for instance in event.instances:
            if instance.state != TrackState.LOST:
                self._lost.discard(instance.track_id)
            elif instance.track_id not in self._lost:
                self._lost.add(instance.track_id)
                if self._config.look_again_when_lost:
                    with self._deadline_lock:
                        self._again[instance.request_id] = self._clock()
