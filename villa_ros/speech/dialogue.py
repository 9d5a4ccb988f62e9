"""From words to commands: who is spoken to, is it a command, is it sure enough, is it confirmed. No model, no clock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from enum import Enum

from villa_ros.speech.filters import has_the_form_of_a_command, is_hallucinated, repeats_itself
from villa_ros.speech.recogniser import Recognition
from villa_ros.speech.stop_phrases import is_spoken_stop
from villa_ros.speech.vocabulary import Vocabulary, words

LISTEN = ("always", "push_to_talk", "wake_word")
ACCEPT = ("commands", "anything")
CONFIRM = ("never", "unsure", "always")
_YES = frozenset(("yes", "yes please", "yeah", "yep", "correct", "right", "that's right", "confirm", "ok", "okay",
                  "do it", "go ahead", "ja", "genau", "oui", "sí", "si"))  # fmt: skip
_NO = frozenset(("no", "nope", "wrong", "no thanks", "not that", "nein", "non"))
_FOLLOWS_UP = ("now ", "and ", "what about ", "the other ", "no the ", "no i mean ")
_BORN_OF_NOTHING = 0.85  # probability that nobody spoke, above which nothing is believed


class DialogueError(ValueError):
    """Settings that do not fit together."""


class Verdict(Enum):
    """What became of an utterance."""

    COMMAND = "command"
    STOP = "stop"
    ASKED = "asked"  # whether it was meant; an answer is awaited
    CONFIRMED = "confirmed"
    DECLINED = "declined"
    AWAKE = "awake"  # the wake word alone: the next utterance is for us
    NOT_ADDRESSED = "not addressed"
    NO_COMMAND = "no command"
    UNSURE = "unsure"
    HALLUCINATED = "hallucinated"
    NOTHING = "nothing"


@dataclass(frozen=True)
class DialogueConfig:
    """How commands are told from other speech.

    `confirm_below`: confidence under which `confirm: unsure` asks; `awake_s`: how long after the wake word alone, or
    a question, an utterance belongs to it.
    """

    listen: str = "always"
    wake_words: tuple[str, ...] = ("robot", "hey robot", "villa")
    accept: str = "commands"
    confidence_floor: float = 0.2
    confirm: str = "never"
    confirm_below: float = 0.5
    awake_s: float = 6.0

    def __post_init__(self) -> None:
        for name, wanted in (("listen", LISTEN), ("accept", ACCEPT), ("confirm", CONFIRM)):
            if getattr(self, name) not in wanted:
                raise DialogueError(f"{name} is {getattr(self, name)!r}; wanted one of {', '.join(wanted)}")
        if self.listen == "wake_word" and not any(words(word) for word in self.wake_words):
            raise DialogueError("listen is 'wake_word' and wake_words is empty: name one, such as 'robot'")


@dataclass(frozen=True)
class Utterance:
    """What was heard and what became of it. Times are seconds of the sound."""

    heard: Recognition
    start_s: float
    end_s: float
    verdict: Verdict
    reason: str = ""
    command: str = ""  # the request in words, where there is one to carry out or to ask about
    follow_up: bool = False


class Dialogue:
    """Judges utterances in turn; remembers only the wake word and an open question. Any thread may ask it."""

    def __init__(self, vocabulary: Vocabulary, config: DialogueConfig | None = None) -> None:
        self._vocabulary = vocabulary
        self.config = config or DialogueConfig()
        self._awake_until_s = -1.0
        self._open: Utterance | None = None
        self._open_until_s = -1.0
        self._lock = threading.RLock()  # a button may answer while an utterance is judged

    @property
    def question(self) -> str:
        """The request that waits for a yes, or nothing."""
        return self._open.command if self._open else ""

    def judge(self, heard: Recognition, start_s: float, end_s: float, *, held: bool = False) -> Utterance:
        """What an utterance is; `held`: the talk button was down."""
        with self._lock:
            return self._judged(Utterance(heard, start_s, end_s, Verdict.NOTHING), held=held)

    def _judged(self, said: Utterance, *, held: bool) -> Utterance:
        heard, start_s, end_s = said.heard, said.start_s, said.end_s
        if not words(heard.text):
            return replace(said, reason="no words")
        if is_spoken_stop(heard.text):
            self._open = None
            return replace(said, verdict=Verdict.STOP)
        refused = self._unbelievable(heard)
        if refused is not None:
            return replace(said, verdict=refused[0], reason=refused[1])
        if self._open is not None and start_s <= self._open_until_s:
            answer = " ".join(words(heard.text))
            if answer in _YES:
                return self.answer(yes=True, said=said)
            if answer in _NO:
                return self.answer(yes=False, said=said)
        self._open = None
        text, addressed = self._addressed(heard.text, start_s, held=held)
        if not addressed:
            why = "the talk button was up" if self.config.listen == "push_to_talk" else "without the wake word"
            return replace(said, verdict=Verdict.NOT_ADDRESSED, reason=why)
        if not text:
            self._awake_until_s = end_s + self.config.awake_s
            return replace(said, verdict=Verdict.AWAKE)
        return self._command(replace(said, command=text, follow_up=_follows_up(text)), held=held)

    def answer(self, *, yes: bool, said: Utterance | None = None) -> Utterance:
        """Close the open question, by voice (`said`) or by a button.

        Raises:
            DialogueError: no question is open.
        """
        with self._lock:
            asked, self._open = self._open, None
        if asked is None:
            raise DialogueError("no question is open: there is nothing to confirm")
        told = said or asked
        verdict = Verdict.CONFIRMED if yes else Verdict.DECLINED
        command = asked.command if yes else ""
        return replace(told, verdict=verdict, command=command, follow_up=asked.follow_up)

    def forget_question(self, now_s: float) -> bool:
        """Let go of a question that nobody answered in time; was there one?"""
        with self._lock:
            if self._open is None or now_s <= self._open_until_s:
                return False
            self._open = None
            return True

    def _unbelievable(self, heard: Recognition) -> tuple[Verdict, str] | None:
        if is_hallucinated(heard.text) or heard.no_speech > _BORN_OF_NOTHING:
            return Verdict.HALLUCINATED, "said by recognisers when nobody speaks"
        if repeats_itself(heard.text):
            return Verdict.HALLUCINATED, "it repeats itself"
        if heard.confidence < self.config.confidence_floor:
            return Verdict.UNSURE, f"confidence {heard.confidence:.2f} is below {self.config.confidence_floor:g}"
        return None

    def _addressed(self, text: str, start_s: float, *, held: bool) -> tuple[str, bool]:
        """The text without the wake word, and whether it is for us."""
        rest = self._after_wake_word(text)
        if self.config.listen == "always":
            return (rest or text), True
        if self.config.listen == "push_to_talk":
            return (rest or text), held
        if rest is not None:
            return rest, True
        return text, held or start_s <= self._awake_until_s

    def _after_wake_word(self, text: str) -> str | None:
        spoken = words(text)
        for wake in sorted((words(word) for word in self.config.wake_words), key=len, reverse=True):
            if wake and spoken[: len(wake)] == wake:
                rest = text
                for word in wake:
                    rest = rest[rest.lower().index(word) + len(word) :]
                return rest.lstrip(" ,.!:;?-")
        return None

    def _command(self, said: Utterance, *, held: bool) -> Utterance:
        meant = held or self.config.accept == "anything" or said.heard.of_the_task
        if not meant and not has_the_form_of_a_command(said.command, said.heard.language, self._vocabulary):
            return replace(said, verdict=Verdict.NO_COMMAND, reason="it does not begin as requests do", command="")
        unsure = said.heard.confidence < self.config.confirm_below
        if self.config.confirm == "always" or (self.config.confirm == "unsure" and unsure):
            self._open, self._open_until_s = said, said.end_s + self.config.awake_s
            return replace(said, verdict=Verdict.ASKED)
        return replace(said, verdict=Verdict.COMMAND)


def _follows_up(text: str) -> bool:
    return f"{' '.join(words(text))} ".startswith(_FOLLOWS_UP)
