"""The demonstration: a scenario of one bag that holds commands and ground truth, replayed or live, and its table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from villa_ros.bags.reader import Bag
from villa_ros.bags.run import read_run
from villa_ros.evaluation.criteria import parse_criterion
from villa_ros.evaluation.demo_report import Report, report_on
from villa_ros.evaluation.ground_truth import TRACKLETS, TRUTH_TOPIC, all_objects
from villa_ros.evaluation.live_run import play_bag
from villa_ros.evaluation.recording_inputs import Opened, open_bag
from villa_ros.evaluation.replay_run import Progress, run_bag, silent
from villa_ros.evaluation.results import BagResult, ScenarioResult, to_json
from villa_ros.evaluation.scenario import BagSpec, Scenario, TruthSource
from villa_ros.evaluation.scenario_eval import RESULT, judged, model_of, write_json
from villa_ros.pipeline.config import DEFAULT_CAMERA
from villa_ros.replay.bag_replay import draw_bag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from villa.interface import SegmentationModel
    from villa_ros.bags.run import Run
    from villa_ros.pipeline.frame import Frame
    from villa_ros.replay.live_graph import Watch

NEUTRAL_REQUEST = "the object"  # what the model is asked when the words are to be ignored
CRITERIA = ("answered requests >= 1",)
CRITERIA_OF_PRESENT = ("refused < 100 %",)  # where the bag has a request for what is there

Load = Callable[[], "SegmentationModel"]


class DemoError(RuntimeError):
    """The run gave nothing that could be judged; the message says why."""


@dataclass(frozen=True)
class Demonstration:
    """What is to be done: a scenario of one bag, and what this holds."""

    scenario: Scenario
    opened: Opened

    @property
    def spec(self) -> BagSpec:
        """The bag."""
        return self.scenario.bags[0]


@dataclass(frozen=True)
class Demonstrated:
    """The judged run, its table, and what was written."""

    result: ScenarioResult
    report: Report
    bag: Path
    overlay: Path
    contact_sheet: Path
    report_json: Path
    node_log: Path | None  # None: there was no node


@contextmanager
def unwatched() -> Iterator[Watch]:
    """Nobody looks on while the bag plays."""
    yield lambda played_s, total_s: None


@contextmanager
def untold() -> Iterator[Progress]:
    """Nobody is told how far a replay is."""
    yield silent


def demo_scenario(bag_path: Path, checkpoint: str = "", device: str = "cpu", threads: int = 0) -> Demonstration:
    """What is to be done with a bag that holds one image topic, one command topic and ground truth.

    Raises:
        BagError, MappingError, RequestError, TruthError: it cannot be read, lacks something or does not fit.
    """
    with Bag(bag_path) as bag:
        image = bag.choose_image_topic()
        command = bag.choose_command_topic(None, "a bag with one command topic")
        truth = TruthSource(topic=bag.choose_topic(TRUTH_TOPIC, (TRACKLETS,), "ground truth", TRUTH_TOPIC))
    spec = BagSpec(bag_path.stem, bag_path, {DEFAULT_CAMERA: image}, command, (), truth, ())
    opened = open_bag(spec)
    there = any(truth.present for truth in opened.truths.values())
    scenario = Scenario(
        name="demo",
        file=bag_path,
        mode="every-frame",
        pace=None,
        seed=0,
        checkpoint=checkpoint,
        device=device,
        threads=threads,
        settings={},
        bags=(spec,),
        criteria=tuple(map(parse_criterion, (*CRITERIA, *(CRITERIA_OF_PRESENT if there else ())))),
    )
    return Demonstration(scenario, opened)


def demo(
    given: Demonstration,
    folder: Path,
    load: Load | None,
    *,
    program: Sequence[str] = (),
    playing: Callable[[], AbstractContextManager[Watch]] = unwatched,
    telling: Callable[[], AbstractContextManager[Progress]] = untold,
) -> Demonstrated:
    """Play the bag to a fresh node over DDS, record what it publishes, and judge it.

    When the node has ended, `load` gives the model for the baseline that ignores the words; None leaves that
    column empty. `program` replaces the node's program; `playing` is open while the bag plays, `telling` while it is
    replayed or drawn.

    Raises:
        DemoError: nothing came back.
        BagError, PictureError: the pictures cannot be drawn.
    """
    bag = _usable(play_bag(given.spec, given.scenario, folder, playing, program))
    result = judged(given.scenario, [bag], model_of(given.scenario), mode="live")
    return _demonstrated(given, result, folder, load() if load else None, telling)


def demo_offline(
    given: Demonstration,
    folder: Path,
    load: Load,
    *,
    baseline: bool = True,
    telling: Callable[[], AbstractContextManager[Progress]] = untold,
) -> Demonstrated:
    """The same through replay: no DDS, no dropped frame, no rate.

    Raises:
        DemoError: the bag holds no usable frame.
        BagError, PictureError: the pictures cannot be drawn.
    """
    model = load()
    with telling() as progress:
        bag = _usable(run_bag(given.spec, given.scenario, model, folder, progress))
    result = judged(given.scenario, [bag], model_of(given.scenario))
    return _demonstrated(given, result, folder, model if baseline else None, telling)


def _demonstrated(
    given: Demonstration,
    result: ScenarioResult,
    folder: Path,
    model: SegmentationModel | None,
    telling: Callable[[], AbstractContextManager[Progress]],
) -> Demonstrated:
    """Baselines and pictures of a judged run, and the files that say it all; `model` is for the baseline."""
    spec, (judged_bag,) = given.spec, result.bags
    run_file = _run_file(folder / spec.name)
    run = read_run(run_file)
    with telling() as progress:
        ignored = None if model is None else _ignore_words(given, model, folder, progress)
        with Bag(spec.path) as bag:
            objects = all_objects(bag)

            def told(frames: Iterable[Frame], count: int, doing: str) -> Iterator[Frame]:
                for done, frame in enumerate(frames, 1):
                    progress(doing, done, count)
                    yield frame

            overlay, sheet = draw_bag(bag, spec.cameras[DEFAULT_CAMERA], DEFAULT_CAMERA, run, folder, told)
    live = result.mode == "live"
    report = report_on(
        judged_bag.requests, given.opened.truths, every_frame=not live, words_ignored=ignored, objects=objects
    )
    write_json(folder / RESULT, to_json(result))
    write_json(folder / "report.json", report.as_json())
    log = folder / spec.name / "node.log" if live else None
    return Demonstrated(result, report, run_file, overlay, sheet, folder / "report.json", log)


def _ignore_words(given: Demonstration, model: SegmentationModel, folder: Path, progress: Progress) -> Run:
    """The same bag, replayed to a model that hears the same neutral words whenever something is asked."""
    neutral = replace(given.spec, name=f"{given.spec.name}_words_ignored", words=NEUTRAL_REQUEST)
    _usable(run_bag(neutral, given.scenario, model, folder, progress))
    return read_run(_run_file(folder / neutral.name))


def _usable(bag: BagResult) -> BagResult:
    if bag.failed:
        raise DemoError(bag.faults[0].message)
    return bag


def _run_file(folder: Path) -> Path:
    return folder / "run" / "run.mcap"
