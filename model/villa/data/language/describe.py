"""Naming what is in view, and saying which of some things are: requests that teach a language model to look.

Their answers have no `[SEG]`: nothing is to be tracked. What they say depends on the image, where the answers to other
requests mostly repeat words of the request.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from villa.data.clips import ClipFacts
from villa.data.language.naming import FrameWords
from villa.data.language.phrases import article, as_spoken, joined, sentence
from villa.data.language.requests import RequestSample
from villa.data.language.vocabulary import TABLETOP, kind_of

_REQUESTS = (
    "what do you see",
    "what can you see",
    "what is on the table",
    "what is there",
    "what is in front of you",
    "which objects are there",
    "tell me what you see",
    "name everything you see",
    "name the objects from left to right",
    "list the objects",
    "describe the scene",
    "describe what is on the table",
)
_CHECKS = (
    "what colour is {nouns}",
    "which colour is {nouns}",
    "tell me the colour of {nouns}",
    "check {nouns}",
    "look for {nouns} and tell me the colour",
    "what about {nouns}",
)
_MOST_CHECKED = 5


def check(
    facts: ClipFacts, frame_index: int, rng: np.random.Generator, known: Sequence[str] = TABLETOP
) -> RequestSample | None:
    """Some nouns, each with the colour of the one thing it means or with its absence; None where all are unclear."""
    known = facts.labelled or known
    frame = FrameWords(facts, frame_index)
    here = [thing.facts.kind for thing in frame.things]
    nouns = {kind_of(kind).nouns[0] for kind in (*here, *rng.choice(list(known), min(4, len(known)), replace=False))}
    said = []
    for noun in rng.permutation(sorted(nouns)):
        targets, clear = frame.said(str(noun))
        if clear and not targets:
            said.append((str(noun), "not here"))
        elif clear and len(targets) == 1 and targets[0].colour is not None:
            said.append((str(noun), targets[0].facts.colour))
    said = said[:_MOST_CHECKED]
    if not said:
        return None
    plain = str(rng.choice(_CHECKS)).format(nouns=joined([f"the {noun}" for noun, _ in said]))
    answer = sentence(joined([f"the {noun} is {colour}" for noun, colour in said]))
    return RequestSample("check", as_spoken(plain, rng), (), answer, plain)


def describe(facts: ClipFacts, frame_index: int, rng: np.random.Generator) -> RequestSample:
    """What one frame shows, from left to right."""
    frame = FrameWords(facts, frame_index)
    plain = str(rng.choice(_REQUESTS))
    return RequestSample("describe", as_spoken(plain, rng), (), _seen(frame.names(frame.things)), plain)


def _seen(names: Sequence[str]) -> str:
    # "the left red mug": one of several alike, so it has the definite article.
    parts = [f"the {name}" if name.startswith(("left ", "middle ", "right ")) else article(name) for name in names]
    return f"I see {joined(parts)}." if parts else "I see nothing."
