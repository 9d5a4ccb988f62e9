"""How people word requests to a robot: sentences, lists, plurals, slips of the tongue and of the keyboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from villa.data.language.vocabulary import KIND, TABLETOP
from villa.data.language.wordings import TRAINED, Wording
from villa.modeling.language import plurals

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_BEFORE, _AFTER = 0.2, 0.15
THINGS = ("thing", "object", "item")


def number(count: int) -> str:
    """In words up to ten, beyond that in digits."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def joined(parts: Sequence[str]) -> str:
    """One or more phrases as a list in a sentence: "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def article(noun_phrase: str) -> str:
    """ "a" or "an" before it."""
    return f"{'an' if noun_phrase[0] in 'aeiou' else 'a'} {noun_phrase}"


def plural(noun: str) -> str:
    """Plural of a noun of the vocabulary or of "thing", "object", "item"."""
    if noun in KIND:
        return KIND[noun].plural
    if not _of_tabletop(noun):
        return plurals.plural(noun)
    # As the table-top benchmark has had it from the beginning: its requests stay as they are.
    if noun.startswith("loaf"):
        return noun.replace("loaf", "loaves", 1)
    if noun.endswith(("x", "sh", "ch", "ss")):
        return noun + "es"
    return noun if noun.endswith("s") else noun + "s"


@cache
def _of_tabletop(noun: str) -> bool:
    return noun in THINGS or any(noun in KIND[name].nouns for name in TABLETOP)


@dataclass(frozen=True)
class Speaker:
    """Someone who words requests: all randomness comes from `rng`, all sentences from `wording`.

    `known`: kinds that may be asked for though they are not there.
    """

    rng: np.random.Generator
    wording: Wording = TRAINED
    known: Sequence[str] = TABLETOP

    def pick(self, options: Sequence[str]) -> str:
        """One of these."""
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float) -> bool:
        """True this often."""
        return bool(self.rng.random() < share)

    def one(self, noun_phrase: str) -> str:
        """A request for the one thing that `noun_phrase` (without article) means."""
        words, form = self.wording, self.rng.random()
        definite = f"the {noun_phrase}"
        if words.bare and form < 0.2:
            return noun_phrase
        if words.bare and form < 0.32:
            return definite
        if form < 0.72:
            return self.pick(words.commands).format(verb=self.pick(words.verbs), np=definite)
        if form < 0.88:
            return self.pick(words.questions_one).format(np=definite)
        return self.pick(words.some).format(np=article(noun_phrase))

    def these(self, noun_phrase: str) -> str:
        """A request for things that a phrase in the plural, with its article or quantifier, means."""
        words, form = self.wording, self.rng.random()
        if words.bare and form < 0.25:
            return noun_phrase
        if form < 0.8 or noun_phrase.startswith(("every", "each", "any ")):
            return self.pick(words.commands).format(verb=self.pick(words.verbs), np=noun_phrase)
        return self.pick(words.questions_many).format(np=noun_phrase)

    def some(self, phrase: str) -> str:
        """A request with a phrase such as "something to read"."""
        words = self.wording
        return phrase if words.bare and self.chance(0.25) else self.pick(words.some).format(np=phrase)

    def aside(self, text: str) -> str:
        """The request, now and then with what people say around one."""
        words = self.wording
        if words.before and self.chance(_BEFORE):
            text = f"{self.pick(words.before)}, {text}"
        return f"{text}, {self.pick(words.after)}" if words.after and self.chance(_AFTER) else text

    def use(self, use: str) -> str:
        """A request for what something is for."""
        requests, phrases = self.wording.uses[use]
        return self.pick(requests) if self.chance(0.45) else self.some(self.pick(phrases))


_QUESTION_WORDS = ("where", "what", "which", "who", "how", "do ", "is ", "can ", "could ", "would ", "are ")


def as_spoken(text: str, rng: np.random.Generator) -> str:
    """The same words as typed or as a recogniser writes them: case, punctuation, now and then a slip."""
    if rng.random() < 0.3:
        text = text.replace("gray", "grey")
    if rng.random() < 0.05:
        text = _slip(text, rng)
    style = rng.random()
    if style < 0.45:
        return text.lower().replace(",", "")
    if style < 0.6:
        return text
    text = text[0].upper() + text[1:]
    if style < 0.7:
        return text
    return text + ("?" if text.lower().startswith(_QUESTION_WORDS) else "." if rng.random() < 0.8 else "!")


def _slip(text: str, rng: np.random.Generator) -> str:
    """Swap, drop or double one letter inside a longer word."""
    places = [i for i in range(1, len(text) - 2) if text[i : i + 2].isalpha() and text[i - 1].isalpha()]
    if not places:
        return text
    at = int(rng.choice(places))
    kind = int(rng.integers(3))
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if kind == 1 else text[:at] + text[at] + text[at:]
