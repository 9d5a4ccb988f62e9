"""Sound in, utterances out: ear, recogniser and dialogue in their order.

`Listener.consider` takes what the ear hands over, one at a time; whoever calls it decides on threads. The same spans
give the same utterances.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from villa_ros.speech.audio import Blocks, Sound
from villa_ros.speech.dialogue import Dialogue, Utterance
from villa_ros.speech.recogniser import Recogniser, Recognition
from villa_ros.speech.stop_phrases import is_spoken_stop
from villa_ros.speech.voice_activity import Span, Speech, VoiceActivity

_MOST_CHANGED_S = 0.05  # speech that went on no longer than this after a look is what was looked at


@dataclass(frozen=True)
class SpokenStop:
    """Somebody said stop: to be sent at once. Its utterance follows."""

    heard: Recognition
    start_s: float
    end_s: float


Event = SpokenStop | Utterance


class Listener:
    """Understands spans of speech, in the order in which the ear hands them over."""

    def __init__(self, recogniser: Recogniser, dialogue: Dialogue) -> None:
        self._recogniser, self.dialogue = recogniser, dialogue
        self._stopped = 0  # the utterance that a stop was sent for
        self._early: tuple[int, float, Recognition] | None = None  # utterance, end, and what was heard

    def consider(self, speech: Speech, *, held: bool = False) -> Iterator[Event]:
        """One span -> a stop as soon as it is known, and the utterance at its end."""
        heard = self._known(speech) or self._understood(speech)
        if heard is None:
            return
        self._early = speech.number, speech.heard_s, heard
        if is_spoken_stop(heard.text) and self._stopped != speech.number:
            self._stopped = speech.number
            yield SpokenStop(heard, speech.start_s, speech.end_s)
        if speech.span is Span.END:
            yield self.dialogue.judge(heard, speech.start_s, speech.end_s, held=held)

    def _understood(self, speech: Speech) -> Recognition | None:
        """The words of a span; of running speech only a stop."""
        if speech.span is Span.RUNNING:
            if not self._recogniser.may_be_stop(speech.sound):
                return None
            own = self._recogniser.own_words(speech.sound)
            return self._recogniser.decide(own) if is_spoken_stop(own.text) else None
        return self._recogniser.spelled_stop(speech.sound) or self._recogniser.hear(speech.sound)

    def _known(self, speech: Speech) -> Recognition | None:
        if self._early is None or self._early[0] != speech.number:
            return None
        return self._early[2] if speech.heard_s - self._early[1] <= _MOST_CHANGED_S else None


@dataclass(frozen=True)
class Timed:
    """An event and when it is there on a machine that does nothing else: seconds of the sound plus computing."""

    event: Event
    ready_s: float

    @property
    def latency_s(self) -> float:
        """From the end of the speech."""
        return self.ready_s - self.event.end_s


def listen(
    sound: Sound,
    ear: VoiceActivity,
    listener: Listener,
    clock: Callable[[], float] = time.perf_counter,
    *,
    held: bool = False,
) -> Iterator[Timed]:
    """A whole recording, as fast as it can be computed.

    Times are those of a live run with one worker: a span is considered when it is handed over and the one before is
    done; of spans that wait only the newest of an utterance is considered, as in the node.
    """
    blocks, free_s = Blocks(), 0.0
    waiting: list[Speech] = []

    def consider(speech: Speech) -> Iterator[Timed]:
        nonlocal free_s
        begun_s, started = max(free_s, speech.handed_s), clock()
        for event in listener.consider(speech, held=held):
            yield Timed(event, begun_s + clock() - started)
        free_s = begun_s + clock() - started

    for block in blocks.cut(sound):
        for speech in ear.feed(block):
            waiting = newest(waiting, speech)
        while waiting and free_s <= ear.now_s:
            yield from consider(waiting.pop(0))
    for speech in ear.finish():
        waiting = newest(waiting, speech)
    for speech in waiting:
        yield from consider(speech)


def newest(waiting: list[Speech], speech: Speech) -> list[Speech]:
    """What waits, with one more: an earlier look at the same utterance is of no use any more."""
    return [one for one in waiting if one.number != speech.number] + [speech]
