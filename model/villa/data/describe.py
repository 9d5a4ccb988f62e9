"""Naming everything in view: the request that teaches the language model to read what the camera saw.

Its answer has no `[SEG]`: nothing is to be tracked. Every word of it depends on the image, where the answers to other
requests mostly repeat words of the request.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from villa.data.clips import ClipFacts
from villa.data.naming import FrameWords
from villa.data.phrases import article, as_spoken
from villa.data.requests import RequestSample

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


def describe(facts: ClipFacts, frame_index: int, rng: np.random.Generator) -> RequestSample:
    """What one frame shows, from left to right."""
    frame = FrameWords(facts, frame_index)
    plain = str(rng.choice(_REQUESTS))
    return RequestSample("describe", as_spoken(plain, rng), (), _sentence(frame.names(frame.things)), plain)


def _sentence(names: Sequence[str]) -> str:
    # "the left red mug": one of several alike, so it has the definite article.
    parts = [f"the {name}" if name.startswith(("left ", "middle ", "right ")) else article(name) for name in names]
    if not parts:
        return "I see nothing."
    return f"I see {parts[0]}." if len(parts) == 1 else f"I see {', '.join(parts[:-1])} and {parts[-1]}."
