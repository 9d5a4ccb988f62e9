"""The plural of any noun, and back: of categories of a data set, and of what people ask for."""

from __future__ import annotations

_SAME = frozenset(
    {"sheep", "skis", "scissors", "pliers", "fish", "broccoli", "rice", "tofu", "tempeh", "bread", "corn"}
)
_IRREGULAR = {
    "person": "people", "mouse": "mice", "knife": "knives", "loaf": "loaves", "leaf": "leaves", "shelf": "shelves",
    "man": "men", "woman": "women", "child": "children", "tooth": "teeth", "foot": "feet", "tomato": "tomatoes",
    "potato": "potatoes", "half": "halves",
}  # fmt: skip
_VOWELS = "aeiou"


def plural(noun: str) -> str:
    """Of a noun of one or more words, the last of which changes; "slice of bread": the one before "of"."""
    head, of, rest = noun.partition(" of ")
    before, space, last = head.rpartition(" ")
    return f"{before}{space}{_of_word(last)}{of}{rest}"


def singulars(word: str) -> set[str]:
    """The words whose plural this one may be; of itself, where plural and singular are the same."""
    stems = {word, word.removesuffix("s"), word.removesuffix("es"), f"{word.removesuffix('ies')}y"}
    return {one for one in (stems | set(_IRREGULAR)) if one and _of_word(one) == word}


def _of_word(word: str) -> str:
    small = word.lower()
    if small in _SAME or small in _IRREGULAR.values():
        return word
    if small in _IRREGULAR:
        return _IRREGULAR[small]
    if small.endswith(("s", "x", "z", "ch", "sh")):
        # "glasses", but a name that is a plural already ("beans", "peppercorns") stays
        return word if small.endswith("s") and not small.endswith(("ss", "us")) else f"{word}es"
    if small.endswith("y") and small[-2:-1] not in _VOWELS:
        return f"{word[:-1]}ies"
    return f"{word}s"
