"""Is a request in the one language that a small model reads? What it cannot read must not become "not there"."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

from villa.modeling.language.tokenizer import plain_text

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
# Words that an English request has and hardly any other one: each outweighs a word that looks foreign.
_ENGLISH = frozenset({
    "the", "this", "that", "these", "those", "which", "with", "of", "and", "to", "is", "are", "my", "your", "all",
    "find", "show", "it", "not", "from", "at", "by", "for", "there", "what", "where", "one", "please", "give", "grab",
    "pick", "put", "take", "into", "onto", "next", "behind", "under", "between", "left", "right",
})  # fmt: skip
_SHARE = 0.5  # of the words that are not the model's own


@cache
def _others() -> dict[str, frozenset[str]]:
    """Languages and words that give them away."""
    known = yaml.safe_load(Path(__file__).with_name("other_languages.yaml").read_text("utf-8"))
    return {language: frozenset(map(str.casefold, words)) for language, words in known.items()}


def objection(text: str, own: Callable[[str], bool]) -> str:
    """Why a text cannot be read as English; empty where nothing speaks against it.

    Another script is certain. Another language in Latin letters is told by its commonest words, where most of the text
    is none of the model's `own` words: "la taza roja" is, "the La Croix can" is not. One that is not listed goes by.
    """
    words = _WORD.findall(plain_text(text))
    if not words:
        return 'the text holds no word: wanted a request such as "the red mug"'
    for word in words:
        if len(word) > 1 and not any(_is_latin(letter) for letter in word):
            return f'the model reads English alone, and "{word}" is in other letters: say it in English'
    words = [word.casefold() for word in words if len(word) > 1]
    signs = {language: [word for word in words if word in own_words] for language, own_words in _others().items()}
    language = max(signs, key=lambda one: len(signs[one]))
    found = signs[language]
    foreign = max(len(found), sum(not own(word) for word in words))
    if len(found) > sum(word in _ENGLISH for word in words) and foreign >= _SHARE * len(words):
        listed = ", ".join(f'"{word}"' for word in dict.fromkeys(found))
        return f"the model reads English alone, and {listed} looks like {language}: say it in English"
    return ""


def _is_latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")
