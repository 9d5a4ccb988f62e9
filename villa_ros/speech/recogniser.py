"""What was said: Whisper's own words, or a sentence of the task that fits the sound as well.

Whisper hears any English; an operator asks for the things at hand. Sentences of the command grammar that sound like
what Whisper (and the CTC model) heard are scored on the sound by both. The best of them is taken where it fits
nearly as well as Whisper's own words; else those stay, whatever they are. This is rescoring by a task's language model;
a prompt with the names of things makes a tiny Whisper repeat itself, and biases it less (docs/speech.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from villa_ros.speech.audio import Sound
from villa_ros.speech.command_grammar import DETERMINERS, CommandGrammar
from villa_ros.speech.ctc_model import CtcModel
from villa_ros.speech.stop_phrases import SPOKEN_STOPS, is_spoken_stop
from villa_ros.speech.vocabulary import Vocabulary, words
from villa_ros.speech.whisper import Encoded, Whisper

if TYPE_CHECKING:
    from torch import Tensor

RESCORED_LANGUAGE = "en"  # the grammar, the letters and the stops below are English
_SHORTLIST = 80  # sentences that the CTC model scores
_BY_LETTERS, _BY_SOUND, _STOPS = 9, 4, 2  # of them, and of the stops, scored by Whisper
_LETTERS_COUNT = 1.0  # weight of the CTC model against Whisper
# A sentence of the task that fits worse is not taken. Chosen on other voices and sentences than the benchmark's.
_MARGIN = 4.0  # nats below Whisper's own words, by both
_WHISPER_MARGIN = 20.0  # by Whisper alone
_LETTER_GAP = 0.4  # nats a letter below the likeliest letters
_TEMPERATURE = 4.0  # the scores are surer of themselves than they are right
_STOP_LONGEST_S = 3.0
_SURE_STOP_GAP, _STOP_GAP = 0.15, 1.0  # nats a letter: a stop without asking Whisper; one that is worth asking about
# Where what was heard is no surer, and a stop no further from the letters, Whisper is asked once more, as if stops had
# been said before. Of 160 stops in babble at 20 dB, by other voices than the benchmark's, 158 are heard so, else 155;
# of 156 single words that sound like one ("stock", "hall") 18 are taken for it both ways.
_DOUBT, _NEAR_STOP_GAP = 0.35, 0.6
_SAID_BEFORE = "No! Stop! Halt! Abort! Freeze! Cancel! Never mind!"
_QUESTIONS = frozenset(["where", "which", "what", "is", "are", "do", "can", "could"])


@dataclass(frozen=True)
class Recognition:
    """The words of one utterance."""

    text: str
    confidence: float  # 0..1: a task sentence's share among those that compete; else the mean probability of a token
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
        letters: CtcModel | None = None,
        *,
        rescore: bool = True,
        prompt: bool = False,
    ) -> None:
        self._whisper, self._letters = whisper, letters or CtcModel()
        self._grammar = CommandGrammar(vocabulary)
        self.vocabulary = vocabulary
        self._rescore, self._prompt = rescore, vocabulary.prompt() if prompt else ""

    def hear(self, sound: Sound) -> Recognition:
        """[N] -> the words of a whole utterance."""
        return self.decide(self.own_words(sound))

    def own_words(self, sound: Sound) -> OwnWords:
        """[N] -> what Whisper alone hears; half of the work of `hear`, and enough to know most stops."""
        encoded = self._whisper.encode(sound)
        language = self._whisper.language(encoded)
        own = self._whisper.transcribe(encoded, language, self._prompt)
        return OwnWords(sound, encoded, language, own.text, own.no_speech)

    def decide(self, own: OwnWords) -> Recognition:
        """Whisper's own words, or what is taken for them: a sentence of the task, or a stop."""
        if own.language != RESCORED_LANGUAGE or not self._rescore or is_spoken_stop(own.text):
            return self._as_it_is(own)
        letters = self._letters.hear(own.sound)
        heard = self._of_the_task(own, letters)
        unsure = heard.confidence <= _DOUBT and not is_spoken_stop(heard.text)
        if not unsure or own.encoded.seconds > _STOP_LONGEST_S:
            return heard
        stop, gap = self._nearest_stop(letters)
        if gap > _NEAR_STOP_GAP:
            return heard
        again = self._whisper.transcribe(own.encoded, own.language, _SAID_BEFORE).text
        if not is_spoken_stop(again):
            return heard
        return replace(heard, text=stop, confidence=math.exp(-gap), of_the_task=True)

    def _of_the_task(self, own: OwnWords, letters: Tensor) -> Recognition:
        """The sentence of the task that fits the sound best, or Whisper's own words where none fits well enough."""
        near = [sentence(text) for text in self._grammar.nearest([own.text, self._letters.text(letters)], _SHORTLIST)]
        candidates = self._candidates(own, letters, near)
        if not candidates:
            return self._as_it_is(own)
        texts = [own.text or ".", *candidates]
        whispers = self._whisper.score(own.encoded, own.language, texts)
        spelled = self._letters.score(letters, texts)
        worth = [whisper + _LETTERS_COUNT * letter for (whisper, _), letter in zip(whispers, spelled, strict=True)]
        same = [text for text in near if words(text) == words(own.text)]
        if same and worth[0] >= max(worth):
            return replace(self._as_it_is(own), text=same[0], of_the_task=True)
        best = max(range(1, len(texts)), key=worth.__getitem__)
        gap = (self._letters.likeliest(letters) - spelled[best]) / len(texts[best])
        fits = (
            worth[best] >= worth[0] - _MARGIN
            and whispers[best][0] >= whispers[0][0] - _WHISPER_MARGIN
            and gap <= _LETTER_GAP
        )
        if not fits:
            return self._as_it_is(own)
        confidence = _share(texts, worth, best) * math.exp(-max(0.0, gap))
        return Recognition(texts[best], confidence, own.language, own.no_speech, own.text, of_the_task=True)

    def spelled_stop(self, sound: Sound) -> Recognition | None:
        """[N] -> the stop that the CTC model alone is sure of, and that is all of it; a twentieth of the work."""
        text, gap = self._nearest_stop(self._letters.hear(sound))
        if gap > _SURE_STOP_GAP:
            return None
        return Recognition(text, math.exp(-max(0.0, gap)), RESCORED_LANGUAGE, 0.0, text, of_the_task=True)

    def may_be_stop(self, sound: Sound) -> bool:
        """[N] -> is a stop among what can have been said? By the CTC model alone; for other languages always."""
        return self._whisper.only_language != RESCORED_LANGUAGE or (
            self._nearest_stop(self._letters.hear(sound))[1] <= _STOP_GAP
        )

    def _nearest_stop(self, letters: Tensor) -> tuple[str, float]:
        """The stop that fits the letters best, and how far below the likeliest letters it is, in nats a letter."""
        likeliest, scores = self._letters.likeliest(letters), self._letters.score(letters, SPOKEN_STOPS)
        gaps = [(likeliest - score) / len(text) for text, score in zip(SPOKEN_STOPS, scores, strict=True)]
        best = min(range(len(gaps)), key=gaps.__getitem__)
        return SPOKEN_STOPS[best], gaps[best]

    def _candidates(self, own: OwnWords, letters: Tensor, near: Sequence[str]) -> list[str]:
        chosen = self._best_spelled(letters, near, _BY_LETTERS) + list(near[:_BY_SOUND])
        if own.encoded.seconds <= _STOP_LONGEST_S:
            chosen += self._best_spelled(letters, SPOKEN_STOPS, _STOPS)
        return [text for text in dict.fromkeys(chosen) if text != own.text]

    def _best_spelled(self, letters: Tensor, texts: Sequence[str], count: int) -> list[str]:
        if not texts:
            return []
        scores = self._letters.score(letters, texts)
        return [texts[index] for index in sorted(range(len(texts)), key=lambda index: -scores[index])[:count]]

    def _as_it_is(self, own: OwnWords) -> Recognition:
        ((log_probability, tokens),) = self._whisper.score(own.encoded, own.language, [own.text or "."])
        confidence = math.exp(log_probability / max(1, tokens)) if own.text else 0.0
        return Recognition(own.text, confidence, own.language, own.no_speech, own.text, is_spoken_stop(own.text))


def _share(texts: Sequence[str], worth: Sequence[float], best: int) -> float:
    """How much of the belief in all texts is in those that say the same as the best one."""
    beliefs = [math.exp((value - worth[best]) / _TEMPERATURE) for value in worth]
    meant = _without_articles(texts[best])
    same = sum(belief for belief, text in zip(beliefs, texts, strict=True) if _without_articles(text) == meant)
    return same / sum(beliefs)


def _without_articles(text: str) -> list[str]:
    return [word for word in words(text) if word not in DETERMINERS]


@cache
def sentence(text: str) -> str:
    """A text of the grammar as Whisper writes it: a capital, and a full stop or question mark."""
    first = words(text)[0]
    return f"{text[0].upper()}{text[1:]}{'?' if first in _QUESTIONS else '.'}"
