"""How soon a stop is answered while the model computes, and when the computation really ends.

Taken on the worker as the node runs it, with frames of a bag coming in at 10 Hz; DDS adds its way there and back.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bench.tracking import CAMERA, PHRASES, BenchError, EndlessStream
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.events import Event, StatusEvent
from villa_ros.pipeline.request import Request, RequestState
from villa_ros.pipeline.stats import quantile
from villa_ros.pipeline.worker import Worker

if TYPE_CHECKING:
    from villa.interface import SegmentationModel

AIM_MS = 100.0
_PERIOD_S = 0.1
_PATIENCE_S = 120.0
_LATEST = 0.9  # of the time that an answer takes: when a stop comes at last


@dataclass(frozen=True)
class Stops:
    """Times in ms from a stop on, one for each request that it found at work."""

    told_ms: tuple[float, ...]  # to CANCELED
    ended_ms: tuple[float, ...]  # to the end of the step that was under way, where one was

    def text(self) -> str:
        """For people."""
        if not self.told_ms:
            return "every request was answered before its stop: nothing to tell"
        reached = "reached" if max(self.told_ms) <= AIM_MS else "not reached"
        ended = f"the computation ended after {_range(self.ended_ms)}" if self.ended_ms else "none hit a computation"
        return (
            f"{len(self.told_ms)} stops: CANCELED out after {_range(self.told_ms)} "
            f"(aim at most {AIM_MS:g} ms: {reached}); {ended}"
        )


def _range(values: tuple[float, ...]) -> str:
    return f"{quantile(values, 0.5):.1f} ms median, {max(values):.1f} ms worst"


class _Ear:
    """Hears states, with the time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._when: dict[tuple[str, RequestState], int] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, StatusEvent):
            with self._changed:
                self._when[event.request_id, event.state] = time.monotonic_ns()
                self._changed.notify_all()

    def when(self, request_id: str, state: RequestState) -> int:
        """Wait for this state; returns when it was told."""
        with self._changed:
            if not self._changed.wait_for(lambda: (request_id, state) in self._when, _PATIENCE_S):
                raise BenchError(f"request {request_id} was never {state.name}: is the machine too busy?")
            return self._when[request_id, state]


def measure(
    bag: Path,
    model: SegmentationModel,
    trials: int = 20,
    progress: Callable[[Iterable[int], int | None, str], Iterable[int]] = lambda items, *_: items,
) -> Stops:
    """Stop `trials` requests, each at a random moment of its computation.

    Raises:
        BenchError: a request never began.
        villa_ros.bags.reader.BagError: that is no bag.
    """
    ear, stream, done = _Ear(), EndlessStream(bag), threading.Event()
    worker = Worker(model, PipelineConfig(cameras=(CAMERA,)), ear)

    def shoot() -> None:
        while not done.wait(_PERIOD_S):
            worker.offer(next(stream))

    camera = threading.Thread(target=shoot, daemon=True)
    rng, told, ended = random.Random(0), [], []
    worker.start()
    camera.start()
    try:
        worker.submit(Request("whole", PHRASES[0], track=False))
        began_ns = ear.when("whole", RequestState.DECODING)
        # The words of this one may be "there is none": then nothing is segmented.
        while worker.active:
            time.sleep(_PERIOD_S / 10)
        whole_s = (time.monotonic_ns() - began_ns) / 1e9
        for number in progress(range(trials), trials, "stopping"):
            name = f"stop{number}"
            worker.submit(Request(name, PHRASES[number % len(PHRASES)]))
            ear.when(name, RequestState.DECODING)
            time.sleep(rng.uniform(0.0, _LATEST) * whole_s)
            before, stopped_ns = worker.stats().latency.get("stop_to_end"), time.monotonic_ns()
            if not worker.stop(name):
                continue  # it was answered before
            told.append((ear.when(name, RequestState.CANCELED) - stopped_ns) / 1e6)
            time.sleep(2 * _PERIOD_S)
            after = worker.stats().latency.get("stop_to_end")
            if after is not None and (before is None or after.count > before.count):
                ended.append(after.last_ms)
    finally:
        done.set()
        camera.join()
        worker.close()
    return Stops(tuple(told), tuple(ended))
