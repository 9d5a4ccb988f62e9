"""How fast the model is on this machine: the fast pass over a stream, and the way from a request to its first mask.

Both are taken on the pipeline's engine, JPEG decoding included, DDS excluded; `villa demo` measures it all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count, cycle
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

from villa_ros.bags.reader import Bag
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import Event, TrackletsEvent, TracksEvent, TrackState
from villa_ros.pipeline.request import Request
from villa_ros.replay.driver import think

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.frame import Frame

AIM_FPS = 12.0
AIM_FIRST_MASK_S = 1.5
CAMERA = "camera"
# Plain requests for what stands on most tables of the training scenes and in the sample.
PHRASES = (
    "the red mug",
    "the blue mug",
    "the cereal box",
    "the hammer",
    "the milk carton",
    "the bread",
    "the ball",
    "the can",
)
_PERIOD_NS = 100_000_000
_CLIP_FRAMES = 20  # frames before the first request
_FIRST_MASKS = 5
_REPORT = "bench.json"

Progress = Callable[[Iterable[int], "int | None", str], Iterable[int]]


class BenchError(RuntimeError):
    """The model did not do what is to be measured."""


@dataclass(frozen=True)
class Bench:
    """What was measured."""

    objects: int
    width: int
    height: int
    frames: int
    frames_per_s: float
    frame_ms_p50: float
    frame_ms_p95: float
    first_mask_s_median: float
    first_mask_s_worst: float

    def text(self) -> str:
        """For people. Whether an aim is reached depends on the machine and its other work: told, no failure."""
        return (
            f"fast pass, {self.width}x{self.height}, {self.objects} objects: {self.frames_per_s:.1f} frames/s "
            f"({_aim(self.frames_per_s >= AIM_FPS, f'at least {AIM_FPS:g}')}), "
            f"{self.frame_ms_p50:.0f} ms median, {self.frame_ms_p95:.0f} ms at 95 %\n"
            f"first mask: {self.first_mask_s_median:.2f} s median "
            f"({_aim(self.first_mask_s_median <= AIM_FIRST_MASK_S, f'at most {AIM_FIRST_MASK_S:g}')}), "
            f"{self.first_mask_s_worst:.2f} s worst"
        )


def _aim(reached: bool, wanted: str) -> str:
    return f"aim {wanted}: {'reached' if reached else 'not reached'}"


class EndlessStream:
    """The frames of a bag over and over, under stamps that go on."""

    def __init__(self, bag_path: Path) -> None:
        with Bag(bag_path) as bag:
            self._frames = list(bag.frames(bag.choose_image_topic(), CAMERA))
        if not self._frames:
            raise BenchError(f"{bag_path} holds no usable frame")
        self._numbers = count(1)
        self._next = cycle(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        frame = next(self._next)
        return replace(frame, header=replace(frame.header, stamp_ns=next(self._numbers) * _PERIOD_NS))


class Tracker:
    """An engine under policy `queue`, so that objects of several requests are tracked side by side."""

    def __init__(self, model: SegmentationModel, stream: EndlessStream) -> None:
        self.engine = Engine(model, PipelineConfig(cameras=(CAMERA,), policy="queue"), self._take, "bench")
        self.stream = stream
        self.live: dict[str, str] = {}  # track_id -> request_id
        self.answered_ns: int | None = None
        self._ids = count(1)
        self._phrases = cycle(PHRASES)

    def _take(self, event: Event) -> None:
        if isinstance(event, TrackletsEvent):
            self.answered_ns = time.perf_counter_ns()
        elif isinstance(event, TracksEvent):
            self.live = {i.track_id: i.request_id for i in event.instances if i.state != TrackState.REMOVED}

    def frame(self) -> bool:
        """One frame of the stream: ring, then fast pass; False when nothing is tracked."""
        frame = next(self.stream)
        self.engine.ingest(frame)
        return self.engine.fast(CAMERA, frame.header.time_ns)

    def ask(self, track: bool = True) -> float | None:
        """Make the next request and run it to its answer; seconds until its masks were out, None without any."""
        self.answered_ns = None
        began_ns = time.perf_counter_ns()
        self.engine.submit(Request(f"bench-{next(self._ids)}", next(self._phrases), camera=CAMERA, track=track))
        think(self.engine)
        return None if self.answered_ns is None else (self.answered_ns - began_ns) / 1e9

    def track_at_least(self, wanted: int) -> None:
        """Ask until so many objects are tracked.

        Raises:
            BenchError: no phrase helps any more.
        """
        for _ in range(2 * len(PHRASES)):
            if len(self.live) >= wanted:
                return
            self.ask()
            self.frame()
        raise BenchError(f"the model tracks {len(self.live)} objects of {PHRASES}; wanted {wanted} to measure with")


def measure(
    bag_path: Path,
    model: SegmentationModel,
    folder: Path,
    *,
    objects: int = 3,
    frames: int = 150,
    progress: Progress = lambda items, count, doing: items,
) -> Bench:
    """Measure, and write `bench.json` into `folder`.

    Raises:
        BagError: the bag cannot be read.
        BenchError: the model does not find as many objects.
    """
    tracker = Tracker(model, EndlessStream(bag_path))
    for _ in range(_CLIP_FRAMES):
        tracker.frame()
    tracker.track_at_least(objects)
    tracked, spent_ms = len(tracker.live), []
    for _ in progress(range(frames), frames, "fast pass"):
        began_ns = time.perf_counter_ns()
        tracker.frame()
        spent_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
    tracker.engine.stop()
    first: list[float] = []
    for _ in progress(range(2 * _FIRST_MASKS), 2 * _FIRST_MASKS, "first mask"):
        for _ in range(_CLIP_FRAMES):
            tracker.frame()
        took_s = tracker.ask(track=False)
        if took_s is not None:
            first.append(took_s)
        if len(first) == _FIRST_MASKS:
            break
    if not first:
        raise BenchError("no request of the benchmark got a mask; is this checkpoint trained?")
    size = next(tracker.stream)
    result = Bench(
        objects=tracked,
        width=size.width,
        height=size.height,
        frames=frames,
        frames_per_s=1e3 * frames / sum(spent_ms),
        frame_ms_p50=median(spent_ms),
        frame_ms_p95=quantiles(spent_ms, n=20)[-1],
        first_mask_s_median=median(first),
        first_mask_s_worst=max(first),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _REPORT).write_text(json.dumps(asdict(result), indent=2), "utf-8")
    return result
