"""What came of a scenario: per bag, request and frame, and whether each criterion holds; as values and as JSON.

Everything but `timing` and the paths is the same for the same recordings, scenario and model in every-frame mode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from villa.files import plain_data
from villa.files.plain_data import PlainDataError, shaped

SCHEMA = 1
KIND = "scenario"


class ResultError(ValueError):
    """A file holds no result of `villa eval`, or one that this version cannot read."""


@dataclass(frozen=True)
class Moment:
    """One frame of a request's window."""

    stamp_ns: int
    published: bool  # something was published for the request on this frame
    masks: int  # of it that are not empty
    j: float | None  # None: no ground truth for this frame, or nothing meant and nothing drawn
    f: float | None


@dataclass(frozen=True)
class Asked:
    """One request and what came of it. Scores are None without ground truth, or where they do not apply."""

    request_id: str
    text: str
    camera: str
    stamp_ns: int
    answer: str
    state: str  # last state that was published, such as TRACKING or NO_TARGET; empty: none was
    message: str  # what that state said
    present: bool | None  # what it means is there on some frame; None: no ground truth says so
    answered: bool  # some mask was published
    j: float | None
    f: float | None
    jf: float | None
    coverage: float | None  # published frames / frames of the window from the first published one on
    hota: float | None
    switches: int | None
    frames: int  # of the window
    first_mask_s: float | None  # from the request to its first mask
    moments: tuple[Moment, ...] = ()
    named: int = 0  # objects that the answer names
    frames_per_s: float | None = None  # published frames per second as they came; None: not measured

    @property
    def right(self) -> bool | None:
        """For what is there: some mask was published. For what is not: an answer in words that names no object, and no
        mask; silence is no answer. None: nobody knows what is there.
        """
        if self.present is None:
            return None
        if self.present:
            return self.answered
        return bool(self.answer) and not self.named and not self.answered


@dataclass(frozen=True)
class Timing:
    """Measured, so it differs from run to run. Seconds."""

    latency_s: tuple[float, ...] = ()  # of each published frame: from its arrival to its tracks
    first_mask_s: tuple[float, ...] = ()
    wall_s: float = 0.0


@dataclass(frozen=True)
class Fault:
    """Why a bag has no result, or what was wrong in one that has."""

    file: str
    message: str
    topic: str = ""
    stamp_ns: int | None = None


@dataclass(frozen=True)
class Verdict:
    """One criterion and whether it holds. `value` is None where there was nothing to measure."""

    text: str
    passed: bool
    value: float | None
    reason: str = ""
    scope: str = ""  # name of the bag it is about; empty: all of them
    shown: str = ""  # the value with its unit, for people


@dataclass(frozen=True)
class BagResult:
    """One recording."""

    name: str
    bag: str
    folder: str  # of what was written about it, relative to the result's
    frames: Mapping[str, int] = field(default_factory=dict)  # by camera: taken in
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by camera and reason
    start_ns: int = 0
    end_ns: int = 0
    requests: tuple[Asked, ...] = ()
    faults: tuple[Fault, ...] = ()
    failed: bool = False  # it has no requests because of the first fault
    timing: Timing = Timing()
    videos: Mapping[str, str] = field(default_factory=dict)  # by camera: overlay video, relative to the result's folder


@dataclass(frozen=True)
class ScenarioResult:
    """All of it."""

    name: str
    scenario: str
    mode: str  # "every-frame", "real-time" or "live"
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    seed: int
    bags: tuple[BagResult, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Every criterion holds and every bag was read."""
        return all(verdict.passed for verdict in self.verdicts) and not any(bag.failed for bag in self.bags)

    @property
    def requests(self) -> list[tuple[BagResult, Asked]]:
        """Every request with its bag."""
        return [(bag, asked) for bag in self.bags for asked in bag.requests]


def to_json(result: ScenarioResult) -> dict[str, Any]:
    """Plain values; a number that does not exist is null."""
    values = asdict(result)
    values.update(schema=SCHEMA, kind=KIND, passed=result.passed)
    cleaned: dict[str, Any] = _clean(values)
    return cleaned


def bag_to_json(bag: BagResult) -> dict[str, Any]:
    """One recording's result as plain values."""
    cleaned: dict[str, Any] = _clean(asdict(bag))
    return cleaned


def bag_from_json(values: Mapping[str, Any]) -> BagResult:
    """And back.

    Raises:
        ResultError: fields are missing or unknown.
    """
    try:
        result = shaped(values, BagResult)
    except PlainDataError as error:
        raise ResultError(f"no result of a bag ({error}); run villa eval again") from error
    if bag_to_json(result) != values:
        raise ResultError("a bag's result with other fields than this version writes; run villa eval again")
    return result


def read_result(path: Path) -> ScenarioResult:
    """The result in a file, or in `result.json` of a folder.

    Raises:
        ResultError: there is none, or it is not one of a scenario.
    """
    values = read_json(path)
    if values.get("kind") != KIND or values.get("schema") != SCHEMA:
        seen = f"kind {values.get('kind')!r}, schema {values.get('schema')!r}"
        raise ResultError(f"{path}: {seen}; wanted kind {KIND!r}, schema {SCHEMA}: run villa eval again")
    try:
        result = shaped(values, ScenarioResult)
        if to_json(result) != values:
            raise PlainDataError("it has other fields than this version writes")
        return result
    except PlainDataError as error:
        raise ResultError(f"{path} is no whole result ({error}); run villa eval again") from error


def read_json(path: Path) -> dict[str, Any]:
    """A result file's values, or those of `result.json` in a folder.

    Raises:
        ResultError: not there, no JSON, or no object.
    """
    file = path / "result.json" if path.is_dir() else path
    try:
        values = plain_data.read_json(file)
    except PlainDataError as error:
        raise ResultError(f"{file} cannot be read ({error}); give what villa eval wrote") from error
    if not isinstance(values, dict):
        raise ResultError(f"{file} holds {type(values).__name__}; wanted what villa eval wrote")
    return values


def _clean(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
