"""The way from a browser's microphone to words: speech recognition, where it is installed and ready.

It is looked up when the console starts: `villa_ros.speech.push_to_talk` is to have a function

    recognise(samples: NDArray[np.float32], rate_hz: int) -> tuple[str, float]

from mono sound [N] in -1..1 to a text and its confidence 0..1; and may have `unready() -> str`, which says what is
missing, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

MODULE = "villa_ros.speech.push_to_talk"
LONGEST_S = 30.0
SHORTEST_S = 0.2
_RATES_HZ = (8_000, 192_000)

Recognise = Callable[[NDArray[np.float32], int], tuple[str, float]]


class RecognitionError(RuntimeError):
    """What was said could not be made words of."""


@dataclass(frozen=True)
class Recognition:
    """`recognise` is None where there is none; `why` then says so."""

    recognise: Recognise | None
    why: str = ""


def find_recognition(module: str = MODULE) -> Recognition:
    """Speech recognition as it is installed here."""
    try:
        found = import_module(module)
    except ImportError as error:
        return Recognition(None, f"speech recognition is not installed on the robot ({error.name} is missing)")
    unready = getattr(found, "unready", None)
    if unready is not None and (why := unready()):
        return Recognition(None, f"speech recognition is not ready on the robot: {why}")
    return Recognition(found.recognise)


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
        return np.frombuffer(b"".join(self._pieces), "<i2").astype(np.float32) / 32768.0
