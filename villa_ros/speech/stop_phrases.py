"""Does an utterance mean "stop"? The node's own stop words, with what people put around them when they speak."""

from __future__ import annotations

import re

from villa_ros.pipeline.stop_words import is_stop
from villa_ros.speech.vocabulary import words

# What a recogniser that knows the task tries on every short utterance.
SPOKEN_STOPS = (
    "Stop!", "Stop.", "Stop it.", "Stop that.", "Stop now.", "Please stop.", "Stop, please.", "Stop, stop, stop!",
    "Stop tracking.", "Stop everything.", "Halt!", "Cancel.", "Cancel that.", "Abort.", "Freeze!", "Never mind.",
)  # fmt: skip
_AROUND = frozenset((
    "please", "now", "robot", "hey", "ok", "okay", "no", "oh", "wait", "immediately", "at", "once", "right",
    "away", "just", "i", "said", "everybody", "villa"))  # fmt: skip
_CLAUSE = re.compile(r"[.!?;,]+")
_STRONG = frozenset(["stop", "halt", "abort", "freeze"])  # they are a stop also in the middle of other words
_GOES_ON = frozenset(["tracking", "following", "watching", "moving", "looking", "searching", "segmenting"])
_THINGS = frozenset(["robot", "arm", "tracking", "search", "request", "node", "camera"])


def is_spoken_stop(text: str) -> bool:
    """Is this a stop, whatever is around it: "no, stop!", "stop tracking the mug", "Stop! I said stop the robot."?

    "We met at the bus stop" and "don't stop" are none.
    """
    clauses = [words(clause) for clause in _CLAUSE.split(text)]
    return _is_stop(words(text), text) or any(
        clause and set(clause) & _STRONG and _is_stop(clause) for clause in clauses
    )


def _is_stop(spoken: list[str], text: str = "") -> bool:
    while spoken and spoken[0] in _AROUND:
        spoken = spoken[1:]
    stops_a_thing = spoken[:2] == ["stop", "the"] and spoken[-1] in _THINGS
    if stops_a_thing or (spoken[:1] == ["stop"] and set(spoken[1:2]) & _GOES_ON):
        return True
    while spoken and spoken[-1] in _AROUND:
        spoken = spoken[:-1]
    return is_stop(" ".join(spoken) or text)
