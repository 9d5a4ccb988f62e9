"""A scenario file: which recordings, which requests when, what is true, and what has to hold."""

from __future__ import annotations

import difflib
import glob
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from villa.files.plain_data import PlainDataError, read_yaml, shaped, shown
from villa_ros.evaluation.criteria import Criterion, CriterionError, parse_criterion
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.replay.virtual_clock import Pace
from villa_ros.runtime.package_share import share_path

MODES = ("every-frame", "real-time")
SAMPLE = "sample"  # as a path: the bag that ships
_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
_LONGEST_S = 1e7  # four months: more is a stamp, or nanoseconds


class ScenarioError(ValueError):
    """A scenario file that cannot be used; the message names the file and the place in it."""


@dataclass(frozen=True)
class Wanted:
    """One timed request of the file."""

    request_id: str
    text: str
    at_s: float  # after its camera's first frame
    camera: str  # empty: the only one
    follow_up: bool = False
    timeout_s: float = 0.0
    truth: str = ""  # its name in the ground truth
    objects: tuple[int, ...] | None = None  # of palette images; None: not said
    absent: bool | None = None  # is what it means not there? None: not said


@dataclass(frozen=True)
class TruthSource:
    """Where the ground truth of a bag is. Neither: on the usual topic, where the bag has it."""

    none: bool = False
    topic: str = ""
    folder: Path | None = None
    video: str = ""

    @property
    def given(self) -> bool:
        """Does the scenario say where it is?"""
        return bool(self.topic) or self.folder is not None


@dataclass(frozen=True)
class BagSpec:
    """One recording of a scenario."""

    name: str
    path: Path
    cameras: Mapping[str, str]  # name -> image topic; empty: `camera` and the only image topic
    command_topic: str | None
    requests: tuple[Wanted, ...]
    truth: TruthSource
    criteria: tuple[Criterion, ...]
    words: str = ""  # what is asked in place of every request's own words; empty: these


@dataclass(frozen=True)
class Scenario:
    """What `villa eval` is to do."""

    name: str
    file: Path
    mode: str
    pace: Pace | None  # None: as measured
    seed: int
    checkpoint: str
    device: str
    threads: int
    settings: Mapping[str, Any]  # of PipelineConfig
    bags: tuple[BagSpec, ...]
    criteria: tuple[Criterion, ...]

    def config(self, cameras: Sequence[str]) -> PipelineConfig:
        """The pipeline's settings for these cameras."""
        return replace(PipelineConfig(cameras=tuple(cameras)), **self.settings)


def read_scenario(file: Path) -> Scenario:
    """A scenario from its YAML file; relative paths are relative to it.

    Raises:
        ScenarioError: not readable, not of the form in `config/scenario.schema.json`, an unknown criterion or
            setting, a glob that matches nothing, or two bags of one name.
    """
    try:
        values = read_yaml(file)
    except PlainDataError as error:
        raise ScenarioError(f"{file} cannot be read as YAML: {error}") from error
    _check_form(file, values)
    place = _Place(file)
    model = values.get("model", {})
    pace = values.get("latencies")
    mode = values.get("mode", MODES[0])
    if pace is not None and mode != "real-time":
        raise place.error("latencies", "given, but mode is every-frame, which has none: set mode: real-time")
    scenario = Scenario(
        name=values.get("name", file.stem),
        file=file,
        mode=mode,
        pace=None if pace is None else _pace(place, pace),
        seed=values.get("seed", 0),
        checkpoint=_checkpoint(file, model.get("checkpoint", "")),
        device=model.get("device", "cpu"),
        threads=model.get("threads", 0),
        settings=_settings(place, values.get("settings", {})),
        bags=tuple(_bags(place, values["bags"])),
        criteria=_criteria(place, "criteria", values.get("criteria", ())),
    )
    names = [bag.name for bag in scenario.bags]
    for name in names:
        if names.count(name) > 1:
            raise place.error("bags", f"{names.count(name)} bags are called {name!r}: give them names of their own")
    return scenario


def seconds(text: object) -> float:
    """A duration: a number of seconds, or a text with a unit.

    Raises:
        ValueError: no such thing; the message says what was seen and wanted.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        value, unit = float(text), "s"
    else:
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9]+)\s*", str(text))
        if match is None:
            raise ValueError(f"{text!r} is no duration: wanted a number with a unit, such as 1.5 s or 200 ms")
        value, unit = float(match[1]), match[2]
    if unit not in _UNITS_S:
        raise ValueError(f"{text!r} has the unit {unit!r}: wanted one of {', '.join(_UNITS_S)}")
    result = value * _UNITS_S[unit]
    if not 0 <= result <= _LONGEST_S or not math.isfinite(result):
        raise ValueError(f"{text!r} is {result:g} s: wanted 0 to {_LONGEST_S:g} s after the beginning, not a stamp")
    return result


@dataclass(frozen=True)
class _Place:
    """Makes errors that say where in the file something is wrong."""

    file: Path

    def error(self, where: str, message: str) -> ScenarioError:
        return ScenarioError(f"{self.file}: {where}: {message}")

    def seconds(self, where: str, value: object) -> float:
        try:
            return seconds(value)
        except ValueError as error:
            raise self.error(where, str(error)) from error

    def criterion(self, where: str, text: str) -> Criterion:
        try:
            return parse_criterion(text)
        except CriterionError as error:
            raise self.error(where, str(error)) from error


def _check_form(file: Path, values: object) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    schema = json.loads(share_path("config", "scenario.schema.json").read_text("utf-8"))
    error = best_match(Draft202012Validator(schema).iter_errors(values))
    if error is None:
        return
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    hint = ""
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        unknown = next((key for key in error.instance if key not in known), "")
        close = difflib.get_close_matches(str(unknown), known, 1)
        hint = f"; {f'did you mean {close[0]!r}? ' if close else ''}known here: {', '.join(known)}"
    raise ScenarioError(f"{file}: {where or 'the file'}: {shown(error.message)}{hint}")


def _pace(place: _Place, pace: Mapping[str, object]) -> Pace:
    return Pace(*(place.seconds(f"latencies.{name}", pace[name]) for name in ("fast", "slow_step")))


def _checkpoint(file: Path, given: str) -> str:
    return str((file.parent / given).resolve()) if given else ""


def _settings(place: _Place, given: Mapping[str, Any]) -> dict[str, Any]:
    known = [item.name for item in fields(PipelineConfig) if item.name != "cameras"]
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise place.error("settings", f"{name!r} is no setting of the pipeline{meant} (known: {', '.join(known)})")
    try:
        shaped(dict(given), PipelineConfig)
    except PlainDataError as error:
        raise place.error("settings", str(error)) from error
    return dict(given)


def _criteria(place: _Place, where: str, texts: Sequence[str]) -> tuple[Criterion, ...]:
    return tuple(place.criterion(f"{where}[{index}]", text) for index, text in enumerate(texts))


def _bags(place: _Place, entries: Sequence[Mapping[str, Any]]) -> Iterator[BagSpec]:
    for index, entry in enumerate(entries):
        where = f"bags[{index}]"
        cameras = entry.get("cameras", {})
        requests = tuple(_requests(place, where, entry.get("requests", ()), tuple(cameras)))
        truth = _truth(place.file, entry.get("truth"))
        criteria = _criteria(place, f"{where}.criteria", entry.get("criteria", ()))
        paths = _paths(place, where, entry["path"])
        for path in paths:
            name = entry.get("name", path.stem) if len(paths) == 1 else f"{entry.get('name', '')}{path.stem}"
            yield BagSpec(name, path, cameras, entry.get("command_topic"), requests, truth, criteria)


def _paths(place: _Place, where: str, given: str) -> list[Path]:
    if given == SAMPLE:
        return [share_path("sample", "tabletop")]
    path = place.file.parent / Path(given).expanduser()
    if not glob.has_magic(given) or path.exists():
        return [path]  # one that is not there is told with the others' results
    found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207 - also absolute ones
    if not found:
        raise place.error(f"{where}.path", f"{given!r} matches nothing in {place.file.parent.resolve()}")
    return found


def _requests(
    place: _Place, where: str, entries: Sequence[Mapping[str, Any]], cameras: Sequence[str]
) -> Iterator[Wanted]:
    used: set[str] = set()
    for index, entry in enumerate(entries):
        here = f"{where}.requests[{index}]"
        request_id = entry.get("id", f"request-{index + 1}")
        if request_id in used:
            raise place.error(f"{here}.id", f"{request_id!r} is used twice: every request needs its own")
        used.add(request_id)
        camera = entry.get("camera", "")
        if camera and cameras and camera not in cameras:
            raise place.error(f"{here}.camera", f"{camera!r} is none of {', '.join(cameras)}")
        if not camera and len(cameras) > 1:
            raise place.error(here, f"names no camera: wanted one of {', '.join(cameras)}")
        yield Wanted(
            request_id,
            entry["text"],
            place.seconds(f"{here}.at", entry["at"]),
            camera or (cameras[0] if cameras else ""),
            entry.get("follow_up", False),
            place.seconds(f"{here}.timeout", entry.get("timeout", 0)),
            entry.get("truth", ""),
            tuple(entry["objects"]) if "objects" in entry else None,
            entry.get("absent"),
        )


def _truth(file: Path, given: Any) -> TruthSource:
    if given is None:
        return TruthSource()
    if given == "none":
        return TruthSource(none=True)
    folder = given.get("folder")
    return TruthSource(
        topic=given.get("topic", ""),
        folder=None if folder is None else file.parent / Path(folder).expanduser(),
        video=given.get("video", ""),
    )
