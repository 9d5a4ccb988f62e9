"""A recording as if somebody spoke it now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from villa_ros.speech.audio import BLOCK, BLOCK_S, Sound, silence

_SILENCE_AFTER_S = 2.0  # so that the last utterance is heard to end


class Playback:
    """Hands over a recording at the rate at which it was recorded, from a thread of its own, until it ends."""

    def __init__(self, sound: Sound, on_sound: Callable[[Sound], None], delay_s: float = 0.0) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._play, args=(sound, on_sound, delay_s), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop where it is."""
        self._ended.set()
        self._thread.join()

    def _play(self, sound: Sound, on_sound: Callable[[Sound], None], delay_s: float) -> None:
        if self._ended.wait(delay_s):
            return
        began = time.monotonic()
        tail = silence(_SILENCE_AFTER_S)
        for part in (sound, tail):
            for start in range(0, len(part), BLOCK):
                on_sound(part[start : start + BLOCK])
                began += BLOCK_S
                if self._ended.wait(max(0.0, began - time.monotonic())):
                    return
