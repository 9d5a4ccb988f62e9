"""A bag in; the pipeline that the node runs, without DDS and without a clock; a bag and pictures out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.reader import COMMAND, Bag, BagError
from villa_ros.bags.run import Run, read_run
from villa_ros.bags.writer import BagWriter, EventBag
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import Event, JournalEvent, TracksEvent
from villa_ros.pipeline.request import Request
from villa_ros.replay.driver import drive
from villa_ros.replay.journal_replay import FrameFinder, check_journal, repeat_run
from villa_ros.replay.track_comparison import Comparison, compare
from villa_ros.video.overlay_video import OverlayWriter, draw_run

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.frame import Frame

# The same bag and requests give the same ids, so nothing about the process may be in them.
_NONCE = "replay"

# (frames, how many, what is being done) -> the same frames: where a progress bar goes
Progress = Callable[[Iterable["Frame"], int, str], Iterable["Frame"]]


def quietly(frames: Iterable[Frame], count: int, doing: str) -> Iterable[Frame]:
    """No progress bar."""
    return frames


@dataclass(frozen=True)
class Replayed:
    """What a replay wrote, and what is in it."""

    bag: Path
    overlay: Path
    contact_sheet: Path
    run: Run
    frames: int
    bad_images: Counter[str]


class _EventLog:
    """The engine's sink: everything goes to the bag, stamped with the frame that came in last."""

    def __init__(self, bag: EventBag) -> None:
        self.now_ns = 0
        self._bag = bag

    def __call__(self, event: Event) -> None:
        if isinstance(event, JournalEvent) and event.op == "ingest":
            self.now_ns = event.stamp_ns
        self._bag.event(event, self.now_ns)

    def command(self, request: Request) -> None:
        self._bag.command(request, self.now_ns)


def timed_requests(
    bag_path: Path,
    texts: Sequence[str],
    at_s: Sequence[float],
    camera_topic: str | None = None,
    camera: str = "camera",
) -> list[Request]:
    """Requests for these words, so many seconds after the first frame: one time for each, or one for all.

    Raises:
        BagError: no such topic.
    """
    with Bag(bag_path) as bag:
        first_ns, last_ns = bag.stamp_range(bag.choose_image_topic(camera_topic))
    times = list(at_s) if len(at_s) == len(texts) else [at_s[0]] * len(texts)
    return [
        Request(f"request-{place}", text, camera=camera, stamp_ns=min(last_ns, first_ns + round(at * 1e9)))
        for place, (text, at) in enumerate(zip(texts, times, strict=True), 1)
    ]


def recorded_requests(
    bag_path: Path, command_topic: str | None = None, camera: str = "camera", *, needed: bool = True
) -> list[Request]:
    """The commands that the bag holds; `camera` stands in where a command names none.

    Raises:
        BagError: the bag holds no commands though they are `needed`, or on several topics and none was chosen.
    """
    with Bag(bag_path) as bag:
        if command_topic is None and not bag.topics_of(COMMAND):
            if not needed:
                return []
            raise BagError(f"{bag_path} holds no commands; say what to look for with --command TEXT")
        topic = bag.choose_topic(command_topic, (COMMAND,), "command", "--command-topic")
        return bag.commands(topic, camera)


def replay(
    bag_path: Path,
    requests: Sequence[Request],
    model: SegmentationModel,
    folder: Path,
    *,
    camera_topic: str | None = None,
    camera: str = "camera",
    config: PipelineConfig | None = None,
    progress: Progress = quietly,
    pictures: bool = True,
) -> Replayed:
    """Run all frames of the bag and these requests through the pipeline; write bag and pictures into `folder`.

    Raises:
        BagError: the bag cannot be read, lacks the topic, or holds no usable frame; or nothing can be
        written.
    """
    with ExitStack() as stack:
        bag = stack.enter_context(Bag(bag_path))
        topic = bag.choose_image_topic(camera_topic)
        writer = stack.enter_context(BagWriter(folder / "run"))
        log = _EventLog(EventBag(writer))
        engine = Engine(model, config or PipelineConfig(cameras=(camera,)), log, _NONCE)
        frames = 0
        given = drive(engine, bag.frames(topic, camera), requests, log.command)
        for _ in progress(given, bag.count(topic), "segmenting"):
            frames += 1
        bad = bag.bad_images
        if not frames:
            seen = ", ".join(f"{count} x {reason}" for reason, count in bad.items()) or "no message"
            raise BagError(f"topic {topic} of {bag_path} holds no usable frame: {seen}")
    return _finished(bag_path, topic, camera, folder, writer.file, frames, bad, progress, pictures)


def replay_like(
    bag_path: Path,
    run_path: Path,
    model: SegmentationModel,
    folder: Path,
    *,
    camera_topic: str | None = None,
    config: PipelineConfig | None = None,
    progress: Progress = quietly,
    pictures: bool = True,
) -> tuple[Replayed, Comparison]:
    """Repeat the very steps of a recorded run on the frames of `bag_path`, and compare the tracks.

    `config` replaces the settings that the journal's first entry holds.

    Raises:
        BagError: a bag cannot be read, the journal is not whole, or the frames are not those of the run.
    """
    recorded = read_run(run_path)
    check_journal(recorded, str(run_path))
    camera = next((entry.camera for entry, _ in recorded.journal if entry.op == "ingest"), "camera")
    config = config or recorded.journal[0][0].config or PipelineConfig(cameras=(camera,))
    steps = sum(entry.op == "ingest" for entry, _ in recorded.journal)
    tracks: list[TracksEvent] = []
    with ExitStack() as stack:
        bag = stack.enter_context(Bag(bag_path))
        topic = bag.choose_image_topic(camera_topic)
        writer = stack.enter_context(BagWriter(folder / "run"))
        log = _EventLog(EventBag(writer))

        def sink(event: Event) -> None:
            if isinstance(event, TracksEvent):
                tracks.append(event)
            log(event)

        engine = Engine(model, config, sink, _NONCE)
        finder = FrameFinder(bag.frames(topic, camera), str(bag_path))

        def ingested() -> Iterable[Frame]:
            for _, about in repeat_run(engine, recorded, finder):
                if isinstance(about, Request):
                    log.command(about)
                elif about is not None:
                    yield about

        frames = sum(1 for _ in progress(ingested(), steps, "repeating"))
        bad = bag.bad_images
    done = _finished(bag_path, topic, camera, folder, writer.file, frames, bad, progress, pictures)
    return done, compare([timed.value for timed in recorded.tracks], tracks)


def _finished(
    bag_path: Path,
    topic: str,
    camera: str,
    folder: Path,
    run_file: Path,
    frames: int,
    bad: Counter[str],
    progress: Progress,
    pictures: bool,
) -> Replayed:
    run = read_run(run_file)
    overlay, sheet = draw_bag(bag_path, topic, camera, run, folder, progress) if pictures else (folder, folder)
    return Replayed(run_file, overlay, sheet, run, frames, bad)


def draw_bag(
    bag_path: Path, topic: str, camera: str, run: Run, folder: Path, progress: Progress = quietly
) -> tuple[Path, Path]:
    """Draw a run on the frames of the bag it was made from; returns overlay video and contact sheet."""
    with Bag(bag_path) as bag:
        count = bag.count(topic)
        first_ns, last_ns = bag.stamp_range(topic)
        fps = (count - 1) * 1e9 / (last_ns - first_ns) if last_ns > first_ns else 1.0
        with OverlayWriter(folder, fps) as writer:
            for _ in progress(draw_run(bag.frames(topic, camera), run, writer), count, "drawing"):
                pass
    return writer.video, writer.sheet
