"""A bag in; the pipeline that the node runs, without DDS and without a clock; a bag and pictures out.

The bag is opened once and its images are read once: what is drawn, labelled or logged watches the run as it is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from villa_ros.bags.cameras import faults_of, frames_together
from villa_ros.bags.reader import COMMAND, Bag, BagError
from villa_ros.bags.run import Run, read_run
from villa_ros.bags.writer import BagWriter, EventBag
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import TracksEvent
from villa_ros.pipeline.request import Request
from villa_ros.replay.drawn_frames import DrawnFrames
from villa_ros.replay.driver import drive
from villa_ros.replay.journal_replay import FrameFinder, check_journal, repeat_run
from villa_ros.replay.run_watch import FrameObserver, RunWatch, show_run
from villa_ros.replay.track_comparison import Comparison, compare
from villa_ros.video.overlay_video import OverlayWriter

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
class TimedTexts:
    """Requests in words, so many seconds after the first frame: one time for each, or one for all."""

    texts: Sequence[str]
    at_s: Sequence[float]

    def of_cameras(self, first_ns: int, cameras: Sequence[str]) -> list[Request]:
        """The requests of streams whose first frame has this stamp: of each camera all of them."""
        if len(cameras) == 1:
            return self.requests(first_ns, cameras[0])
        return [
            replace(request, request_id=f"{request.request_id}-{camera}")
            for camera in cameras
            for request in self.requests(first_ns, camera)
        ]

    def requests(self, first_ns: int, camera: str) -> list[Request]:
        """The requests of a stream whose first frame has this stamp."""
        times = list(self.at_s) if len(self.at_s) == len(self.texts) else [self.at_s[0]] * len(self.texts)
        return [
            Request(f"request-{place}", text, camera=camera, stamp_ns=first_ns + round(at * 1e9))
            for place, (text, at) in enumerate(zip(self.texts, times, strict=True), 1)
        ]


@dataclass(frozen=True)
class Replayed:
    """What a replay wrote, and what is in it. Pictures are of the first camera; `pictures` has those of each."""

    bag: Path
    overlay: Path
    contact_sheet: Path
    run: Run
    frames: int
    bad_images: Counter[str]
    faults: tuple[str, ...]  # of the bag
    pictures: Mapping[str, tuple[Path, Path]]  # overlay video and contact sheet by camera


def recorded_requests(
    bag: Bag, command_topic: str | None = None, camera: str = "camera", *, needed: bool = True
) -> list[Request]:
    """The commands that the bag holds; `camera` stands in where a command names none.

    Raises:
        BagError: the bag holds no commands though they are `needed`, or on several topics and none was chosen.
    """
    if command_topic is None and not bag.topics_of(COMMAND):
        if not needed:
            return []
        raise BagError(f"{bag.path} holds no commands; say what to look for with --command TEXT")
    topic = bag.choose_command_topic(command_topic, "--command-topic")
    return bag.commands(topic, camera)


def replay(
    bag: Bag,
    requests: Sequence[Request] | TimedTexts,
    model: SegmentationModel,
    folder: Path,
    *,
    camera_topic: str | None = None,
    camera: str = "camera",
    cameras: Mapping[str, str] | None = None,
    config: PipelineConfig | None = None,
    progress: Progress = quietly,
    pictures: bool = True,
    observers: Sequence[FrameObserver] = (),
) -> Replayed:
    """Run all frames of the open bag and these requests through the pipeline; write bag and pictures into `folder`.

    `cameras` are several with the topic of each, which run together as the node would run them; requests in words are
    then made of each, and pictures lie in a folder for each. `observers` watch the first one.

    Raises:
        BagError: the bag cannot be read, lacks the topic, or holds no usable frame; or nothing can be
        written.
    """
    topics = cameras or {camera: bag.choose_image_topic(camera_topic)}
    names = tuple(topics)
    with ExitStack() as stack:
        # An open bag is read in one place at a time.
        bags = {name: bag if name == names[0] else stack.enter_context(Bag(bag.path, bag.reading)) for name in names}
        recording = stack.enter_context(_Recording(bags, folder, pictures=pictures, observers=observers))
        watch = recording.watch
        engine = Engine(model, config or PipelineConfig(cameras=names), watch, _NONCE)
        frames = frames_together(bags, topics, watch.beside)
        if isinstance(requests, TimedTexts):
            begin = list(islice(frames, 1))
            requests = requests.of_cameras(begin[0].header.time_ns, names) if begin else []
            frames = chain(begin, frames)
        given = drive(engine, watch.watched(frames, engine.oldest_open_ns), requests, watch.command)
        for _ in progress(given, sum(bag.count(topic) for topic in topics.values()), "segmenting"):
            pass
        if not watch.frames:
            seen = ", ".join(f"{count} x {reason}" for reason, count in bag.bad_images.items()) or "no message"
            raise BagError(f"topic {topics[names[0]]} of {bag.path} holds no usable frame: {seen}")
        watch.end()
    return recording.replayed(watch.frames)


def replay_like(
    bag: Bag,
    run_path: Path,
    model: SegmentationModel,
    folder: Path,
    *,
    camera_topic: str | None = None,
    config: PipelineConfig | None = None,
    progress: Progress = quietly,
    pictures: bool = True,
    observers: Sequence[FrameObserver] = (),
) -> tuple[Replayed, Comparison]:
    """Repeat the very steps of a recorded run on the frames of the open bag, and compare the tracks.

    `config` replaces the settings that the journal's first entry holds.

    Raises:
        BagError: a bag cannot be read, the journal is not whole, or the frames are not those of the run.
    """
    recorded = read_run(run_path)
    check_journal(recorded, str(run_path))
    camera = next((entry.camera for entry, _ in recorded.journal if entry.op == "ingest"), "camera")
    config = config or recorded.journal[0][0].config or PipelineConfig(cameras=(camera,))
    steps = sum(entry.op == "ingest" for entry, _ in recorded.journal)
    topic = bag.choose_image_topic(camera_topic)
    with _Recording({camera: bag}, folder, pictures=pictures, observers=observers) as recording:
        watch = recording.watch
        engine = Engine(model, config, watch, _NONCE)
        frames = watch.watched(bag.frames(topic, camera, beside=watch.beside), engine.oldest_open_ns)
        finder = FrameFinder(frames, str(bag.path))

        def ingested() -> Iterator[Frame]:
            for _, about in repeat_run(engine, recorded, finder):
                if isinstance(about, Request):
                    watch.command(about)
                elif about is not None:
                    yield about

        used = sum(1 for _ in progress(ingested(), steps, "repeating"))
        for _ in frames:  # those after the run are drawn too
            pass
        watch.end()
    return recording.replayed(used), compare(_tracks(recorded), _tracks(watch.run))


def _tracks(run: Run) -> list[TracksEvent]:
    return [timed.value for timed in run.tracks]


class _Recording:
    """The folder of a replay while it is written: the run's bag, and overlay and contact sheet if wanted."""

    def __init__(
        self,
        bags: Mapping[str, Bag],
        folder: Path,
        *,
        pictures: bool,
        observers: Sequence[FrameObserver],
    ) -> None:
        self._bags, self._folder = bags, folder
        self._stack = ExitStack()
        self._writer = BagWriter(folder / "run")
        alone = len(bags) == 1
        self._overlays = (
            {camera: OverlayWriter(folder if alone else folder / camera) for camera in bags} if pictures else {}
        )
        watching: dict[str, list[FrameObserver]] = {
            camera: [DrawnFrames(self._overlays[camera])] if pictures else [] for camera in bags
        }
        watching[next(iter(bags))] += observers
        self.watch = RunWatch(EventBag(self._writer), watching)

    def __enter__(self) -> _Recording:
        with ExitStack() as stack:
            stack.enter_context(self._writer)
            for overlay in self._overlays.values():
                stack.enter_context(overlay)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if error is None and self.watch.problem is not None:
            raise self.watch.problem

    def replayed(self, frames: int) -> Replayed:
        """What was written, once it is complete."""
        drawn = {camera: (overlay.video, overlay.sheet) for camera, overlay in self._overlays.items()}
        video, sheet = next(iter(drawn.values()), (self._folder, self._folder))
        bad: Counter[str] = sum((bag.bad_images for bag in self._bags.values()), Counter())
        return Replayed(self._writer.file, video, sheet, self.watch.run, frames, bad, faults_of(self._bags), drawn)


def draw_bag(
    bag: Bag, topic: str, camera: str, run: Run, folder: Path, progress: Progress = quietly
) -> tuple[Path, Path]:
    """Draw a recorded run on the frames of the open bag it was made from; returns overlay video and contact sheet."""
    with OverlayWriter(folder) as writer:
        shown = show_run(bag.frames(topic, camera), run, [DrawnFrames(writer)], camera)
        for _ in progress(shown, bag.count(topic), "drawing"):
            pass
    return writer.video, writer.sheet
