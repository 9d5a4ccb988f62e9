"""The words of the task: what can be asked for, and how things differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

QUALITIES = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray",
    "big", "small", "large", "biggest", "smallest", "largest", "leftmost", "rightmost", "left", "right", "other",
    "first", "last", "nearest", "tallest",
)  # fmt: skip
_SAME = {"grey": "gray", "colour": "color", "coloured": "colored", "favourite": "favorite"}
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_PROMPT_NAMES = 40  # Whisper looks at 224 tokens of what was said before


class VocabularyError(ValueError):
    """Names that no one could say."""


@dataclass(frozen=True)
class Vocabulary:
    """What the recogniser is biased to, in lower case."""

    nouns: tuple[str, ...]
    qualities: tuple[str, ...] = QUALITIES
    purposes: tuple[str, ...] = ()  # things by what they are for: "something to drink from"
    requests: tuple[str, ...] = ()  # whole sentences

    def prompt(self, stop_words: Sequence[str] = ("stop", "cancel")) -> str:
        """Text that a recogniser may take for what was said before: the names of the things, and how to stop."""
        return f"{', '.join((*self.nouns[:_PROMPT_NAMES], *stop_words))}."


def words(text: str) -> list[str]:
    """Lower-case words without punctuation, in one spelling."""
    return [
        _SAME.get(word, word) for word in _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    ]


def of_objects(names: Sequence[str]) -> Vocabulary:
    """The vocabulary of these things, singular and plural.

    Raises:
        VocabularyError: a name holds no letter.
    """
    for name in names:
        if not words(name):
            raise VocabularyError(f"object name {name!r} holds no word, wanted names such as 'red mug'")
    given = tuple(dict.fromkeys(" ".join(words(name)) for name in names))
    return Vocabulary(tuple(dict.fromkeys((*given, *(_plural(name) for name in given)))))


def shipped() -> Vocabulary:
    """The things that the shipped model knows by name."""
    from villa.data.language.vocabulary import COLOURS, KIND, TABLETOP
    from villa.data.language.wordings import TRAINED

    kinds = [KIND[name] for name in TABLETOP]
    nouns = [noun for kind in kinds for noun in kind.nouns]
    plurals = [kind.plural for kind in kinds]
    further = ("cereal box", "milk carton", "toy", "fruit", "object", "cube", "milk", "cereal", "water bottle")
    return Vocabulary(
        tuple(dict.fromkeys((*nouns, *plurals, *further))),
        tuple(dict.fromkeys((*COLOURS, *QUALITIES))),
        tuple(phrase for use in TRAINED.uses.values() for phrase in use.phrases),
        tuple(request for use in TRAINED.uses.values() for request in use.requests),
    )


def _plural(name: str) -> str:
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es"
    return f"{name[:-1]}ies" if name.endswith("y") and name[-2:-1] not in "aeiou" else f"{name}s"
