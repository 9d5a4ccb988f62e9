"""Runs the recordings of a scenario through the pipeline, without DDS, and scores what comes out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.cameras import faults_of, frames_together
from villa_ros.bags.reader import Bag, BagError
from villa_ros.bags.run import Run
from villa_ros.bags.writer import BagWriter, EventBag
from villa_ros.conversions.events import MappingError
from villa_ros.evaluation.ground_truth import TruthError
from villa_ros.evaluation.recording_inputs import ASKING, Opened, RequestError, open_bag, window_of
from villa_ros.evaluation.request_scores import score_request
from villa_ros.evaluation.results import Asked, BagResult, Fault, Timing
from villa_ros.evaluation.scenario import BagSpec, Scenario
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import Event, JournalEvent, TrackletsEvent, TracksEvent
from villa_ros.pipeline.request import Request
from villa_ros.pipeline.worker import Worker
from villa_ros.replay.driver import drive
from villa_ros.replay.run_watch import RunLog
from villa_ros.replay.virtual_clock import PacedModel, VirtualClock, drive_live

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.frame import Frame

_NONCE = "eval"  # the same input gives the same ids

Progress = Callable[[str, int, int], None]  # name of the bag, frames done, frames in all


def silent(bag: str, done: int, count: int) -> None:
    """No progress bar."""


def run_bag(
    spec: BagSpec, scenario: Scenario, model: SegmentationModel, folder: Path, progress: Progress = silent
) -> BagResult:
    """One recording: what it holds, run and scored. What is wrong with it is told in the result, never raised.

    Writes `folder/NAME/run/run.mcap`, on the recording's own clock.
    """
    try:
        return _run_bag(spec, scenario, model, folder, progress)
    except (BagError, MappingError, TruthError, RequestError, OSError) as error:
        return failed_bag(spec, str(error))


def failed_bag(spec: BagSpec, message: str) -> BagResult:
    """The result of a recording of which nothing can be said but why."""
    return BagResult(spec.name, str(spec.path), spec.name, faults=(Fault(str(spec.path), message),), failed=True)


def _run_bag(
    spec: BagSpec, scenario: Scenario, model: SegmentationModel, folder: Path, progress: Progress
) -> BagResult:
    began_s = time.perf_counter()
    opened = open_bag(spec)
    taken = _Taken(opened)
    with ExitStack() as stack:
        writer = stack.enter_context(BagWriter(folder / spec.name / "run"))
        log = _Log(RunLog(EventBag(writer)))
        bags = {camera: stack.enter_context(Bag(spec.path)) for camera in opened.cameras}
        frames = frames_together(bags, opened.cameras)
        count = sum(len(stamps) for stamps in opened.stamps.values())
        steps = _steps(scenario, opened, model, log, taken.noted(frames))
        for done, _ in enumerate(steps, 1):
            progress(spec.name, done, count)
        bad = {camera: bag.bad_images for camera, bag in bags.items()}
        lost = faults_of(bags)
    if not any(taken.sizes.values()):
        seen = ", ".join(f"{n} x {reason}" for counts in bad.values() for reason, n in counts.items()) or "no message"
        raise BagError(f"{spec.path}: {', '.join(opened.cameras.values())} holds no usable frame: {seen}")
    asked = score_run(opened, log.run, taken.sizes, scenario, first_masks=log.first_masks)
    dropped = log.dropped(opened.cameras, bad)
    return BagResult(
        name=spec.name,
        bag=str(spec.path),
        folder=spec.name,
        frames=taken.counts,
        dropped=dropped,
        start_ns=min(min(seen) for seen in taken.sizes.values() if seen),
        end_ns=max(max(seen) for seen in taken.sizes.values() if seen),
        requests=tuple(asked),
        faults=(*(Fault(str(spec.path), fault) for fault in lost), *taken.faults(spec, bad)),
        timing=Timing(tuple(log.latencies), tuple(log.first_masks.values()), time.perf_counter() - began_s),
    )


def _steps(
    scenario: Scenario, opened: Opened, model: SegmentationModel, log: _Log, frames: Iterator[Frame]
) -> Iterator[Frame]:
    """The whole run, a frame at a time."""
    config = scenario.config(tuple(opened.cameras))
    requests = opened.requests
    if scenario.mode == "every-frame":
        engine = Engine(model, config, log.by_stamps, _NONCE)
        return drive(engine, frames, requests, log.command, log.took)
    clock = VirtualClock(measured=scenario.pace is None)
    paced = model if scenario.pace is None else PacedModel(model, scenario.pace, clock)
    log.clock = clock
    worker = log.worker = Worker(paced, config, log.by_clock, clock, _NONCE)
    for request in requests:
        log.expect(request)
    return drive_live(worker, clock, frames, requests)


class _Log:
    """Where events go: to a bag, on the recording's clock; and what is measured on the way."""

    def __init__(self, log: RunLog) -> None:
        self.latencies: list[float] = []
        self.first_masks: dict[str, float] = {}
        self.clock: VirtualClock | None = None
        self.worker: Worker | None = None
        self._log = log
        self._now_ns = 0
        self._step = ""  # of the pipeline, that the coming events are told by
        self._asked: dict[str, tuple[Request, float]] = {}  # with the time, by our own clock, at which it was made

    @property
    def run(self) -> Run:
        """Everything so far."""
        return self._log.run

    def by_stamps(self, event: Event) -> None:
        """An event of the engine: stamped with the frame that came in last."""
        if isinstance(event, JournalEvent) and event.op == "ingest":
            self._now_ns = event.stamp_ns
        self._log.event(event, self._now_ns)
        if isinstance(event, (TrackletsEvent, TracksEvent)):
            for request_id in _shown(event):
                if request_id in self._asked and request_id not in self.first_masks:
                    self.first_masks[request_id] = time.perf_counter() - self._asked[request_id][1]

    def by_clock(self, event: Event) -> None:
        """An event of a worker: stamped with what its clock says."""
        assert self.clock is not None
        now_ns = self.clock()
        self._log.event(event, now_ns)
        if isinstance(event, JournalEvent):
            self._step = event.op
        if isinstance(event, TracksEvent) and self._step == "fast":
            self.latencies.append((now_ns - event.header.time_ns) / 1e9)
        if isinstance(event, (TrackletsEvent, TracksEvent)):
            for request_id in _shown(event):
                if request_id in self._asked and request_id not in self.first_masks:
                    self.first_masks[request_id] = (now_ns - self._asked[request_id][0].stamp_ns) / 1e9

    def command(self, request: Request) -> None:
        """A request is about to be made."""
        self._asked[request.request_id] = (request, time.perf_counter())
        self._log.command(request, self._now_ns)

    def expect(self, request: Request) -> None:
        """A request that a worker will be given at its time."""
        self._asked[request.request_id] = (request, 0.0)
        self._log.command(request, request.stamp_ns)

    def took(self, frame: Frame, seconds: float) -> None:
        """A fast pass took that long."""
        self.latencies.append(seconds)

    def dropped(self, cameras: Mapping[str, str], bad: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
        """Frames that were left out, by camera and reason."""
        found = {camera: {f"bad image: {reason}": n for reason, n in bad[camera].items()} for camera in cameras}
        if self.worker is not None:
            for camera, stats in self.worker.stats().cameras.items():
                found[camera] |= dict(stats.dropped)
        return {camera: reasons for camera, reasons in found.items() if reasons}


def _shown(event: TrackletsEvent | TracksEvent) -> set[str]:
    """Requests of which an event shows a mask."""
    if isinstance(event, TrackletsEvent):
        return {event.request_id} if any(mask.area for one in event.tracklets for mask in one.masks) else set()
    return {instance.request_id for instance in event.instances if instance.mask.area}


class _Taken:
    """What came in: sizes of frames, and how many."""

    def __init__(self, opened: Opened) -> None:
        self.sizes: dict[str, dict[int, tuple[int, int]]] = {camera: {} for camera in opened.cameras}
        self.counts: dict[str, int] = dict.fromkeys(opened.cameras, 0)
        self._newest: dict[str, int] = {}
        self._back: dict[str, list[int]] = {camera: [] for camera in opened.cameras}

    def noted(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            stamp_ns, camera = frame.header.time_ns, frame.camera
            if stamp_ns <= self._newest.get(camera, -1):
                self._back[camera].append(stamp_ns)
            self._newest[camera] = stamp_ns
            self.sizes[camera][stamp_ns] = (frame.height, frame.width)
            self.counts[camera] += 1
            yield frame

    def faults(self, spec: BagSpec, bad: Mapping[str, Counter[str]]) -> Iterator[Fault]:
        for camera, back in self._back.items():
            if back:
                message = f"{len(back)} frames are out of order or twice there, more than sorting by stamp mends"
                yield Fault(str(spec.path), message, camera, back[0])
        for camera, reasons in bad.items():
            for reason, count in reasons.items():
                yield Fault(str(spec.path), f"{count} images cannot be used: {reason}", camera)


def score_run(
    opened: Opened,
    run: Run,
    sizes: Mapping[str, Mapping[int, tuple[int, int]]],
    scenario: Scenario,
    *,
    first_masks: Mapping[str, float],
    live: bool = False,
) -> list[Asked]:
    """Every request of a run against what is true. A live run drops frames, whatever the scenario's mode is.

    Raises:
        TruthError: masks of another size than the images.
    """
    asking = [request for request in opened.requests if request.action in ASKING]
    found = []
    for request in asking:
        truth = opened.truths.get(request.request_id)
        window = window_of(request, opened, truth, scenario.settings.get("policy", "preempt"))
        seen = sizes.get(request.camera, {})
        window = tuple(stamp for stamp in window if stamp in seen)
        found.append(
            score_request(
                request,
                run,
                window,
                truth,
                seen,
                opened.cameras[request.camera],
                every_frame=scenario.mode == "every-frame" and not live,
                first_mask_s=first_masks.get(request.request_id),
                expected=opened.expected.get(request.request_id),
            )
        )
    return found
