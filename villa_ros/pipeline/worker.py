"""The one thread that owns the model."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa_ros.pipeline.camera_silence import CameraSilence
from villa_ros.pipeline.clip_buffer import NS_PER_S, Ingested
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import Event, StatusEvent, TracksEvent, TrackState
from villa_ros.pipeline.frame_inbox import FrameInbox
from villa_ros.pipeline.request import ErrorCode, Request, RequestState
from villa_ros.pipeline.request_timers import RequestTimers
from villa_ros.pipeline.response_times import ResponseTimes
from villa_ros.pipeline.stats import Tally, WorkerStats

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.frame import Frame

_LOG = logging.getLogger(__name__)
_LONGEST_TIMEOUT_S = 1e8
_PAUSE_AFTER_ERROR_S = 0.1
_MODEL_CODES = (ErrorCode.MODEL_FAILED, ErrorCode.OUT_OF_MEMORY)


@dataclass(frozen=True)
class ModelCall:
    """The model is at work."""

    stage: str  # "fast" | "slow"
    age_s: float  # since the call began


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
        present: Callable[[], int] | None = None,
    ) -> None:
        """`clock` gives nanoseconds for timeouts and latencies; `nonce` leads all ids (random when None).

        `present` gives the nanoseconds by which pictures grow old, where that is another clock: one that is simulated
        stands still when the simulation does.
        """
        self._config = config
        self._sink = sink
        self._clock = clock
        self._present = clock if present is None else present
        self._nonce = secrets.token_hex(4) if nonce is None else nonce
        self._tally = Tally(config.cameras)
        self._engine = Engine(model, config, self._emit, self._nonce)
        self._inbox = FrameInbox(config, self._tally.dropped)
        self._timers = RequestTimers()
        self._times = ResponseTimes(self._tally)
        self._wake = threading.Condition()
        self._woken = False  # under `_wake`, like the next two
        self._next_config: PipelineConfig | None = None
        self._closing = False
        self._state = "not started"
        self._thread: threading.Thread | None = None
        # Worker thread only: the newest frame of a camera that no fast pass has seen, and when it came in.
        self._fresh: dict[str, tuple[int, int]] = {}
        self._lost: set[str] = set()  # tracks; while an event is told
        self._call: tuple[str, int] | None = None  # what the model is doing, and since when
        self._silence = CameraSilence(config.cameras)
        self._ended = False  # what comes in has ended, as a recording does

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
        if self.alive:
            return False
        self._let_go()
        return True

    @property
    def alive(self) -> bool:
        """Does its thread still run?"""
        return self._thread is not None and self._thread.is_alive()

    def watch(self) -> ModelCall | None:
        """To be called now and then from another thread: the call that the model is in, if it is in one.

        Requests whose time is over end meanwhile, however long the model takes.
        """
        call = self._call
        if call is None:
            return None
        self._expire()
        stage, began_ns = call
        return ModelCall(stage, (self._clock() - began_ns) / NS_PER_S)

    def give_up(self, call: ModelCall) -> None:
        """A model that does not come back: fail every request, take nothing more, and leave the thread to itself."""
        with self._wake:
            self._closing = True
        self._engine.give_up(round(call.age_s * NS_PER_S))
        self._tally.failed("model", f"a {call.stage} step of the model has taken {call.age_s:.0f} s")
        self._notify()

    def offer(self, frame: Frame) -> None:
        """Hand over a frame. Never blocks; the oldest frame not yet looked at goes when there are too many."""
        if frame.camera not in self._inbox:
            self._tally.dropped(frame.camera, Ingested.UNKNOWN_CAMERA.value)
            return
        self._tally.received(frame.camera)
        if not self._closing:
            self._inbox.put(frame, self._clock(), self._present())
            self._notify()

    def dropped(self, camera: str, reason: str) -> None:
        """Count a frame that was refused before it could be offered, a bad image say."""
        self._tally.dropped(camera, reason)

    def completed(self, request: Request) -> Request:
        """The command as `submit` takes it: with an id, a camera and a timeout where it leaves them open."""
        return self._engine.completed(request)

    def submit(self, request: Request) -> str:
        """Carry out a command; what becomes of it at once is out when this returns.

        Returns the id its states are reported under; see `Engine.submit`.
        """
        request = self._engine.completed(request)
        if self._closing:
            message = "the worker is closed: activate the node again"
            self._emit(StatusEvent(request.request_id, RequestState.REJECTED, ErrorCode.MODEL_NOT_READY, message))
            return request.request_id
        request_id = self._engine.submit(request)
        own = request.timeout_s > 0 and not math.isnan(request.timeout_s)
        timeout_s = min(request.timeout_s, _LONGEST_TIMEOUT_S) if own else self._config.frame_timeout_s
        self._timers.set_deadline(request_id, self._clock() + round(timeout_s * NS_PER_S), only_starved=not own)
        if self._engine.state_of(request_id) is None:
            self._timers.forget(request_id)
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
        self._inbox.clear()
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
        due_ns = [self._timers.next_due_ns]
        if self._longest_silence_s:
            silent_ns = self._silence.next_due_ns(self._longest_silence_s)
            due_ns.append(None if silent_ns is None else self._clock() + max(0, silent_ns - self._present()))
        return min((one for one in due_ns if one is not None), default=None)

    def end_of_input(self) -> None:
        """A recording has ended, which is no camera that fell silent: its last frames stay the present."""
        self._ended = True

    def _run(self) -> None:
        while not self._closing:
            try:
                worked = self.turn()
            except BaseException as error:  # a defect here must not end the node; it is told and counted
                self._call = None
                self._tally.failed("internal", f"{type(error).__name__}: {error}")
                _LOG.exception("the worker's turn failed; report this")
                time.sleep(_PAUSE_AFTER_ERROR_S)
                continue
            if not worked:
                self._rest()
        self._let_go()

    def _let_go(self) -> None:
        """Of frames above all: hundreds of MB that would else stay until Python looks for cycles of references."""
        self._inbox.clear()
        self._engine.let_go()

    def turn(self) -> bool:
        """Take in what came, one fast pass for each camera that has a fresh frame, slow steps; was there any?

        Slow steps go on until they took as long as the fast passes before them: a model that is as slow as the camera
        always has a fresh frame, and one step between two of them (a token, say) would hold up an answer for seconds.

        What the worker's thread does over and over. Without a thread, whoever made the worker may do it instead.
        """
        self._reconfigure()
        self._drain()
        self._note_silence()
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
            self._call = ("fast", began_ns)
            carried = self._engine.fast(camera, stamp_ns)
            self._call = None
            if carried:
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
            self._call = ("slow", began_ns)
            stepped = self._engine.slow()
            self._call = None
            took_ns = self._clock() - began_ns
            self._times.step_ended(self._clock())
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
        for request_id in self._timers.due_looks(self._clock()):
            if self._engine.state_of(request_id) is not RequestState.TRACKING:
                self._timers.forget(request_id)
            elif self._engine.look_again(request_id) or not self._engine.busy:
                self._plan_another_look(request_id)
                return  # one at a time

    def _plan_another_look(self, request_id: str) -> None:
        period_s = self._config.look_again_s
        self._timers.plan_look(request_id, self._clock() + round(period_s * NS_PER_S) if period_s > 0 else None)

    def _drain(self) -> None:
        for arrival in self._inbox.take(self._config.clock_jump_s):
            frame, camera, stamp_ns = arrival.frame, arrival.frame.camera, arrival.frame.header.time_ns
            if arrival.jumped_ns > 0:  # one that went back is seen by the ring
                self._engine.jump(camera, arrival.jumped_ns)
                self._tally.dropped(camera, Ingested.CLOCK_JUMP.value)
            outcome = self._engine.ingest(frame)
            if outcome is not Ingested.KEPT:
                self._tally.dropped(camera, outcome.value)
            if outcome is Ingested.KEPT or outcome is Ingested.CLOCK_JUMP:
                self._silence.heard(camera, arrival.present_ns)
                unseen = self._fresh.get(camera)
                if unseen is not None and self._engine.unseen(camera, unseen[0]):
                    self._tally.dropped(camera, "replaced")
                self._fresh[camera] = (stamp_ns, arrival.offered_ns)

    @property
    def _longest_silence_s(self) -> float:
        """After which a camera's last frame is not the present; 0: never."""
        return 0.0 if self._ended else min(self._config.silent_after_s, self._config.frame_timeout_s)

    def _note_silence(self) -> None:
        if not self._longest_silence_s:
            return
        now_ns = self._present()
        for camera in self._silence.silent(now_ns, self._longest_silence_s):
            self._engine.stall(camera, self._silence.age_ns(camera, now_ns))

    def _expire(self) -> None:
        for request_id, only_starved in self._timers.take_expired(self._clock()):
            if not only_starved or self._engine.starved(request_id):
                camera = self._engine.camera_of(request_id)
                self._engine.expire(request_id, self._silence.age_ns(camera, self._present()) if camera else 0)

    def _rest(self) -> None:
        next_ns = self.next_due_ns
        with self._wake:
            if not self._woken and not self._closing:
                wait_s = None if next_ns is None else max(0.0, (next_ns - self._clock()) / NS_PER_S)
                self._wake.wait(wait_s)
            self._woken = False

    def _notify(self) -> None:
        with self._wake:
            self._woken = True
            self._wake.notify()

    def _emit(self, event: Event) -> None:
        if isinstance(event, StatusEvent):
            self._note(event)
        elif isinstance(event, TracksEvent):
            self._note_lost(event)
        self._times.note(event, self._clock(), computing=self._state == "slow")
        try:
            self._sink(event)
        except Exception as error:
            message = f"sink raised {type(error).__name__}: {error}"
            if self._tally.failed("sink", message) == 1:
                _LOG.exception("the sink of events raised; further ones are only counted")

    def _note(self, status: StatusEvent) -> None:
        if status.state == RequestState.TRACKING:
            self._plan_another_look(status.request_id)
        if not status.state.final:
            return
        self._timers.forget(status.request_id)
        self._tally.ended(status.state.name)
        if status.error_code in _MODEL_CODES:
            self._tally.failed("model", status.message)

    def _note_lost(self, event: TracksEvent) -> None:
        for instance in event.instances:
            if instance.state != TrackState.LOST:
                self._lost.discard(instance.track_id)
            elif instance.track_id not in self._lost and not self._silence.is_silent(event.camera):
                self._lost.add(instance.track_id)
                if self._config.look_again_when_lost:
                    self._timers.plan_look(instance.request_id, self._clock())
