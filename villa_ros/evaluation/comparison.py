"""Two results side by side: what got worse, what got better, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from villa.evaluation.bootstrap import interval
from villa_ros.evaluation.results import KIND, Asked, ResultError, bag_from_json, read_json

_NOISE = 0.005  # a difference of J&F that is nobody's business


@dataclass(frozen=True)
class Scored:
    """One request of a result, whoever wrote it."""

    clip: str  # recording or video: what is drawn anew in a bootstrap
    key: str
    text: str
    kind: str
    present: bool | None
    score: float | None  # J&F of what is there; of what is not: 1 where the answer is right, else 0


@dataclass(frozen=True)
class Change:
    """One request in both."""

    before: Scored
    after: Scored

    @property
    def delta(self) -> float:
        """After minus before."""
        return (self.after.score or 0.0) - (self.before.score or 0.0)


@dataclass(frozen=True)
class Mean:
    """One mean in both, over the requests that both have. The interval is of the difference, clips drawn anew."""

    name: str
    requests: int
    before: float
    after: float
    low: float
    high: float

    @property
    def delta(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def sure(self) -> bool:
        """Does the interval leave out 0?"""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ResultComparison:
    """All of it. `changes` are sorted, what got worse most first."""

    before: str
    after: str
    means: tuple[Mean, ...]
    changes: tuple[Change, ...]
    broken: tuple[str, ...]  # criteria that held and do not any more
    mended: tuple[str, ...]
    only_before: int  # requests without a partner
    only_after: int

    @property
    def regressions(self) -> list[Change]:
        """Requests that got worse, worst first."""
        return [change for change in self.changes if change.delta < -_NOISE]

    @property
    def improvements(self) -> list[Change]:
        """Requests that got better, best first."""
        return [change for change in reversed(self.changes) if change.delta > _NOISE]

    @property
    def worse(self) -> bool:
        """Is a criterion broken, or a mean surely lower?"""
        return bool(self.broken) or any(mean.sure and mean.delta < 0 for mean in self.means)


def compare_results(before: Path, after: Path, seed: int = 0) -> ResultComparison:
    """What `villa eval` wrote, twice: of scenarios, of benchmarks or of splits.

    Requests are partners where clip and key are the same. The interval is a paired bootstrap: the differences of whole
    clips are drawn with replacement (`villa.evaluation.bootstrap`).

    Raises:
        ResultError: a file is no result, or the two have no request in common.
    """
    one, two = (read_json(path) for path in (before, after))
    first, second = (
        {(s.clip, s.key): s for s in scored(values, path)} for values, path in ((one, before), (two, after))
    )
    both = sorted(first.keys() & second.keys())
    pairs = [Change(first[key], second[key]) for key in both]
    pairs = [pair for pair in pairs if pair.before.score is not None and pair.after.score is not None]
    if not pairs:
        raise ResultError(
            f"{before} ({len(first)} requests) and {after} ({len(second)}) have no scored request in common: "
            "compare results of the same recordings or split"
        )
    held, holds = (_criteria(values) for values in (one, two))
    return ResultComparison(
        str(before),
        str(after),
        tuple(_means(pairs, seed)),
        tuple(sorted(pairs, key=lambda pair: pair.delta)),
        tuple(name for name, passed in held.items() if passed and holds.get(name) is False),
        tuple(name for name, passed in held.items() if not passed and holds.get(name)),
        len(first.keys() - second.keys()),
        len(second.keys() - first.keys()),
    )


def scored(values: dict[str, Any], path: Path) -> list[Scored]:
    """The requests of any result that `villa eval` writes.

    Raises:
        ResultError: it is none.
    """
    try:
        if values.get("kind") == KIND:
            bags = map(bag_from_json, values["bags"])
            return [_of_scenario(bag.name, asked) for bag in bags for asked in bag.requests]
        return [_of_split(score) for score in values["scores"]]
    except ResultError as error:
        raise ResultError(f"{path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise ResultError(f"{path} is no result of villa eval (no {error}); give its JSON file or folder") from error


def _of_scenario(bag: str, asked: Asked) -> Scored:
    score = None if asked.present is None else asked.jf if asked.present else float(asked.right is True)
    return Scored(bag, asked.request_id, asked.text, "", asked.present, score)


def _of_split(score: dict[str, Any]) -> Scored:
    absent = bool(score.get("absent", False))
    value = float(not score["answered"]) if absent and "answered" in score else score["jf"]
    return Scored(score["video"], str(score["key"]), score["request"], score.get("kind", ""), not absent, value)


def _criteria(values: dict[str, Any]) -> dict[str, bool]:
    return {
        f"{verdict['scope']}: {verdict['text']}" if verdict["scope"] else verdict["text"]: verdict["passed"]
        for verdict in values.get("verdicts", ())
    }


def _means(pairs: Sequence[Change], seed: int) -> list[Mean]:
    groups = {
        "J&F of what is there": [pair for pair in pairs if pair.before.present],
        "absent, answered without a mask": [pair for pair in pairs if not pair.before.present],
    }
    kinds = sorted({pair.before.kind for pair in pairs if pair.before.present and pair.before.kind})
    groups |= {f"- {kind}": [p for p in groups["J&F of what is there"] if p.before.kind == kind] for kind in kinds}
    return [_mean(name, of, seed) for name, of in groups.items() if of]


def _mean(name: str, pairs: Sequence[Change], seed: int) -> Mean:
    clips: dict[str, list[float]] = {}
    for pair in pairs:
        clips.setdefault(pair.before.clip, []).append(pair.delta)
    low, high = interval(clips.values(), seed)
    before = fmean(pair.before.score or 0.0 for pair in pairs)
    after = fmean(pair.after.score or 0.0 for pair in pairs)
    return Mean(name, len(pairs), before, after, low, high)
