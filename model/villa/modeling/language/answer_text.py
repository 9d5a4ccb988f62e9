"""Generated text -> the answer in words, with a name and a place for each `[SEG]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from villa.modeling.language.tokenizer import SEG

ABSENT = "I do not see that here."
_SPECIAL = re.compile(r"<\|[^|]*\|>")
_ARTICLE = re.compile(r"\b(?:the|a|an)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """Text without special tokens; one name and one code-point offset for each `[SEG]`."""

    text: str
    names: tuple[str, ...]
    offsets: tuple[int, ...]


def read(raw: str) -> Answer:
    """Raw generated text -> answer."""
    pieces = _SPECIAL.sub("", raw).strip().split(SEG)
    text = ""
    names, offsets = [], []
    for index, piece in enumerate(pieces):
        words = piece.strip()
        joined = index == 0 or not words or words[0] in ".,;:!?"
        text += words if joined else f" {words}"
        if index < len(pieces) - 1:
            names.append(_name(piece))
            offsets.append(len(text))
    return Answer(text.strip(), tuple(names), tuple(offsets))


def _name(piece: str) -> str:
    """The noun phrase that a piece of text ends with."""
    starts = [match.end() for match in _ARTICLE.finditer(piece)]
    name = piece[starts[-1] :] if starts else piece
    return re.sub(r"^[\s,.;:]*(?:and\s+)?", "", name).strip() or "object"
