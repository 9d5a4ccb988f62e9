"""The live twin of a scenario: its recordings played over DDS to a node, and what that node made of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from villa.evaluation.davis_jf import region_similarity
from villa_ros.bags.reader import Bag, BagError
from villa_ros.bags.run import Run, read_run
from villa_ros.bags.typestore import villa_typestore
from villa_ros.bags.writer import COMMAND_TOPIC, BagWriter
from villa_ros.conversions.events import MappingError, command_message, rosbags_types
from villa_ros.evaluation.frame_lines import write_frame_lines
from villa_ros.evaluation.ground_truth import TruthError
from villa_ros.evaluation.recording_inputs import ASKING, Opened, RequestError, open_bag
from villa_ros.evaluation.replay_run import failed_bag, score_run
from villa_ros.evaluation.request_scores import Tracks, first_mask_s, published_tracks, union
from villa_ros.evaluation.results import BagResult, ScenarioResult, Timing, to_json
from villa_ros.evaluation.scenario_eval import judged, write_json
from villa_ros.node.parameters import Parameters
from villa_ros.replay.live_graph import LiveError, Watch, run_live

if TYPE_CHECKING:
    from collections.abc import Callable

    from villa_ros.evaluation.scenario import BagSpec, Scenario

SAME_IOU = 0.7  # what both segmented is the same from here on


@dataclass(frozen=True)
class Agreement:
    """One request, replayed and live."""

    bag: str
    request_id: str
    text: str
    replayed: bool  # it got masks
    live: bool
    iou: float | None  # mean over the frames that both published; None: they have none in common
    frames: int  # in common

    @property
    def agree(self) -> bool:
        """Was the same segmented?"""
        if self.replayed != self.live:
            return False
        return not self.live or (self.iou is not None and self.iou >= SAME_IOU)


def play_scenario(
    scenario: Scenario,
    replayed: ScenarioResult,
    folder: Path,
    playing: Callable[[], AbstractContextManager[Watch]],
    program: Sequence[str] = (),
) -> tuple[ScenarioResult, list[Agreement]]:
    """All recordings one after another, live, judged and set against the replay that lies in `folder`.

    Writes `folder/live/result.json` and a folder for each recording beside it.

    Raises:
        LiveError: there is no ROS here, or the scenario sets what is no parameter of the node.
        OSError: nothing can be written.
    """
    place = folder / "live"
    place.mkdir(parents=True, exist_ok=True)
    bags = [play_bag(spec, scenario, place, playing, program) for spec in scenario.bags]
    result = judged(scenario, bags, replayed.model, mode="live")
    found: list[Agreement] = []
    for before, bag in zip(replayed.bags, bags, strict=True):
        if not before.failed and not bag.failed:
            found += agreements(bag.name, folder / before.folder / "run", place / bag.folder / "run")
    values = to_json(result) | {"agreements": [asdict(one) | {"agree": one.agree} for one in found]}
    write_json(place / "result.json", values)
    for bag in result.bags:
        write_frame_lines(bag, place)
    return result, found


def play_bag(
    spec: BagSpec,
    scenario: Scenario,
    folder: Path,
    playing: Callable[[], AbstractContextManager[Watch]],
    program: Sequence[str] = (),
) -> BagResult:
    """One recording, played at its real rate with its time on /clock to a node that is started for it.

    What is wrong with it is told in the result. Writes `folder/NAME/run/run.mcap` and `folder/NAME/node.log`.

    Raises:
        LiveError: there is no ROS here, or the scenario sets what is no parameter of the node.
    """
    parameters = node_parameters(scenario)
    began_s = time.perf_counter()
    try:
        opened = open_bag(spec)
        place = folder / spec.name
        commands = _write_commands(opened, place / "commands")
        with playing() as watch:
            file, _ = run_live(
                spec.path,
                place,
                cameras=opened.cameras,
                commands=commands,
                checkpoint=scenario.checkpoint,
                device=scenario.device,
                threads=scenario.threads,
                settings=parameters,
                sim_time=True,
                program=program,
                watch=watch,
            )
        run = read_run(file)
        return _scored(spec, scenario, opened, run, time.perf_counter() - began_s)
    except (BagError, LiveError, MappingError, TruthError, RequestError, OSError) as error:
        return failed_bag(spec, str(error))


def node_parameters(scenario: Scenario) -> dict[str, str]:
    """The scenario's settings as parameters of the node.

    Raises:
        LiveError: one is no parameter of it.
    """
    known = {item.name for item in fields(Parameters)}
    if unknown := sorted(scenario.settings.keys() - known):
        raise LiveError(f"{scenario.file}: settings: the node has no parameter {unknown[0]}; leave it out for --live")
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in scenario.settings.items()
    }


def agreements(name: str, replayed: Path, live: Path) -> list[Agreement]:
    """What two runs of one recording made of its requests.

    Raises:
        BagError: a run cannot be read.
    """
    one, two = read_run(replayed), read_run(live)
    return [_agreement(name, request_id, timed.value.text, one, two) for request_id, timed in one.commands.items()]


def _agreement(name: str, request_id: str, text: str, one: Run, two: Run) -> Agreement:
    first, second = published_tracks(one, request_id), published_tracks(two, request_id)
    seen = [{stamp for masks in tracks.values() for stamp in masks} for tracks in (first, second)]
    common = sorted(seen[0] & seen[1])
    ious = [_iou(first, second, stamp) for stamp in common]
    replayed, live = (any(m.area for masks in tracks.values() for m in masks.values()) for tracks in (first, second))
    return Agreement(name, request_id, text, replayed, live, fmean(ious) if ious else None, len(common))


def _iou(first: Tracks, second: Tracks, stamp_ns: int) -> float:
    """Of all that is segmented on one frame; both have a mask of it, maybe an empty one."""
    one, two = (union(m[stamp_ns] for m in tracks.values() if stamp_ns in m) for tracks in (first, second))
    assert one is not None
    assert two is not None
    return region_similarity(one, two)


def _write_commands(opened: Opened, path: Path) -> Path:
    """A bag with nothing but the requests, each just after the first frame that is not older."""
    types = rosbags_types(villa_typestore())
    with BagWriter(path) as writer:
        for request in opened.requests:
            writer.write(
                COMMAND_TOPIC, _due_ns(opened, request.camera, request.stamp_ns), command_message(request, types)
            )
    return path


def _due_ns(opened: Opened, camera: str, stamp_ns: int) -> int:
    """By the recorder's clock, which is what a bag is played by."""
    after = [log_ns for at, log_ns in opened.logged[camera] if at >= stamp_ns]
    return min(after, default=max(log_ns for _, log_ns in opened.logged[camera])) + 1


def _scored(spec: BagSpec, scenario: Scenario, opened: Opened, run: Run, wall_s: float) -> BagResult:
    sizes: dict[str, dict[int, tuple[int, int]]] = {}
    with Bag(spec.path) as bag:
        for camera, topic in opened.cameras.items():
            sizes[camera] = {f.header.stamp_ns: (f.height, f.width) for f in bag.frames(topic, camera)}
    firsts = {}
    for request in opened.requests:
        seconds = first_mask_s(run, request.request_id) if request.action in ASKING else None
        if seconds is not None:
            firsts[request.request_id] = seconds
    asked = score_run(opened, run, sizes, scenario, first_masks=firsts, live=True)
    received = {camera: sum(name == camera for name, _ in run.arrivals) for camera in opened.cameras}
    missing = {camera: len(sizes[camera]) - count for camera, count in received.items()}
    # From when the node journalled a frame to its tracks, both as the recorder got them: two ways through DDS cancel.
    latencies = [
        max(0.0, (timed.log_ns - run.arrivals[key]) / 1e9)
        for timed in run.tracks
        if (key := (timed.value.camera, timed.value.header.stamp_ns)) in run.arrivals
    ]
    return BagResult(
        name=spec.name,
        bag=str(spec.path),
        folder=spec.name,
        frames=received,
        dropped={camera: {"not received": count} for camera, count in missing.items() if count > 0},
        start_ns=min(min(of) for of in sizes.values() if of),
        end_ns=max(max(of) for of in sizes.values() if of),
        requests=tuple(asked),
        timing=Timing(tuple(latencies), tuple(firsts.values()), wall_s),
    )
