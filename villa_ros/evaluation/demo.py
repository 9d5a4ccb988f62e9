"""The demonstration: a bag with commands and ground truth goes in, live or replayed; a table comes out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.reader import COMMAND, Bag
from villa_ros.bags.run import MasksAt, Run, read_run
from villa_ros.evaluation.demo_report import Report, Truth, evaluate, read_truth
from villa_ros.replay.bag_replay import Progress, draw_bag, quietly, replay
from villa_ros.replay.live_graph import Watch, run_live

if TYPE_CHECKING:
    from villa.interface import SegmentationModel

NEUTRAL_REQUEST = "the object"  # what the model is asked when the words are to be ignored
CAMERA = "camera"


@dataclass(frozen=True)
class Demonstrated:
    """The table, and what was written."""

    report: Report
    bag: Path
    overlay: Path
    contact_sheet: Path
    report_json: Path
    node_log: Path | None  # None: there was no node


@dataclass(frozen=True)
class _Input:
    """The bag of a demonstration."""

    path: Path
    image_topic: str
    command_topic: str
    truth: Truth


@contextmanager
def unwatched() -> Iterator[Watch]:
    """Nobody looks on while the bag plays."""
    yield lambda played_s, total_s: None


def demo(
    bag_path: Path,
    folder: Path,
    load: Callable[[], SegmentationModel] | None,
    *,
    checkpoint: str = "",
    device: str = "cpu",
    threads: int = 0,
    program: Sequence[str] = (),
    playing: Callable[[], AbstractContextManager[Watch]] = unwatched,
    progress: Progress = quietly,
) -> Demonstrated:
    """Play a bag to a fresh node over DDS, record what it publishes, and measure it against the ground truth.

    When the node has ended, `load` gives the model for the baseline that ignores the words; None leaves that
    column empty. `program` replaces the node's program; `playing` is open while the bag plays.

    Raises:
        LiveError: nothing came back.
        BagError: the bag cannot be read or lacks something.
    """
    given = _open(bag_path)
    with playing() as watch:
        run_file, log = run_live(
            bag_path,
            folder,
            cameras={CAMERA: given.image_topic},
            command_topic=given.command_topic,
            checkpoint=checkpoint,
            device=device,
            threads=threads,
            program=program,
            watch=watch,
        )
    run = read_run(run_file)
    ignored = ignore_words(given, folder, load(), progress) if load else None
    return _measure(given, folder, run, run_file, ignored, progress, log)


def demo_offline(
    bag_path: Path,
    folder: Path,
    model: SegmentationModel,
    *,
    baseline: bool = True,
    progress: Progress = quietly,
) -> Demonstrated:
    """The same measurement through replay: no DDS, no dropped frame, no times.

    Raises:
        BagError: the bag cannot be read or lacks something.
    """
    given = _open(bag_path)
    requests = [window.request for window in given.truth.windows]
    with Bag(bag_path) as bag:
        done = replay(bag, requests, model, folder, camera_topic=given.image_topic, progress=progress, pictures=False)
    ignored = ignore_words(given, folder, model, progress) if baseline else None
    return _measure(given, folder, done.run, done.bag, ignored, progress, None)


def _open(bag_path: Path) -> _Input:
    with Bag(bag_path) as bag:
        image = bag.choose_image_topic()
        command = bag.choose_topic(None, (COMMAND,), "command", "a bag with one command topic")
    return _Input(bag_path, image, command, read_truth(bag_path, command, CAMERA))


def _measure(
    given: _Input,
    folder: Path,
    run: Run,
    run_file: Path,
    words_ignored: MasksAt | None,
    progress: Progress,
    log: Path | None,
) -> Demonstrated:
    with Bag(given.path) as bag:
        overlay, sheet = draw_bag(bag, given.image_topic, CAMERA, run, folder, progress)
    report = evaluate(run, given.truth, words_ignored, live=log is not None)
    report_json = folder / "report.json"
    report_json.write_text(json.dumps(report.as_json(), indent=2), "utf-8")
    return Demonstrated(report, run_file, overlay, sheet, report_json, log)


def ignore_words(given: _Input, folder: Path, model: SegmentationModel, progress: Progress = quietly) -> MasksAt:
    """The masks of a model that hears the same neutral words whenever something is asked, by stamp in ns."""
    requests = [
        replace(window.request, text=NEUTRAL_REQUEST, request_id=f"neutral-{place}")
        for place, window in enumerate(given.truth.windows)
    ]
    with Bag(given.path) as bag:
        done = replay(
            bag,
            requests,
            model,
            folder / "words_ignored",
            camera_topic=given.image_topic,
            progress=progress,
            pictures=False,
        )
    return {
        timed.value.header.stamp_ns: [instance.mask for instance in timed.value.instances]
        for timed in done.run.tracks
        if any(instance.mask.area for instance in timed.value.instances)
    }
