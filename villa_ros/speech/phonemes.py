"""How alike two English texts sound, from their letters alone: coarse sounds, and what taking one for another costs.

Only a shortlist is drawn by it (`command_grammar`); which of the short-listed was said is judged on the sound itself.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float32]

# Spellings -> sounds, the longest spelling first. Capitals: sh S, ch C, th T, ng N. All vowels are a, e, i, o, u.
_SPELLINGS = (
    ("tion", "Sn"), ("ough", "o"), ("augh", "o"), ("eigh", "e"), ("igh", "i"), ("tch", "C"), ("dge", "j"),
    ("sch", "sk"), ("ch", "C"), ("sh", "S"), ("th", "T"), ("ph", "f"), ("wh", "w"), ("ck", "k"), ("ng", "N"),
    ("qu", "kw"), ("kn", "n"), ("wr", "r"), ("mb", "m"), ("gh", "g"), ("ce", "s"), ("ci", "si"), ("cy", "si"),
    ("ge", "j"), ("gi", "gi"), ("ee", "i"), ("ea", "i"), ("oo", "u"), ("ou", "o"), ("ow", "o"), ("oa", "o"),
    ("ai", "e"), ("ay", "e"), ("ey", "i"), ("oy", "o"), ("oi", "o"), ("au", "o"), ("aw", "o"), ("ew", "u"), ("ie", "i"),
    ("bb", "b"), ("dd", "d"), ("ff", "f"), ("gg", "g"), ("ll", "l"), ("mm", "m"), ("nn", "n"), ("pp", "p"),
    ("rr", "r"), ("ss", "s"), ("tt", "t"), ("zz", "z"), ("c", "k"), ("q", "k"), ("x", "ks"), ("y", "i"),
)  # fmt: skip
_SPELLED = dict(_SPELLINGS)
_ANY = re.compile("|".join(spelling for spelling, _ in _SPELLINGS) + "|[a-z]")
_SILENT_E = re.compile(r"(?<=[a-z]{2})e(s?)$")

_VOWELS = "aeiou"
_CONSONANTS = "bdfghjklmnprstvwzCSTN"
SOUNDS = _VOWELS + _CONSONANTS
_ALIKE = (  # sets of consonants and what one costs for another
    (("pb", "td", "kg", "fv", "sz", "Cj", "sS", "mn", "nN", "TfT", "Td", "CS", "Ct"), 0.3),
    (("ptkbdg", "fvszSTh", "lrw", "bvw", "mnN", "Cjtd"), 0.5),
)
_OTHER, _ACROSS, _VOWEL = 0.9, 1.2, 0.3
_LOST_VOWEL, _LOST_CONSONANT = 0.4, 0.7


def sounds(text: str) -> str:
    """English text -> its coarse sounds; whatever is no letter is left out."""
    return "".join(_of_word(word) for word in re.findall(r"[a-z]+", text.lower().replace("'", "")))


@cache
def _of_word(word: str) -> str:
    voiced = _SILENT_E.sub(r"\1", word)
    found = "".join(_SPELLED.get(part, part) for part in _ANY.findall(voiced))
    return re.sub(r"(.)\1+", r"\1", found)


def as_indices(heard: str) -> npt.NDArray[np.intp]:
    """Sounds -> their places in `SOUNDS`, [L]."""
    return np.array([SOUNDS.index(sound) for sound in heard], np.intp)


@cache
def substitution() -> Costs:
    """What hearing one sound for another costs, [S, S], symmetric with a diagonal of 0."""
    costs = np.full((len(SOUNDS), len(SOUNDS)), _OTHER, np.float32)
    vowels = np.array([sound in _VOWELS for sound in SOUNDS])
    costs[np.ix_(vowels, vowels)] = _VOWEL
    costs[np.ix_(vowels, ~vowels)] = costs[np.ix_(~vowels, vowels)] = _ACROSS
    for groups, cost in reversed(_ALIKE):
        for group in groups:
            places = as_indices(group)
            costs[np.ix_(places, places)] = cost
    np.fill_diagonal(costs, 0.0)
    return costs


@cache
def loss() -> Costs:
    """What a sound that is missing, or too many, costs, [S]."""
    return np.array([_LOST_VOWEL if sound in _VOWELS else _LOST_CONSONANT for sound in SOUNDS], np.float32)
