"""Does an utterance mean "stop"? The node's own stop words, with what people put around them when they speak."""

from __future__ import annotations

import re

from villa_ros.pipeline.stop_words import is_aside, is_stop
from villa_ros.speech.vocabulary import words

# What a recogniser that knows the task tries on every short utterance.
SPOKEN_STOPS = (
    "Stop!", "Stop.", "Stop it.", "Stop that.", "Stop now.", "Please stop.", "Stop, please.", "Stop, stop, stop!",
    "Stop tracking.", "Stop everything.", "Halt!", "Cancel.", "Cancel that.", "Abort.", "Freeze!", "Never mind.",
)  # fmt: skip
_CLAUSE = re.compile(r"[.!?;,]+")
_STRONG = frozenset(["stop", "halt", "abort", "freeze"])  # they are a stop also in the middle of other words
_GOES_ON = frozenset(["tracking", "following", "watching", "moving", "looking", "searching", "segmenting"])
_THINGS = frozenset(["robot", "arm", "tracking", "search", "request", "node", "camera"])


def is_spoken_stop(text: str) -> bool:
    """Is this a stop, whatever is around it: "no, stop!", "stop tracking the mug", "Stop! I said stop the robot."?

    "We met at the bus stop" and "don't stop" are none.
    """
    clauses = [words(clause) for clause in _CLAUSE.split(text)]
    return (
        is_stop(text)
        or _is_stop(words(text))
        or any(clause and set(clause) & _STRONG and _is_stop(clause) for clause in clauses)
    )


def _is_stop(spoken: list[str]) -> bool:
    if is_stop(" ".join(spoken)):
        return True
    before, stop, after = " ".join(spoken).partition("stop ")
    if not stop or not is_aside(before):
        return False
    stopped = after.split()
    return stopped[0] in _GOES_ON or (stopped[0] == "the" and stopped[-1] in _THINGS)
