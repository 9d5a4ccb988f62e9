"""The worker with its thread: stop, latest wins, exceptions, and that a run can be repeated from its journal."""

from __future__ import annotations

import gc
import math
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from fakes import BlobModel, Told, carries, frame

from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import Event, JournalEvent, StatusEvent
from villa_ros.pipeline.frame import Frame
from villa_ros.pipeline.journal import JournalError, repeat
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.pipeline.stats import quantile
from villa_ros.pipeline.worker import Worker
from villa_ros.replay.virtual_clock import Pace, PacedModel, VirtualClock


def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(4000):
        if condition():
            return
        time.sleep(0.005)
    pytest.fail(f"never came true: {what}")


@pytest.fixture
def make() -> Iterator[Callable[..., tuple[Worker, Told]]]:
    workers: list[Worker] = []

    def start(model: BlobModel | None = None, sink: Any = None, **config: Any) -> tuple[Worker, Told]:
        told = Told()
        # Frames come here when a test is ready for them, unless it is about a camera that falls silent.
        config = {"silent_after_s": 0.0, **config}
        worker = Worker(model or BlobModel(), PipelineConfig(**config), sink or told)
        workers.append(worker)
        worker.start()
        return worker, told

    yield start
    for worker in workers:
        worker.close()


def tracking(worker: Worker, told: Told, name: str = "r", text: str = "red") -> None:
    worker.submit(Request(name, text))
    until(lambda: told.states(name)[-1] == "TRACKING", f"{name} tracks")


def test_frames_that_keep_coming_are_tracked(make: Any) -> None:
    worker, told = make()
    worker.offer(frame(0))
    tracking(worker, told)
    for index in range(1, 30):
        worker.offer(frame(index))
        until(lambda at=index: told.tracks()[-1].header == frame(at).header, f"frame {index} is told")
    assert worker.stats().cameras["camera"].received == 30
    assert worker.stats().cameras["camera"].dropped == {}


def test_a_request_is_acknowledged_before_submit_returns_even_while_the_model_computes(make: Any) -> None:
    gate = threading.Event()
    worker, told = make(BlobModel(hold=gate))
    worker.offer(frame(0))
    worker.submit(Request("a", "red"))
    assert worker._engine._model.faults.entered.wait(10)
    worker.submit(Request("b", "green"))
    assert told.states("b") == ["QUEUED"]
    assert told.states("a")[-1] == "SUPERSEDED"
    worker.submit(Request("c", ""))
    assert told.states("c") == ["REJECTED"]
    gate.set()


@pytest.mark.parametrize("moment", ["hold", "hold_last"])
def test_stop_is_answered_while_the_slow_pass_computes_and_nothing_follows(make: Any, moment: str) -> None:
    gate = threading.Event()
    model = BlobModel(**{moment: gate})
    worker, told = make(model)
    worker.offer(frame(0))
    worker.submit(Request("r", "red"))
    assert model.faults.entered.wait(10)
    assert worker.stop("r") == ("r",)
    assert not gate.is_set()  # the model is still at it
    assert told.states("r")[-1] == "CANCELED"
    end = len(told)
    gate.set()
    tracking(worker, told, "next", "red")
    assert not any(carries(event, "r") for event in told[end:])
    until(lambda: len(model.sessions[-1].keys) == 1, "the stopped request's tracks are forgotten")


def test_stop_is_answered_while_the_fast_pass_computes_and_nothing_follows(make: Any) -> None:
    model = BlobModel()
    worker, told = make(model)
    worker.offer(frame(0))
    tracking(worker, told)
    gate = threading.Event()
    model.faults.hold_fast = gate
    worker.offer(frame(1))
    assert model.faults.entered.wait(10)
    assert worker.stop() == ("r",)
    end = len(told)
    assert told.states("r")[-1] == "CANCELED"
    gate.set()
    until(lambda: not worker._engine.busy and not model.sessions[0].keys, "the model forgot the track")
    assert not any(carries(event, "r") for event in told[end:])
    assert all(event.op != "fast" for event in told.journal())


def test_a_spoken_stop_is_as_quick(make: Any) -> None:
    gate = threading.Event()
    model = BlobModel(hold=gate)
    worker, told = make(model)
    worker.offer(frame(0))
    worker.submit(Request("r", "red"))
    assert model.faults.entered.wait(10)
    worker.submit(Request("s", "stop"))
    assert told.states("r")[-1] == "CANCELED"
    assert told.states("s") == ["QUEUED", "SUCCEEDED"]
    gate.set()


def test_the_newest_frame_wins_and_the_replaced_ones_are_counted(make: Any) -> None:
    model = BlobModel()
    worker, told = make(model)
    worker.offer(frame(0))
    tracking(worker, told)
    gate = threading.Event()
    model.faults.hold_fast = gate
    worker.offer(frame(1))
    assert model.faults.entered.wait(10)
    for index in range(2, 12):
        worker.offer(frame(index))
    gate.set()
    until(lambda: told.tracks()[-1].header == frame(11).header, "the newest frame is told")
    assert [event.header.stamp_ns for event in told.tracks()][-2:] == [
        frame(1).header.stamp_ns,
        frame(11).header.stamp_ns,
    ]
    assert worker.stats().cameras["camera"].dropped == {"replaced": 9}
    assert len(worker._engine._streams["camera"].ring) == 12  # they are in the ring for clips


def test_offer_never_waits_and_what_does_not_fit_is_counted(make: Any) -> None:
    gate = threading.Event()
    model = BlobModel(hold=gate)
    worker, _ = make(model, clip_frames=8)
    worker.offer(frame(0))
    worker.submit(Request("r", "red"))
    assert model.faults.entered.wait(10)
    for index in range(1, 1001):
        worker.offer(frame(index))
    assert len(worker._inbox.take(0.0)) == 8
    assert worker.stats().cameras["camera"].dropped == {"inbox_full": 992}
    assert worker.stats().cameras["camera"].received == 1001
    gate.set()


def test_cameras_that_never_rest_share_the_model(make: Any) -> None:
    worker, told = make(BlobModel(links=True), cameras=("left", "right"), policy="queue")
    for camera in ("left", "right"):
        worker.offer(frame(0, camera=camera))
        worker.submit(Request(camera, "red", camera=camera))
        until(lambda name=camera: told.states(name)[-1] == "TRACKING", f"{camera} tracks")
    for index in range(1, 400):
        for camera in ("left", "left", "right"):  # the left one offers twice as much
            worker.offer(frame(2 * index, camera=camera))
        time.sleep(0.001)
    until(lambda: all(stats.used > 20 for stats in worker.stats().cameras.values()), "both are carried on")
    left, right = (worker.stats().cameras[camera].used for camera in ("left", "right"))
    assert 0.7 < left / right < 1.4


def test_stamps_that_run_ahead_of_arrivals_are_a_jump(make: Any) -> None:
    worker, told = make(clock_jump_s=2.0)
    worker.offer(frame(0))
    tracking(worker, told)
    for index in (15, 30):  # 1.5 s ahead: a slow camera, or a bag played fast
        worker.offer(frame(index))
    until(lambda: told.tracks()[-1].header == frame(30).header, "the frame is told")
    for index in (90, 91):  # beyond three times that pace
        worker.offer(frame(index))
    until(lambda: told.states("r")[-1] == "FAILED", "the request ends")
    assert told.last("r").error_code is ErrorCode.CLOCK_JUMPED
    dropped = worker.stats().cameras["camera"].dropped
    assert dropped["clock_jump"] == 1
    assert "bad_stamp" not in dropped


def test_one_bad_stamp_ends_no_request(make: Any) -> None:
    worker, told = make()
    worker.offer(frame(0))
    tracking(worker, told)
    for index in range(1, 12):
        worker.offer(frame({4: 24, 8: -1000}.get(index, index)))  # 2 s ahead, and 100 s ago
        if index not in (4, 8):
            until(lambda at=index: told.tracks()[-1].header == frame(at).header, f"frame {index} is told")
    assert told.states("r")[-1] == "TRACKING"
    assert worker.stats().cameras["camera"].dropped == {"bad_stamp": 2}


class Camera:
    """Frames at 10 Hz on a clock of its own, to a worker without a thread."""

    def __init__(self, **config: Any) -> None:
        self.clock, self.told = VirtualClock(measured=False), Told()
        self.model = BlobModel(links=True)
        self.worker = Worker(self.model, PipelineConfig(**config), self.told, self.clock)
        self.index = 0

    def deliver(self, frames: int = 1) -> None:
        for _ in range(frames):
            self.worker.offer(frame(self.index))
            self.turns()
            self.clock.advance(0.1)
            self.index += 1

    def silence(self, seconds: float) -> None:
        """Nothing comes; the worker wakes only when it wants to."""
        end_ns = self.clock() + round(seconds * 1e9)
        while True:
            due_ns = self.worker.next_due_ns
            if due_ns is None or due_ns > end_ns:
                break
            self.clock.set(max(due_ns, self.clock()))
            self.turns()
        self.clock.set(end_ns)
        self.index += round(seconds * 10)

    def turns(self) -> None:
        while self.worker.turn():
            pass


def test_no_request_is_answered_from_an_old_picture() -> None:
    camera = Camera(frame_timeout_s=1.0)
    camera.deliver(20)
    camera.silence(3.0)
    camera.worker.submit(Request("r", "red"))
    camera.turns()
    camera.silence(1.0)
    assert camera.told.states("r") == ["QUEUED", "BUFFERING", "FAILED"]
    assert camera.told.last("r").error_code is ErrorCode.NO_FRAMES
    assert "the last new frame came 4.1 s ago" in camera.told.last("r").message
    assert not camera.told.tracks()
    assert not camera.model.sessions
    # With the camera back all is well.
    camera.worker.submit(Request("next", "red"))
    camera.deliver()
    assert camera.told.states("next")[-1] == "TRACKING"


def test_a_request_waits_for_a_camera_that_comes_back_in_time() -> None:
    camera = Camera()
    camera.deliver(20)
    camera.silence(3.0)
    camera.worker.submit(Request("r", "red"))
    camera.turns()
    camera.silence(5.0)
    assert camera.told.states("r") == ["QUEUED", "BUFFERING"]
    camera.deliver()
    assert camera.told.states("r")[-1] == "TRACKING"
    assert camera.told.tracks()[0].header == frame(100).header


def test_tracks_of_a_camera_that_falls_silent_are_lost_until_it_sees_them_again() -> None:
    camera = Camera()
    camera.worker.submit(Request("r", "red"))
    camera.deliver(20)
    told = camera.told.tracks()[-1]
    assert [one.state.name for one in told.instances] == ["TRACKED"]
    camera.silence(10.0)
    lost = camera.told.tracks()[-1]
    assert lost.sequence == told.sequence + 1  # once
    assert lost.header == told.header
    assert [(one.state.name, one.mask.area, one.score, one.track_id) for one in lost.instances] == [
        ("LOST", 0, 0.0, told.instances[0].track_id)
    ]
    assert camera.told.states("r")[-1] == "TRACKING"
    camera.deliver()
    again = camera.told.tracks()[-1]
    assert [(one.state.name, one.track_id) for one in again.instances] == [("TRACKED", told.instances[0].track_id)]
    assert again.instances[0].mask.area


def test_an_answer_about_a_picture_that_grew_old_meanwhile_tracks_nothing_live() -> None:
    camera = Camera()
    camera.model = PacedModel(camera.model, Pace(fast_s=0.0, slow_step_s=1.0), camera.clock)
    camera.worker = Worker(camera.model, PipelineConfig(), camera.told, camera.clock)
    camera.worker.submit(Request("r", "red"))
    camera.deliver()
    assert camera.told.states("r")[-1] == "TRACKING"
    assert [one.state.name for one in camera.told.tracks()[-1].instances] == ["LOST"]


def test_what_was_lost_with_its_camera_and_is_not_seen_again_is_looked_for() -> None:
    camera = Camera(lost_after_frames=2, remove_after_frames=0)
    camera.worker.submit(Request("r", "red"))
    camera.deliver(5)
    camera.silence(4.0)
    asked = camera.model.sessions[0].requests
    assert len(asked) == 1  # not on the old picture
    camera.worker.offer(frame(camera.index, green=(1, 1, 4, 4)))
    camera.turns()
    assert len(asked) == 2


def test_a_slow_camera_is_not_silent_between_two_pictures() -> None:
    camera = Camera()
    camera.worker.submit(Request("r", "red"))
    for _ in range(6):
        camera.deliver()
        camera.silence(0.9)
    camera.silence(1.5)
    for _ in range(4):  # now one in 4 s: at first it seems silent, then that is its pace
        camera.deliver()
        camera.silence(3.9)
    states = [one.state.name for event in camera.told.tracks() for one in event.instances]
    camera.deliver()
    camera.silence(5.0)
    assert states[-1] == "TRACKED"
    assert camera.told.tracks()[-1].instances[0].state.name == "TRACKED"


@pytest.mark.parametrize("period_s", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("rate", [0.25, 1.0, 3.0, 10.0])
def test_a_recording_is_played_at_any_rate_and_paused_and_no_clock_has_jumped(period_s: float, rate: float) -> None:
    camera = Camera()
    camera.worker.submit(Request("r", "red"))
    frames = iter(range(0, 10**6, round(period_s * 10)))

    def play(count: int) -> None:
        for _ in range(count):
            camera.worker.offer(frame(next(frames)))
            camera.turns()
            camera.clock.advance(period_s / rate)

    play(12)
    camera.silence(30.0)  # paused: the next frame is one period later by its stamp
    play(12)
    camera.turns()
    dropped = camera.worker.stats().cameras["camera"].dropped
    assert not {"clock_jump", "bad_stamp", "out_of_order"} & set(dropped)
    assert camera.told.states("r")[-1] == "TRACKING"
    assert camera.told.tracks()[-1].instances[0].state.name == "TRACKED"


def test_a_recording_that_starts_over_is_a_clock_that_jumped() -> None:
    camera = Camera()

    def play() -> None:
        for index in range(20):
            camera.worker.offer(frame(index))
            camera.turns()
            camera.clock.advance(0.1)

    camera.worker.submit(Request("r", "red"))
    play()
    assert camera.told.states("r")[-1] == "TRACKING"
    play()
    assert camera.told.last("r").error_code is ErrorCode.CLOCK_JUMPED
    assert "starts over" in camera.told.last("r").message
    camera.worker.submit(Request("again", "red"))
    camera.turns()
    assert camera.told.states("again")[-1] == "TRACKING"
    assert camera.worker.stats().cameras["camera"].dropped == {"clock_jump": 1}


def test_a_picture_that_comes_again_and_again_is_an_old_one() -> None:
    camera = Camera()
    camera.worker.submit(Request("r", "red"))
    camera.deliver(5)
    for _ in range(25):
        camera.worker.offer(frame(4))
        camera.turns()
        camera.clock.advance(0.1)
    camera.turns()
    assert camera.told.tracks()[-1].instances[0].state.name == "LOST"


def test_a_simulation_that_stands_still_keeps_its_pictures_young(make: Any) -> None:
    told, simulated = Told(), VirtualClock(measured=False)
    worker = Worker(BlobModel(), PipelineConfig(), told, VirtualClock(measured=False), present=simulated)
    worker.offer(frame(0))
    worker.turn()
    worker._clock.advance(60.0)  # type: ignore[attr-defined]
    worker.submit(Request("r", "red"))
    while worker.turn():
        pass
    assert told.states("r")[-1] == "TRACKING"
    simulated.advance(3.0)
    worker.turn()
    assert told.tracks()[-1].instances[0].state.name == "LOST"


def test_a_run_with_a_silent_camera_is_repeated_from_its_journal() -> None:
    camera = Camera(frame_timeout_s=1.0)
    camera.worker.submit(Request("r", "red"))
    camera.deliver(5)
    camera.silence(4.0)
    camera.worker.submit(Request("second", "green"))
    camera.turns()
    camera.silence(2.0)
    camera.deliver(2)
    again = Told()
    engine = Engine(BlobModel(links=True), PipelineConfig(frame_timeout_s=1.0), again, camera.worker._nonce)
    requests = {"r": Request("r", "red"), "second": Request("second", "green")}
    for entry in (event for event in camera.told if isinstance(event, JournalEvent)):
        repeat(engine, entry, lambda _, stamp_ns: frame(round(stamp_ns / 1e8) - 10), requests.__getitem__)
    kept = [[event for event in events if not isinstance(event, JournalEvent)] for events in (camera.told, again)]
    assert kept[0] == kept[1]


def test_a_lost_object_is_looked_for_once_and_a_period_does_it_again(make: Any) -> None:
    model = BlobModel(links=True)
    worker, told = make(model, lost_after_frames=2, remove_after_frames=0)
    worker.offer(frame(0))
    tracking(worker, told)

    def asked() -> int:
        return len(model.sessions[0].requests)

    for index in range(1, 5):
        worker.offer(frame(index, green=(1, 1, 4, 4)))
        until(lambda at=index: told.tracks()[-1].header == frame(at).header, f"frame {index} is told")
    until(lambda: asked() == 2, "the lost object is looked for")
    assert told.states("r")[-1] == "TRACKING"
    worker.configure(PipelineConfig(lost_after_frames=2, remove_after_frames=0, look_again_s=0.02))
    until(lambda: asked() >= 5, "the request is asked again and again")
    assert len({entry.track_id for event in told.tracks() for entry in event.instances}) == 1


def test_bad_stamps_unknown_cameras_and_refused_images_are_counted_by_reason(make: Any) -> None:
    worker, _ = make()
    for index in (15, 15, 16, 13, 40, 17, 2, 3):
        worker.offer(frame(index))
    worker.offer(frame(0, camera="nobody"))
    worker.dropped("camera", "truncated")
    until(lambda: "clock_jump" in worker.stats().cameras["camera"].dropped, "the jump is counted")
    assert worker.stats().cameras["camera"].dropped == {
        "duplicate_stamp": 1,
        "out_of_order": 1,
        "bad_stamp": 1,
        "clock_jump": 1,
        "truncated": 1,
    }
    assert worker.stats().cameras["unknown"].dropped == {"unknown_camera": 1}


def test_a_stream_faster_than_the_model_does_not_starve_a_request(make: Any) -> None:
    model = BlobModel()
    worker, told = make(model, policy="queue")
    worker.offer(frame(0))
    tracking(worker, told)
    indices = iter(range(2, 10**9))
    model.faults.on_step = lambda: worker.offer(frame(next(indices)))  # there is always a fresh frame
    worker.offer(frame(1))
    until(lambda: len(told.tracks()) > 20, "the stream runs")
    tracking(worker, told, "second", "red again")
    model.faults.on_step = None


@pytest.mark.parametrize(("fast_s", "slow_step_s", "steps"), [(0.1, 0.04, 3), (0.1, 0.1, 1), (0.1, 0.5, 1)])
def test_a_request_gets_as_much_time_as_the_fast_passes_that_hold_it_up(
    fast_s: float, slow_step_s: float, steps: int
) -> None:
    clock, told = VirtualClock(measured=False), Told()
    model = PacedModel(BlobModel(), Pace(fast_s=fast_s, slow_step_s=slow_step_s), clock)
    worker = Worker(model, PipelineConfig(policy="queue"), told, clock)
    for index in range(8):
        worker.offer(frame(index))
    worker.submit(Request("first", "red"))
    while worker.turn():
        pass
    assert told.states("first")[-1] == "TRACKING"
    worker.submit(Request("second", "red again"))
    taken: list[list[str]] = []
    for index in count(8):
        if told.states("second")[-1] == "TRACKING":
            break
        worker.offer(frame(index))  # there is always a fresh frame
        end = len(told)
        assert worker.turn()
        taken.append([event.op for event in told[end:] if isinstance(event, JournalEvent) and event.op != "ingest"])
    turns = taken[:-1]
    assert len(turns) >= 2
    assert turns.pop(0) == ["fast", "slow", *["slow"] * steps]  # the first begins the request, which takes no time
    assert all(ops == ["fast", *["slow"] * steps] for ops in turns)


def test_a_flood_of_commands_keeps_no_trace_of_those_that_are_over(make: Any) -> None:
    gate = threading.Event()
    model = BlobModel(hold=gate)
    ended: dict[str, int] = {}

    def sink(event: Event) -> None:
        if isinstance(event, StatusEvent) and event.state.final:
            ended[event.state.name] = ended.get(event.state.name, 0) + 1

    worker, _ = make(model, sink, history_requests=100)
    worker.offer(frame(0))
    worker.submit(Request("first", "red"))
    assert model.faults.entered.wait(10)
    for number in range(10_000):
        worker.submit(Request(f"r{number}", "red", timeout_s=100.0))
    assert ended == {"SUPERSEDED": 10_000}
    assert worker.active == ("r9999",)
    engine = worker._engine
    assert len(worker._timers) == len(worker._times) == len(engine._requests) == 1
    assert len(engine._requests._used_ids) <= 101
    assert len(engine._requests.retired) == 1
    assert engine._outbox.empty
    gate.set()


def test_a_model_that_raises_fails_the_request_and_the_worker_goes_on(make: Any) -> None:
    model = BlobModel(slow=RuntimeError("bad weights"))
    worker, told = make(model)
    worker.offer(frame(0))
    worker.submit(Request("a", "red"))
    until(lambda: told.states("a")[-1] == "FAILED", "a failed")
    assert told.last("a").error_code == ErrorCode.MODEL_FAILED
    model.faults.slow = None
    tracking(worker, told, "b")
    model.faults.fast = RuntimeError("device lost")
    worker.offer(frame(1))
    until(lambda: told.states("b")[-1] == "FAILED", "b failed")
    model.faults.fast = None
    tracking(worker, told, "c")
    assert worker.stats().model_errors == 2
    assert "device lost" in worker.stats().last_error
    assert worker.stats().requests == {"FAILED": 2}


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_model_that_wants_to_end_the_process_fails_its_request(make: Any, error: BaseException) -> None:
    def leave() -> None:
        raise error

    model = BlobModel(on_last=leave)
    worker, told = make(model)
    worker.offer(frame(0))
    worker.submit(Request("a", "red"))
    until(lambda: told.states("a")[-1] == "FAILED", "a failed")
    assert told.last("a").error_code == ErrorCode.MODEL_FAILED
    assert type(error).__name__ in told.last("a").message
    model.faults.on_last = None
    tracking(worker, told, "b")
    model.faults.on_step = leave
    worker.offer(frame(1))
    until(lambda: told.states("b")[-1] == "FAILED", "b failed")
    model.faults.on_step = None
    tracking(worker, told, "c")


@pytest.mark.parametrize("way", ["answer", "tracks"])
def test_scores_that_are_no_numbers_fail_the_request(make: Any, way: str) -> None:
    model = BlobModel()
    worker, told = make(model)
    worker.offer(frame(0))
    if way == "answer":
        model.faults.result = lambda result: replace(result, objects=(replace(result.objects[0], score=math.nan),))
        worker.submit(Request("a", "red"))
    else:
        tracking(worker, told, "a")
        model.faults.present_score = math.nan
        worker.offer(frame(1))
    until(lambda: told.states("a")[-1] == "FAILED", "a failed")
    assert told.last("a").error_code == ErrorCode.MODEL_FAILED
    assert "wanted finite numbers" in told.last("a").message


def test_requests_end_in_time_while_the_model_hangs(make: Any) -> None:
    gate = threading.Event()
    model = BlobModel(hold_last=gate)
    worker, told = make(model)
    assert worker.watch() is None
    worker.offer(frame(0))
    worker.submit(Request("r", "red", timeout_s=0.01))
    assert model.faults.entered.wait(10)
    until(lambda: worker.watch() is not None and told.states("r")[-1] == "FAILED", "its time is over")
    assert told.last("r").error_code == ErrorCode.TIMEOUT
    call = worker.watch()
    assert call is not None
    assert (call.stage, call.age_s > 0.0) == ("slow", True)
    gate.set()
    until(lambda: worker.watch() is None, "the model to come back")
    tracking(worker, told, "next")


def test_a_model_that_does_not_come_back_is_given_up_with_all_that_rests_on_it(make: Any) -> None:
    gate = threading.Event()
    model = BlobModel(hold_last=gate)
    worker, told = make(model, policy="queue")
    worker.offer(frame(0))
    worker.submit(Request("a", "red"))
    worker.submit(Request("b", "blue"))
    assert model.faults.entered.wait(10)
    call = worker.watch()
    assert call is not None
    worker.give_up(call)
    for name in ("a", "b"):
        assert told.last(name).error_code == ErrorCode.MODEL_FAILED
        assert "model_patience_s" in told.last(name).message
    worker.submit(Request("c", "red"))
    assert told.last("c").error_code == ErrorCode.MODEL_NOT_READY
    assert worker.alive
    before = len(told)
    gate.set()
    until(lambda: not worker.alive, "the thread to end by itself")
    assert len(told) == before
    assert worker.stats().model_errors >= 1


@pytest.mark.parametrize("hangs", [False, True])
def test_pictures_are_let_go_with_the_end_and_not_when_cycles_are_looked_for(make: Any, hangs: bool) -> None:
    gate = threading.Event()
    worker, told = make(BlobModel(hold=gate))
    shown = [frame(index) for index in range(20)]
    pictures = [weakref.ref(one) for one in shown]
    for one in shown:
        worker.offer(one)
    worker.submit(Request("r", "red"))
    del shown, one
    assert worker._engine._model.faults.entered.wait(10)
    gc.collect()
    gc.disable()
    try:
        assert any(picture() is not None for picture in pictures)
        if not hangs:
            gate.set()
            until(lambda: told.states("r")[-1] == "TRACKING", "an answer")
        assert worker.close(0.1 if hangs else 10.0) is not hangs
        gate.set()
        until(lambda: not worker.alive, "the thread to end")
        assert [picture() for picture in pictures if picture() is not None] == []
    finally:
        gc.enable()


def test_a_sink_that_raises_is_counted_and_stops_nothing(make: Any) -> None:
    told = Told()

    def sink(event: Event) -> None:
        told(event)
        raise OSError("no space left")

    worker, _ = make(sink=sink)
    worker.offer(frame(0))
    tracking(worker, told)
    worker.stop()
    assert told.states("r")[-1] == "CANCELED"
    assert worker.stats().sink_errors >= len(told) - 1
    assert "no space left" in worker.stats().last_error


def test_a_request_waits_for_a_first_frame_only_so_long(make: Any) -> None:
    worker, told = make(frame_timeout_s=0.05)
    worker.submit(Request("r", "red"))
    until(lambda: told.states("r")[-1] == "FAILED", "it gave up")
    assert told.last("r").error_code == ErrorCode.NO_FRAMES
    worker.offer(frame(0))
    tracking(worker, told, "s")
    time.sleep(0.1)
    assert told.states("s")[-1] == "TRACKING"  # that limit is for the first frame, not for tracking


def test_a_requests_own_timeout_ends_its_tracking_as_a_success(make: Any) -> None:
    worker, told = make()
    worker.offer(frame(0))
    worker.submit(Request("r", "red", timeout_s=0.2))
    until(lambda: told.states("r")[-1] == "SUCCEEDED", "time is over")
    assert told.states("r")[-2] == "TRACKING"


def test_a_timeout_before_the_answer_is_a_failure_told_while_the_model_computes(make: Any) -> None:
    gate = threading.Event()
    model = BlobModel(hold_last=gate)
    worker, told = make(model)
    worker.offer(frame(0))
    worker.submit(Request("r", "red", timeout_s=0.05))
    assert model.faults.entered.wait(10)
    time.sleep(0.06)
    gate.set()
    until(lambda: told.states("r")[-1] in ("FAILED", "SUCCEEDED"), "time is over")


def test_closing_ends_every_request_and_later_commands_are_refused(make: Any) -> None:
    worker, told = make(policy="queue")
    worker.offer(frame(0))
    tracking(worker, told)
    worker.submit(Request("s", "green"))
    assert worker.close()
    assert told.states("r")[-1] == "CANCELED"
    assert told.states("s")[-1] in ("CANCELED", "NO_TARGET")
    worker.submit(Request("t", "red"))
    assert told.last("t").error_code == ErrorCode.MODEL_NOT_READY
    assert worker.stats().state == "closed"
    with pytest.raises(RuntimeError, match="make a new one"):
        worker.start()


def test_closing_does_not_wait_for_ever_for_a_model_that_hangs(make: Any) -> None:
    gate = threading.Event()
    model = BlobModel(hold=gate)
    worker, told = make(model)
    worker.offer(frame(0))
    worker.submit(Request("r", "red"))
    assert model.faults.entered.wait(10)
    assert not worker.close(timeout_s=0.05)
    assert told.states("r")[-1] == "CANCELED"
    gate.set()
    assert worker.close()


def test_two_workers_never_give_the_same_id(make: Any) -> None:
    ids = []
    for _ in range(2):
        worker, told = make()
        worker.offer(frame(0))
        tracking(worker, told)
        ids += told.answers()[-1].seg_track_ids
        ids.append(worker.submit(Request("", "red")))
    assert len(set(ids)) == 4


def test_stages_are_timed(make: Any) -> None:
    worker, told = make()
    worker.offer(frame(0))
    tracking(worker, told)
    worker.offer(frame(1))
    until(lambda: "frame" in worker.stats().latency, "a frame was timed")
    latency = worker.stats().latency
    assert set(latency) == {"slow_step", "first_mask", "answer", "fast", "frame"}
    assert all(0 < stage.p50_ms <= stage.p95_ms for stage in latency.values())
    assert latency["slow_step"].count == sum(event.op == "slow" for event in told.journal())


def test_quantiles_are_values_that_occurred() -> None:
    assert quantile([], 0.5) == 0.0
    assert [quantile(range(1, 101), share) for share in (0.5, 0.95, 1.0)] == [50, 95, 100]
    assert quantile([7.0], 0.95) == 7.0


@pytest.mark.parametrize("policy", ["preempt", "queue", "reject"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_live_run_with_everything_in_it_repeats_from_its_journal(policy: str, seed: int) -> None:
    config = PipelineConfig(
        cameras=("camera", "wrist"), clip_frames=6, policy=policy, queue_limit=3, lost_after_frames=2,
        remove_after_frames=5, max_objects=5,
    )  # fmt: skip
    told = Told()
    worker = Worker(BlobModel(sleep_s=0.0005), config, told, nonce="n")
    frames: dict[tuple[str, int], Frame] = {}
    requests: dict[str, Request] = {}
    rng = random.Random(seed)

    def cameras() -> None:
        for index in range(150):
            for camera in config.cameras:
                hidden = (index // 10) % 3 == 2
                boxes = {} if hidden else {"red": (2 + index % 40, 10, 12, 12), "green": (30, 30, 8, 8)}
                offered = frame(index, _picture(**boxes), camera)
                frames[camera, offered.header.stamp_ns] = offered
                worker.offer(offered)
            time.sleep(0.001)

    def operator() -> None:
        for number in range(60):
            name = f"r{number}"
            text = rng.choice(["red", "red and green", "blue", "stop", "", "green please"])
            action = rng.choice([Action.SEGMENT, Action.SEGMENT, Action.FOLLOW_UP])
            camera = rng.choice(["camera", "wrist", "nowhere", ""])
            requests[name] = Request(
                name, text, action, camera, conversation_id=rng.choice("xy"), track=rng.random() < 0.7,
                timeout_s=rng.choice([0.0, 0.02, 5.0]),
            )  # fmt: skip
            worker.submit(requests[name])
            if rng.random() < 0.3:
                worker.stop(rng.choice(["", name, f"r{number - 1}"]))
            if rng.random() < 0.05:
                worker.reset()
            time.sleep(rng.choice([0.0, 0.002, 0.006]))

    worker.start()
    threads = [threading.Thread(target=cameras), threading.Thread(target=operator)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.close()

    again = Told()
    engine = Engine(BlobModel(), config, again, "n")
    for entry in told.journal():
        repeat(engine, entry, lambda camera, stamp: frames[camera, stamp], requests.__getitem__)
    assert worker.stats().internal_errors == 0
    assert [event for event, its in zip(told, again, strict=False) if event != its][:1] == []
    assert len(told) == len(again)
    assert {"ingest", "submit", "slow"} <= {event.op for event in told.journal()}
    _assert_nothing_follows_an_end(told)


def _picture(**boxes: tuple[int, int, int, int]) -> Any:
    from fakes import painted

    return painted(**boxes)


def _assert_nothing_follows_an_end(told: Told) -> None:
    over: set[str] = set()
    for event in told:
        if isinstance(event, JournalEvent):
            continue
        assert not any(carries(event, name) for name in over if len(over) < 200), event
        if isinstance(event, StatusEvent) and event.state.final:
            over.add(event.request_id)
    assert over


def test_a_journal_with_an_unknown_operation_is_refused() -> None:
    engine = Engine(BlobModel(), PipelineConfig(), Told(), "n")
    with pytest.raises(JournalError, match="'skip', wanted ingest"):
        repeat(engine, JournalEvent(0, "skip"), lambda *_: frame(0), lambda _: Request("r", "red"))


def test_states_are_told_in_the_order_of_the_requests_life(make: Any) -> None:
    worker, told = make()
    worker.offer(frame(0))
    tracking(worker, told)
    worker.stop()
    assert [RequestState[name] for name in told.states("r")] == [
        RequestState.QUEUED,
        RequestState.BUFFERING,
        RequestState.DECODING,
        RequestState.SEGMENTING,
        RequestState.TRACKING,
        RequestState.CANCELED,
    ]
