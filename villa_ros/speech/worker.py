"""Two threads: one that always listens, and one that thinks. Sound never waits for the recogniser."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from villa_ros.speech.audio import RATE_HZ, Blocks, Sound
from villa_ros.speech.listener import Event, Listener, newest
from villa_ros.speech.voice_activity import Speech, VoiceActivity

_FULL_S = 30.0  # of sound that may wait; more means that the machine cannot keep up
_CLOSE_S = 10.0


@dataclass(frozen=True)
class Told:
    """An event and when its speech ended, by the clock of the stamps given with the sound."""

    event: Event
    end_ns: int


class SpeechWorker:
    """Feeds sound to the ear and its spans to the listener; `emit` and `failed` are called from the second thread."""

    def __init__(
        self, ear: VoiceActivity, listener: Listener, emit: Callable[[Told], None], failed: Callable[[Exception], None]
    ) -> None:
        self._ear, self._listener, self._emit, self._failed = ear, listener, emit, failed
        self._sound: queue.Queue[tuple[Sound, int] | None] = queue.Queue()
        self._waiting: list[Speech] = []
        self._stamps: dict[int, tuple[float, int]] = {}  # of each utterance: a second of the sound, and its stamp
        self._changed = threading.Condition()
        self._closed = False
        self._held = False
        self._held_numbers: set[int] = set()
        self.dropped_s = 0.0  # sound that was lost, because the machine did not keep up
        self._queued, self._counting = 0, threading.Lock()  # samples
        self._threads = [
            threading.Thread(target=self._listen, name="speech-ear", daemon=True),
            threading.Thread(target=self._think, name="speech-recogniser", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def now_s(self) -> float:
        """Seconds of sound heard so far."""
        return self._ear.now_s

    def offer(self, sound: Sound, end_ns: int) -> None:
        """Take sound, [N], whose last sample was heard at `end_ns`. Never blocks."""
        if self._queued > _FULL_S * RATE_HZ:
            self.dropped_s += len(sound) / RATE_HZ
            return
        with self._counting:
            self._queued += len(sound)
        self._sound.put((sound, end_ns))

    def hold(self, down: bool) -> None:
        """The talk button: speech while it is down is for us, and letting it go ends the utterance."""
        self._held = down
        if not down:
            self._sound.put((_RELEASED, 0))

    def close(self) -> bool:
        """End both threads; False where a recognition would not end in time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._sound.put(None)
        for thread in self._threads:
            thread.join(_CLOSE_S)
        return not any(thread.is_alive() for thread in self._threads)

    def _listen(self) -> None:
        blocks, anchor = Blocks(), (0.0, 0)
        while (item := self._sound.get()) is not None:
            sound, end_ns = item
            with self._counting:
                self._queued -= len(sound)
            try:
                if sound is _RELEASED:
                    spans = list(self._ear.finish())
                else:
                    spans = [speech for block in blocks.cut(sound) for speech in self._ear.feed(block)]
                    anchor = (self._ear.now_s, end_ns)
            except Exception as error:  # a detector that fails on one block must not make the robot deaf
                self._failed(error)
                continue
            with self._changed:
                for speech in spans:
                    self._waiting = newest(self._waiting, speech)
                    self._stamps[speech.number] = anchor
                    if self._held or sound is _RELEASED:
                        self._held_numbers.add(speech.number)
                if spans:
                    self._changed.notify()

    def _think(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                speech = self._waiting.pop(0)
                heard_s, stamp_ns = self._stamps[speech.number]
                held = speech.number in self._held_numbers
                self._forget(speech.number)
            try:
                for event in self._listener.consider(speech, held=held):
                    self._emit(Told(event, stamp_ns - round((heard_s - event.end_s) * 1e9)))
            except Exception as error:  # whatever a model throws at one utterance, the next one is heard
                self._failed(error)

    def _forget(self, number: int) -> None:
        """Only the newest utterances can still be spoken of."""
        for old in [one for one in self._stamps if one < number]:
            del self._stamps[old]
        self._held_numbers = {one for one in self._held_numbers if one >= number}


_RELEASED: Sound = Blocks().rest
