"""Pass criteria in words: "J&F of 'the red mug' >= 0.7", "absent stays absent", "p95 latency < 0.2 s"."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from villa_ros.evaluation.results import Asked, BagResult, Verdict
from villa_ros.pipeline.stats import quantile

SHARE, COUNT, TIME = "share", "count", "time"
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq, "=": operator.eq,
    "!=": operator.ne,
}  # fmt: skip
_TIME_UNITS = {"s": 1.0, "ms": 1e-3}
_FORM = re.compile(
    r"(?P<measure>.+?)(?:\s+of\s+(?P<quote>['\"])(?P<request>.+)(?P=quote))?\s*(?P<operator>>=|<=|==|!=|=|<|>)\s*"
    r"(?P<number>[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*(?P<unit>\S.*)?"
)


class CriterionError(ValueError):
    """A criterion that cannot be understood; the message says what was wanted."""


@dataclass(frozen=True)
class _Measure:
    unit: str
    of: Callable[[Sequence[BagResult], Sequence[Asked]], float | None]
    of_request: bool  # can be asked of a single request


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _means(name: str) -> Callable[[Sequence[BagResult], Sequence[Asked]], float | None]:
    return lambda bags, asked: _mean([getattr(one, name) for one in asked if getattr(one, name) is not None])


def _of(bags: Sequence[BagResult], name: str) -> list[float]:
    return [value for bag in bags for value in getattr(bag.timing, name)]


def _percentile(name: str, share: float) -> Callable[[Sequence[BagResult], Sequence[Asked]], float | None]:
    def measure(bags: Sequence[BagResult], asked: Sequence[Asked]) -> float | None:
        values = _of(bags, name) if name == "latency_s" else _first_masks(bags, asked)
        return quantile(values, share) if values else None

    return measure


def _first_masks(bags: Sequence[BagResult], asked: Sequence[Asked]) -> list[float]:
    return [one.first_mask_s for one in asked if one.first_mask_s is not None]


def _switches(bags: Sequence[BagResult], asked: Sequence[Asked]) -> float | None:
    counts = [one.switches for one in asked if one.switches is not None]
    return float(sum(counts)) if counts else None


def _right_or_not(present: bool, right: bool) -> Callable[[Sequence[BagResult], Sequence[Asked]], float | None]:
    """Share of the requests for what is there (or is not) that are right (or are not)."""
    return lambda bags, asked: _mean([float(one.right is right) for one in asked if one.present is present])


def _answers(bags: Sequence[BagResult], asked: Sequence[Asked]) -> float:
    return float(sum(bool(one.answer) for one in asked))


def _dropped(bags: Sequence[BagResult], asked: Sequence[Asked]) -> float:
    return float(sum(sum(reasons.values()) for bag in bags for reasons in bag.dropped.values()))


def _failed(bags: Sequence[BagResult], asked: Sequence[Asked]) -> float:
    return float(sum(one.state in ("FAILED", "REJECTED") for one in asked))


_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
MEASURES: dict[str, _Measure] = {
    "J&F": _Measure(SHARE, _means("jf"), True),
    "J": _Measure(SHARE, _means("j"), True),
    "F": _Measure(SHARE, _means("f"), True),
    "HOTA": _Measure(SHARE, _means("hota"), True),
    "coverage": _Measure(SHARE, _means("coverage"), True),
    "id switches": _Measure(COUNT, _switches, True),
    "refused": _Measure(SHARE, _right_or_not(present=True, right=False), False),
    "absent right": _Measure(SHARE, _right_or_not(present=False, right=True), False),
    "answered requests": _Measure(COUNT, _answers, False),
    "failed requests": _Measure(COUNT, _failed, False),
    "dropped frames": _Measure(COUNT, _dropped, False),
    "first mask": _Measure(TIME, _percentile("first_mask_s", 1.0), True),
    **{f"{name} latency": _Measure(TIME, _percentile("latency_s", of), False) for name, of in _PERCENTILES.items()},
    **{f"{name} first mask": _Measure(TIME, _percentile("first", of), True) for name, of in _PERCENTILES.items()},
}
# Whole sentences: what they say of a request, and which requests they are about.
SENTENCES: dict[str, tuple[bool, Callable[[Asked], bool]]] = {
    "absent stays absent": (False, lambda asked: not asked.answered),
    "present is found": (True, lambda asked: asked.answered),
}
_BY_WORDS = {" ".join(name.lower().split()): name for name in MEASURES} | {
    "mean j&f": "J&F", "mean j": "J", "mean f": "F", "identity switches": "id switches", "switches": "id switches",
    "frames dropped": "dropped frames", "max first mask": "first mask",
}  # fmt: skip


@dataclass(frozen=True)
class Criterion:
    """One criterion, understood. `measure` is a key of `MEASURES`, or of `SENTENCES` with the rest empty."""

    text: str
    measure: str
    request: str = ""  # words or id of one request; empty: all of them
    operator: str = ""
    wanted: float = 0.0  # a share of 1, a count, or seconds

    def judge(self, bags: Sequence[BagResult], scope: str = "") -> Verdict:
        """Does it hold for these recordings?"""
        asked = [one for bag in bags for one in bag.requests]
        if self.request:
            asked = [one for one in asked if self.request in (one.text, one.request_id)]
            if not asked:
                return Verdict(self.text, False, None, f"no request is {self.request!r}", scope)
        if self.measure in SENTENCES:
            return self._judge_sentence(asked, scope)
        value = MEASURES[self.measure].of(bags, asked)
        if value is None:
            return Verdict(self.text, False, None, _NOTHING[MEASURES[self.measure].unit], scope)
        passed = _OPERATORS[self.operator](value, self.wanted)
        shown = self._shown(value)
        return Verdict(self.text, passed, value, "" if passed else f"it is {shown}", scope, shown)

    def _judge_sentence(self, asked: Sequence[Asked], scope: str) -> Verdict:
        present, holds = SENTENCES[self.measure]
        about = [one for one in asked if one.present is present]
        if not about:
            kind = "there" if present else "not there"
            return Verdict(self.text, False, None, f"no request is known to be for what is {kind}", scope)
        wrong = [one.text for one in about if not holds(one)]
        share = 1 - len(wrong) / len(about)
        reason = f"{len(wrong)} of {len(about)}: {', '.join(repr(text) for text in wrong)}" if wrong else ""
        return Verdict(self.text, not wrong, share, reason, scope, f"{share:.2f}")

    def _shown(self, value: float) -> str:
        unit = MEASURES[self.measure].unit
        return f"{value:.3f} s" if unit == TIME else f"{value:.0f}" if unit == COUNT else f"{value:.3f}"


_NOTHING = {
    SHARE: "nothing to measure: no ground truth, or no request of that kind",
    COUNT: "nothing to measure: no ground truth",
    TIME: "nothing to measure: no time was taken",
}


def parse_criterion(text: str) -> Criterion:
    """A criterion in words.

    Raises:
        CriterionError: an unknown measure, no comparison, or a number whose unit does not fit.
    """
    plain = " ".join(text.split())
    if plain.lower() in SENTENCES:
        return Criterion(plain, plain.lower())
    match = _FORM.fullmatch(plain)
    if match is None:
        raise CriterionError(
            f"{text!r} is no criterion{_guess(plain)}; wanted as J&F of 'the red mug' >= 0.7, or one of: "
            + ", ".join(SENTENCES)
        )
    name = _BY_WORDS.get(match["measure"].lower())
    if name is None:
        known = ", ".join([*MEASURES, *SENTENCES])
        raise CriterionError(f"{match['measure']!r} is not measured{_guess(match['measure'])}; known: {known}")
    if match["request"] and not MEASURES[name].of_request:
        raise CriterionError(f"{name} is measured over all requests, not of {match['request']!r}: leave `of ...` out")
    wanted = _number(text, name, float(match["number"]), (match["unit"] or "").strip())
    return Criterion(plain, name, match["request"] or "", match["operator"], wanted)


def _number(text: str, name: str, number: float, unit: str) -> float:
    kind = MEASURES[name].unit
    if kind == TIME:
        if unit not in _TIME_UNITS:
            seen = f"has the unit {unit!r}" if unit else "has no unit"
            raise CriterionError(f"{text!r}: {name} is a time, and {number:g} {seen}; wanted s or ms")
        return number * _TIME_UNITS[unit]
    if kind == COUNT:
        if unit or number != int(number) or number < 0:
            raise CriterionError(
                f"{text!r}: {name} is a count; wanted a whole number without unit, saw {number:g} {unit}"
            )
        return number
    if unit not in ("", "%"):
        raise CriterionError(f"{text!r}: {name} is a share; wanted 0..1 or a percentage, saw {number:g} {unit}")
    share = number / 100 if unit else number
    if not 0 <= share <= 1:
        raise CriterionError(
            f"{text!r}: {name} is a share; {number:g}{unit} is not within 0..1 (or write {number:g} %)"
        )
    return share


def _guess(words: str) -> str:
    close = difflib.get_close_matches(words.lower(), [*_BY_WORDS, *SENTENCES], 1, cutoff=0.5)
    return f"; did you mean {_BY_WORDS.get(close[0], close[0])!r}?" if close else ""
