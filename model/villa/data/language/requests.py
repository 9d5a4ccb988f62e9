"""Requests made from the facts of a frame, each with the objects it means and a short, regular answer.

A request is only asked when no careful viewer could answer it otherwise: whatever is barely visible, hidden for the
moment, between two names or between left and right is neither meant nor denied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from villa.data.clips import ClipFacts
from villa.data.language import (
    requests_absent,
    requests_corrected,
    requests_in_view,
    requests_of_sets,
    requests_of_time,
)
from villa.data.language.drafts import Draft, Earlier, Maker
from villa.data.language.naming import FrameWords
from villa.data.language.phrases import Speaker, as_spoken
from villa.data.language.vocabulary import COLOURS, KINDS, TABLETOP
from villa.data.language.wordings import TRAINED, Wording

__all__ = ["ALL_KINDS", "COLOURS", "KINDS", "REQUEST_KINDS", "RequestSample", "sample_requests"]

MOST_TARGETS = 5


@dataclass(frozen=True)
class RequestSample:
    """One request about one frame.

    `targets` are mask ids from left to right; `answer` names them in that order, each before its `[SEG]`.
    `text` is as it would be typed or recognised, `plain` the same before slips and changes of case.
    `history` is what it follows up on.
    """

    kind: str
    text: str
    targets: tuple[int, ...]
    answer: str
    plain: str = ""
    history: tuple[Earlier, ...] = ()
    anchors: tuple[int, ...] = ()  # mask ids of the other ends of a relation
    candidates: tuple[int, ...] = ()  # and of those among which `targets` were chosen


_MAKERS: dict[str, tuple[Maker, float]] = {
    "name": (requests_in_view.by_name, 0.13),
    "colour": (requests_in_view.by_colour, 0.16),
    "material": (requests_in_view.by_material, 0.02),
    "relation": (requests_in_view.by_relation, 0.13),
    "use": (requests_in_view.by_use, 0.1),
    "several": (requests_in_view.several, 0.08),
    "ambiguous": (requests_in_view.ambiguous, 0.05),
    "absent": (requests_absent.absent, 0.165),
    "superlative": (requests_in_view.superlative, 0.04),
    "size": (requests_in_view.by_size, 0.03),
    "negation": (requests_in_view.negation, 0.025),
    "time": (requests_of_time.by_time, 0.09),
    "follow-up": (requests_in_view.follow_up, 0.05),
}
REQUEST_KINDS = tuple(_MAKERS)
# What people say besides; the splits of the benchmark that were there before ask for none of it.
_MORE_MAKERS: dict[str, tuple[Maker, float]] = {
    "group": (requests_of_sets.by_group, 0.06),
    "exclusion": (requests_of_sets.all_but, 0.04),
    "corrected": (requests_corrected.broken_off, 0.07),
    "appeared": (requests_of_time.came_into_view, 0.02),
}
_EVERY_MAKER = _MAKERS | _MORE_MAKERS
ALL_KINDS = tuple(_EVERY_MAKER)
# What can be asked where not everything in view is known: what rests on the names of things alone, and what is absent.
_OF_LABELS = ("name", "several", "ambiguous", "absent", "superlative", "size")
# Most of what is drawn there cannot be asked, while something is absent everywhere: left alone, half would be.
_ABSENT_OF_LABELS = 0.22
_TRIES = 24


def sample_requests(
    facts: ClipFacts,
    frame_index: int,
    rng: np.random.Generator,
    count: int,
    kinds: Sequence[str] = REQUEST_KINDS,
    *,
    since: int = 0,
    also_on: Sequence[int] = (),
    wording: Wording = TRAINED,
    known: Sequence[str] = TABLETOP,
    most: int = MOST_TARGETS,
) -> list[RequestSample]:
    """Up to `count` requests about one frame; fewer only where the frame offers nothing of these kinds.

    About one in five asks for what is not there, also of a clip that does not know everything. The texts of one call
    differ.

    Args:
        facts: The clip.
        frame_index: Frame that the requests are about, the newest one that was seen.
        rng: All randomness comes from here.
        count: How many.
        kinds: Which of `ALL_KINDS` to draw from, at their usual shares.
        since: First frame that was seen: what happened is asked about from there on.
        also_on: Further frames on which a request has to mean the same things.
        wording: Sentences to draw from.
        known: Kinds that may be asked for though they are not there; of a clip that does not know everything, only
            those that it knows are.
        most: Things that a request may mean.
    """
    if facts.labelled:
        kinds, known = [kind for kind in kinds if kind in _OF_LABELS], facts.labelled
        if not kinds:
            return []
    speaker = Speaker(rng, wording, known)
    frame = FrameWords(facts, frame_index, since)
    others = [FrameWords(facts, index, since) for index in also_on]
    weights = np.array([_EVERY_MAKER[kind][1] for kind in kinds])
    weights = weights / weights.sum()
    samples: list[RequestSample] = []
    seen: set[str] = set()
    most_absent = count
    if facts.labelled and len(kinds) > 1:
        most_absent = int(count * _ABSENT_OF_LABELS + rng.random())
    for _ in range(count * 4):
        if len(samples) == count:
            break
        kind = str(rng.choice(list(kinds), p=weights))
        if kind == "absent" and sum(sample.kind == kind for sample in samples) >= most_absent:
            continue
        maker = _EVERY_MAKER[kind][0]
        for _ in range(_TRIES):
            draft = maker(frame, speaker)
            if draft is None or len(draft.targets) > most or draft.text in seen:
                continue
            if all(draft.holds_on(other) for other in others):
                seen.add(draft.text)
                samples.append(_said(draft, speaker))
                break
    return samples


def _said(draft: Draft, speaker: Speaker) -> RequestSample:
    rng = speaker.rng
    ordered = tuple(thing.id for thing in sorted(draft.targets, key=lambda thing: thing.view.centroid[0]))
    spoken = as_spoken(speaker.aside(draft.text), rng)
    history = tuple(replace(turn, request=as_spoken(turn.request, rng)) for turn in draft.history)
    anchors, candidates = (tuple(thing.id for thing in things) for things in (draft.anchors, draft.candidates))
    return RequestSample(draft.kind, spoken, ordered, draft.answer, draft.text, history, anchors, candidates)
