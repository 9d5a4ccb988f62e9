"""What was said: Whisper's own words, or a sentence of the task that fits the sound as well.

Whisper hears any English; an operator asks for the things at hand. Sentences of the command grammar that sound like
what Whisper (and the letter model) heard are scored on the sound by both. The best of them is taken where it fits
nearly as well as Whisper's own words; else those stay, whatever they are. This is rescoring by a task's language model;
a prompt with the names of things makes a tiny Whisper repeat itself, and biases it less (docs/speech.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from villa_ros.speech.command_grammar import CommandGrammar
from villa_ros.speech.letter_model import LetterModel
from villa_ros.speech.sound import Sound
from villa_ros.speech.stop_phrases import SPOKEN_STOPS, is_spoken_stop
from villa_ros.speech.vocabulary import Vocabulary, words
from villa_ros.speech.whisper import Encoded, Whisper

if TYPE_CHECKING:
    from torch import Tensor

RESCORED_LANGUAGE = "en"  # the grammar, the letters and the stops below are English
_SHORTLIST = 80  # sentences that the letter model scores
_BY_LETTERS, _BY_SOUND, _STOPS = 9, 4, 2  # of them, and of the stops, scored by Whisper
_LETTERS_COUNT = 0.5  # weight of the letter model against Whisper
_MARGIN = 12.0  # nats that a sentence of the task may fit worse than Whisper's own words
_STOP_MARGIN = 6.0
_STOP_LONGEST_S = 3.0
_QUESTIONS = frozenset(["where", "which", "what", "is", "are", "do", "can", "could"])


@dataclass(frozen=True)
class Heard:
    """The words of one utterance."""

    text: str
    confidence: float  # 0..1: geometric mean of the tokens' probabilities
    language: str  # code such as "en"
    no_speech: float  # probability that nobody spoke
    own_words: str  # of Whisper, before anything was rescored
    of_the_task: bool  # a sentence of the grammar, or a stop


@dataclass(frozen=True)
class OwnWords:
    """What Whisper alone made of some sound."""

    sound: Sound
    encoded: Encoded
    language: str
    text: str
    no_speech: float


class Recogniser:
    """Turns a span of speech into words.

    `rescore`: let the task's sentences decide (English only); `prompt`: give Whisper the names of things as well.
    """

    def __init__(
        self,
        whisper: Whisper,
        vocabulary: Vocabulary,
        letters: LetterModel | None = None,
        *,
        rescore: bool = True,
        prompt: bool = False,
    ) -> None:
        self._whisper, self._letters = whisper, letters or LetterModel()
        self._grammar = CommandGrammar(vocabulary)
        self.vocabulary = vocabulary
        self._rescore, self._prompt = rescore, vocabulary.prompt() if prompt else ""

    def hear(self, sound: Sound) -> Heard:
        """[N] -> the words of a whole utterance."""
        return self.decide(self.own_words(sound))

    def own_words(self, sound: Sound) -> OwnWords:
        """[N] -> what Whisper alone hears; half of the work of `hear`, and enough to know most stops."""
        encoded = self._whisper.encode(sound)
        language = self._whisper.language(encoded)
        own = self._whisper.transcribe(encoded, language, self._prompt)
        return OwnWords(sound, encoded, language, own.text, own.no_speech)

    def decide(self, own: OwnWords) -> Heard:
        """Whisper's own words, or the sentence of the task that is taken for them."""
        if own.language != RESCORED_LANGUAGE or not self._rescore or is_spoken_stop(own.text):
            return self._as_it_is(own)
        letters = self._letters.hear(own.sound)
        candidates = self._candidates(own, letters)
        if not candidates:
            return self._as_it_is(own)
        texts = [own.text or ".", *candidates]
        whispers = self._whisper.score(own.encoded, own.language, texts)
        spelled = self._letters.score(letters, texts)
        worth = [whisper + _LETTERS_COUNT * letter for (whisper, _), letter in zip(whispers, spelled, strict=True)]
        best = max(range(1, len(texts)), key=worth.__getitem__)
        margin = _STOP_MARGIN if texts[best] in SPOKEN_STOPS else _MARGIN
        if worth[best] < worth[0] - margin:
            best = 0
        log_probability, tokens = whispers[best]
        return Heard(
            own.text if best == 0 else texts[best],
            math.exp(log_probability / max(1, tokens)),
            own.language,
            own.no_speech,
            own.text,
            best > 0,
        )

    def _candidates(self, own: OwnWords, letters: Tensor) -> list[str]:
        near = [sentence(text) for text in self._grammar.nearest([own.text, self._letters.text(letters)], _SHORTLIST)]
        chosen = self._best_spelled(letters, near, _BY_LETTERS) + near[:_BY_SOUND]
        if own.encoded.seconds <= _STOP_LONGEST_S:
            chosen += self._best_spelled(letters, SPOKEN_STOPS, _STOPS)
        return [text for text in dict.fromkeys(chosen) if text != own.text]

    def _best_spelled(self, letters: Tensor, texts: Sequence[str], count: int) -> list[str]:
        if not texts:
            return []
        scores = self._letters.score(letters, texts)
        return [texts[index] for index in sorted(range(len(texts)), key=lambda index: -scores[index])[:count]]

    def _as_it_is(self, own: OwnWords) -> Heard:
        ((log_probability, tokens),) = self._whisper.score(own.encoded, own.language, [own.text or "."])
        confidence = math.exp(log_probability / max(1, tokens)) if own.text else 0.0
        return Heard(own.text, confidence, own.language, own.no_speech, own.text, is_spoken_stop(own.text))


@cache
def sentence(text: str) -> str:
    """A text of the grammar as Whisper writes it: a capital, and a full stop or question mark."""
    first = words(text)[0]
    return f"{text[0].upper()}{text[1:]}{'?' if first in _QUESTIONS else '.'}"
