"""Which commands sound like what was heard: a small grammar of requests, searched for the nearest sentences.

A recogniser that knows every word of English hears "the red mud" where an operator says "the red mug". The grammar
lists what operators say (a verb, a thing with a quality, a place beside another thing), and the search finds its
sentences that sound most like the text. Judging them on the sound is the recogniser's part (`Whisper.score`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from villa_ros.speech.phonemes import Costs, as_indices, loss, sounds, substitution
from villa_ros.speech.vocabulary import Vocabulary

CARRIERS = (
    "", "track", "keep track of", "follow", "watch", "keep an eye on", "keep your eyes on", "don't lose", "find",
    "find me", "look for", "look at", "locate", "search for", "show me", "show", "point at", "point to", "point out",
    "select", "segment", "mark", "highlight", "outline", "pick", "pick up", "grab", "get", "get me", "take", "hand me",
    "give me", "pass me", "bring me", "bring", "fetch", "hold", "where is", "where are", "where did", "which is",
    "which one is", "what is", "is there", "are there", "do you see", "can you see", "can you find", "can you track",
    "could you pick up", "i need", "i want", "i am looking for", "now", "and", "what about", "please track",
    "please find", "please follow", "robot track", "robot find",
)  # fmt: skip
DETERMINERS = ("the", "a", "an", "any", "all", "all the", "both", "both the", "my", "that", "this")
ARTICLES = ("the", "a", "that")
RELATIONS = (
    "left of", "to the left of", "right of", "to the right of", "next to", "beside", "behind", "in front of", "on",
    "on top of", "under", "above", "below", "near", "between", "in", "inside", "that is not", "that is",
)  # fmt: skip
PLACES = (
    "", "on the left", "on the right", "in the middle", "in the front", "in the back", "on the table", "over there",
    "behind it", "next to it", "left of it", "right of it", "go", "please", "again",
)  # fmt: skip

_WHAT_IS = ("what is", "what stands", "which one is", "which is", "the one", "the thing", "what do you see")

_BEAM = 48  # partial sentences kept from slot to slot
_REMAINING = 0.12  # expected cost of a sound that is still to come
_FAR = 0.5  # cost for each sound beyond which a sentence does not sound like the text


@dataclass(frozen=True)
class _Slot:
    """Alternatives at one place of a sentence; `phones` [W, T] are places in SOUNDS, -1 beyond a word's end."""

    words: tuple[str, ...]
    phones: npt.NDArray[np.intp]


class CommandGrammar:
    """Sentences over one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        things = _slot((*vocabulary.nouns, "one", "ones", "thing"))
        qualities = _slot(("", *vocabulary.qualities))
        self._head = [_slot(CARRIERS), _slot(DETERMINERS), qualities, things]
        self._beside = [_slot(RELATIONS), _slot(ARTICLES), qualities, things]
        self._endings = [_slot(PLACES)]
        self._others = [
            [_slot(_WHAT_IS), *self._beside],
            [_slot(CARRIERS), _slot(vocabulary.purposes)] if vocabulary.purposes else [],
            [_slot(vocabulary.requests)] if vocabulary.requests else [],
        ]
        self._attribute = [_slot(("that is", "that is not", "which is")), _slot(vocabulary.qualities)]

    def nearest(self, texts: Sequence[str], count: int) -> list[str]:
        """At most `count` sentences that sound most like any of `texts`, nearest first; none where nothing is near."""
        found: dict[str, float] = {}
        for text in texts:
            heard = as_indices(sounds(text))
            if not len(heard):
                continue
            for sentence, cost in self._search(heard).items():
                found[sentence] = min(cost / len(heard), found.get(sentence, np.inf))
        near = sorted((cost, sentence) for sentence, cost in found.items() if cost <= _FAR)
        return [sentence for _, sentence in near[:count]]

    def _search(self, heard: npt.NDArray[np.intp]) -> dict[str, float]:
        start = np.concatenate(([0.0], np.cumsum(loss()[heard]))).astype(np.float32)
        named = self._through(self._head, [""], start[None], heard)
        found: dict[str, float] = {}
        ways = [self._endings, self._beside, self._attribute]
        reached = [self._through(way, *named, heard) for way in ways]
        reached += [self._through(way, [""], start[None], heard) for way in self._others if way]
        for sentences, costs in reached:
            for sentence, row in zip(sentences, costs, strict=True):
                found[sentence] = min(float(row[-1]), found.get(sentence, np.inf))
        return found

    def _through(
        self, slots: Sequence[_Slot], sentences: list[str], costs: Costs, heard: npt.NDArray[np.intp]
    ) -> tuple[list[str], Costs]:
        """Extend partial sentences, costs [P, L+1] of having used up the first l sounds, by one word of each slot."""
        for slot in slots:
            longer = _extended(costs, slot.phones, heard)
            worth = (longer + _REMAINING * np.arange(len(heard), -1, -1, dtype=np.float32)).min(axis=2)
            best = np.argsort(worth, axis=None, kind="stable")[:_BEAM]
            rows, words = np.unravel_index(best, worth.shape)
            sentences = [f"{sentences[row]} {slot.words[word]}".strip() for row, word in zip(rows, words, strict=True)]
            costs = longer[rows, words]
        return sentences, costs


def _slot(words: Sequence[str]) -> _Slot:
    words = tuple(dict.fromkeys(words))
    spoken = [as_indices(sounds(word)) for word in words]
    phones = np.full((len(words), max(map(len, spoken))), -1, np.intp)
    for row, sound in zip(phones, spoken, strict=True):
        row[: len(sound)] = sound
    return _Slot(words, phones)


def _extended(costs: Costs, phones: npt.NDArray[np.intp], heard: npt.NDArray[np.intp]) -> Costs:
    """Edit distances [P, L+1] after each of the words [W, T] -> [P, W, L+1]."""
    surplus = np.concatenate(([0.0], np.cumsum(loss()[heard]))).astype(np.float32)
    now = np.repeat(costs[:, None], len(phones), axis=1)
    for step in phones.T:
        spoken = np.maximum(step, 0)
        after = now + loss()[spoken][None, :, None]
        taken = now[..., :-1] + substitution()[spoken][:, heard][None]
        after[..., 1:] = np.minimum(after[..., 1:], taken)
        # a sound too many may follow any other: a running minimum, measured from the surplus so far
        after = np.minimum.accumulate(after - surplus, axis=-1) + surplus
        now = np.where((step >= 0)[None, :, None], after, now)
    return now
