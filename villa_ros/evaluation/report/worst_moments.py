"""Which requests and which frames of theirs to look at first."""

from __future__ import annotations

from dataclasses import dataclass

from villa_ros.evaluation.results import Asked, BagResult, Moment, ScenarioResult

LOW_JF = 0.5  # a request that found something below it is worth a look
PER_REQUEST = 3
IN_ALL = 12


@dataclass(frozen=True)
class WorstMoment:
    """A frame of a request on which it did badly."""

    bag: BagResult
    asked: Asked
    moment: Moment

    @property
    def jf(self) -> float | None:
        """J&F of the frame; None where nothing is meant, so that any mask is one too many."""
        return moment_jf(self.moment)


def moment_jf(moment: Moment) -> float | None:
    """Mean of J and F of one frame; None without both."""
    return None if moment.j is None or moment.f is None else (moment.j + moment.f) / 2


def is_low(asked: Asked) -> bool:
    """Did it find what is there, and badly?"""
    return bool(asked.present and asked.answered and asked.jf is not None and asked.jf < LOW_JF)


def worst_first(result: ScenarioResult) -> list[tuple[BagResult, Asked]]:
    """Every request with its bag: wrong ones, then by J&F, then without ground truth, then what was rightly refused."""
    return sorted(result.requests, key=lambda entry: _rank(entry[1]))


def worst_moments(result: ScenarioResult) -> list[WorstMoment]:
    """At most `PER_REQUEST` frames of each wrong or low request, `IN_ALL` together, worst requests first.

    Each request gets its worst frame before any gets its second.
    """
    chosen = [
        [WorstMoment(bag, asked, moment) for moment in _lowest(asked)]
        for bag, asked in worst_first(result)
        if asked.right is False or is_low(asked)
    ]
    room = IN_ALL
    kept = [0] * len(chosen)
    for turn in range(PER_REQUEST):
        for place, moments in enumerate(chosen):
            if room and turn < len(moments):
                kept[place] += 1
                room -= 1
    return [moment for moments, count in zip(chosen, kept, strict=True) for moment in moments[:count]]


def _rank(asked: Asked) -> tuple[int, float]:
    jf = asked.jf if asked.jf is not None else 0.0
    if asked.right is False:
        return 0, jf
    if asked.present:
        return 1, jf
    return (2, 0.0) if asked.right is None else (3, 0.0)


def _lowest(asked: Asked) -> list[Moment]:
    """The frames with the lowest J&F; where nothing is meant, frames with masks.

    They are a part of the window apart: neighbouring frames show the same mistake.
    """
    if asked.present:
        of_frames = [(jf, moment) for moment in asked.moments if (jf := moment_jf(moment)) is not None]
    else:
        of_frames = [(0.0, moment) for moment in asked.moments if moment.masks]
    stamps = [moment.stamp_ns for moment in asked.moments]
    apart_ns = (max(stamps) - min(stamps)) // (PER_REQUEST + 1) if stamps else 0
    taken: list[Moment] = []
    for _, moment in sorted(of_frames, key=lambda entry: (entry[0], entry[1].stamp_ns)):
        if len(taken) < PER_REQUEST and all(abs(moment.stamp_ns - one.stamp_ns) >= apart_ns for one in taken):
            taken.append(moment)
    return taken
