"""`villa eval SCENARIO`: all recordings, spread over processes or a cluster, resumed where it stopped, and judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villa.files.whole import write_text
from villa_ros.evaluation.frame_lines import write_frame_lines
from villa_ros.evaluation.replay_run import Progress, failed_bag, run_bag, silent
from villa_ros.evaluation.results import (
    BagResult,
    ResultError,
    ScenarioResult,
    Verdict,
    bag_from_json,
    bag_to_json,
    read_json,
    to_json,
)
from villa_ros.parallel.dispatch import Failed
from villa_ros.parallel.map import parallel_map
from villa_ros.runtime.package_share import share_path

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.evaluation.scenario import BagSpec, Scenario

_BAG_RESULT = "bag.json"
RESULT = "result.json"
_HASHED = 1 << 20  # bytes read at once

Load = Callable[[str, str, int], "SegmentationModel"]  # checkpoint, device, threads


def load(checkpoint: str, device: str, threads: int) -> SegmentationModel:
    """The model of a scenario, in this process."""
    from villa_ros.runtime.model_loading import limit_threads, load_model

    limit_threads(threads)
    return load_model(checkpoint, device)


@dataclass(frozen=True)
class _Task:
    spec: BagSpec
    scenario: Scenario
    folder: Path
    fingerprint: str


def evaluate_scenario(
    scenario: Scenario,
    folder: Path,
    *,
    opening: Load = load,
    workers: int = 1,
    ray: str | None = None,
    fresh: bool = False,
    progress: Progress = silent,
    told: Callable[[BagResult, bool], None] = lambda result, kept: None,
) -> ScenarioResult:
    """Run and judge all recordings of a scenario; writes `folder/result.json` and a folder for each recording.

    In the latter `frames.jsonl` has a line for each frame.

    What is wrong with one recording is told in its result and loses nothing of the others. A recording whose result
    is there already, made with the same files, scenario and model, is not run again.

    Args:
        scenario: What to do.
        folder: Where results go.
        opening: Loads the model, once in each process.
        workers: Processes.
        ray: Address of a Ray cluster, or "local"; None: none.
        fresh: Run everything again.
        progress: Told of frames, where the recordings run in this process.
        told: Given each recording's result, and whether it was kept.

    Raises:
        ParallelError: the workers cannot be started.
        OSError: nothing can be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = model_of(scenario)
    tasks = [
        _Task(spec, scenario, folder, _fingerprint(spec, scenario, about)) for spec in scenario.bags
    ]  # the order of the file
    results: dict[str, BagResult] = {}
    for task in tasks:
        kept = None if fresh else _kept(task)
        if kept is not None:
            results[task.spec.name] = kept
            told(kept, True)
    todo = [task for task in tasks if task.spec.name not in results]
    begin = partial(opening, scenario.checkpoint, scenario.device, scenario.threads)
    work = partial(_run, progress=progress) if workers == 1 and ray is None else _run
    for index, outcome in parallel_map(work, todo, workers=workers, ray=ray, begin=begin):
        task = todo[index]
        got = failed_bag(task.spec, outcome.message) if isinstance(outcome, Failed) else bag_from_json(outcome)
        results[task.spec.name] = got
        told(got, False)
    result = judged(scenario, [results[spec.name] for spec in scenario.bags], about)
    write_json(folder / RESULT, to_json(result))
    for bag in result.bags:
        write_frame_lines(bag, folder)
    return result


def judged(
    scenario: Scenario, bags: Sequence[BagResult], model: Mapping[str, Any], mode: str | None = None
) -> ScenarioResult:
    """The result of a scenario whose recordings, in its order, gave these; `mode` replaces the scenario's."""
    return ScenarioResult(
        name=scenario.name,
        scenario=str(scenario.file),
        mode=mode or scenario.mode,
        model=model,
        settings=dict(scenario.settings),
        seed=scenario.seed,
        bags=tuple(bags),
        verdicts=tuple(_judge(scenario, bags)),
    )


def _judge(scenario: Scenario, bags: Sequence[BagResult]) -> list[Verdict]:
    """Every criterion: those of the scenario over all recordings, those of a recording over it alone."""
    verdicts = [criterion.judge(bags) for criterion in scenario.criteria]
    for spec, bag in zip(scenario.bags, bags, strict=True):
        verdicts += [criterion.judge([bag], spec.name) for criterion in spec.criteria]
    return verdicts


def model_of(scenario: Scenario) -> dict[str, Any]:
    """What identifies the model of a scenario: its checkpoint by content, device and the version of the code.

    Raises:
        FileNotFoundError: no such checkpoint.
    """
    path = Path(scenario.checkpoint) if scenario.checkpoint else share_path("weights")
    if not path.exists():
        raise FileNotFoundError(f"{scenario.file}: model.checkpoint: nothing at {path}")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(_HASHED):
                digest.update(block)
    return {
        "checkpoint": scenario.checkpoint or "the one that ships",
        "sha256": digest.hexdigest()[:16],
        "device": scenario.device,
        "villa_ros": _version(),
    }


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Values as a file, whole or not at all."""
    write_text(file, json.dumps(values, indent=1))


def _version() -> str:
    try:
        return version("villa-ros")
    except PackageNotFoundError:
        return "not installed"


def _run(model: SegmentationModel, task: _Task, progress: Progress = silent) -> dict[str, Any]:
    """One recording, in whichever process; its result as plain values, and in a file for the next time."""
    result = bag_to_json(run_bag(task.spec, task.scenario, model, task.folder, progress))
    place = task.folder / task.spec.name
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / _BAG_RESULT, {"fingerprint": task.fingerprint, "result": result})
    return result


def _kept(task: _Task) -> BagResult | None:
    """The result of an earlier run with the same input; one that failed is tried again."""
    try:
        values = read_json(task.folder / task.spec.name / _BAG_RESULT)
        result = bag_from_json(values["result"]) if values.get("fingerprint") == task.fingerprint else None
    except (ResultError, KeyError):
        return None  # none, or of another version: run it
    return None if result is None or result.failed else result


def _fingerprint(spec: BagSpec, scenario: Scenario, about: Mapping[str, Any]) -> str:
    """Changes with everything that the result rests on."""
    files = [spec.path] if spec.path.is_file() else sorted(p for p in spec.path.rglob("*") if p.is_file())
    if spec.truth.folder is not None:
        files += sorted(p for p in spec.truth.folder.rglob("*") if p.is_file())
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]
    asked = asdict(spec)
    asked.pop("criteria")
    values = [asked, stats, scenario.mode, asdict(scenario.pace) if scenario.pace else None, dict(scenario.settings)]
    text = json.dumps([values, dict(about)], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
