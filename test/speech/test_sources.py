"""Where sound comes from: messages of several packages, a recording at its own rate."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from villa_ros.speech.audio import RATE_HZ, SoundError, to_pcm16
from villa_ros.speech.messages import heard_from_live_speech, sound_from_message
from villa_ros.speech.playback import Playback

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(1600) / RATE_HZ)).astype(np.float32)


def test_bytes_of_samples_are_sound():
    message = SimpleNamespace(data=list(to_pcm16(TONE)))
    assert np.abs(sound_from_message(message, RATE_HZ, 1) - TONE).max() < 1e-4
    stamped = SimpleNamespace(header=None, audio=SimpleNamespace(data=to_pcm16(TONE)))
    assert np.abs(sound_from_message(stamped, RATE_HZ, 1) - TONE).max() < 1e-4


def test_messages_that_say_their_rate_are_believed():
    info = SimpleNamespace(rate=8_000, channels=2)
    samples = np.repeat(np.round(TONE[::2] * 32767).astype(np.int16), 2)
    data = SimpleNamespace(int16_data=samples, float32_data=[])
    message = SimpleNamespace(header=None, audio=SimpleNamespace(audio_data=data, info=info))
    heard = sound_from_message(message, 48_000, 1)
    assert len(heard) == len(TONE)
    assert np.argmax(np.abs(np.fft.rfft(heard))) * RATE_HZ / len(heard) == pytest.approx(440, abs=10)


def test_messages_without_sound_are_refused():
    with pytest.raises(SoundError, match="holds no sound"):
        sound_from_message(SimpleNamespace(text="hello"), RATE_HZ, 1)
    with pytest.raises(SoundError, match="no whole number"):
        sound_from_message(SimpleNamespace(data=[1, 2, 3]), RATE_HZ, 1)


@pytest.mark.native
def test_the_real_audio_messages_are_sound():
    messages = pytest.importorskip("audio_common_msgs.msg", reason="needs audio_common_msgs, which is not in pip")
    if hasattr(messages, "AudioData"):
        kind = messages.AudioData()
        if hasattr(kind, "data"):
            kind.data = list(to_pcm16(TONE))
            assert np.abs(sound_from_message(kind, RATE_HZ, 1) - TONE).max() < 1e-4


def test_the_words_of_another_recogniser_are_taken_as_they_are():
    unfinished = SimpleNamespace(incremental="stop", final="", locale="en_US", confidence=0.0)
    heard = heard_from_live_speech(unfinished, "de")
    assert (heard.text, heard.language, heard.confidence) == ("stop", "en", 1.0)
    older = SimpleNamespace(incremental="verfolge die", final="verfolge die rote Tasse")
    assert heard_from_live_speech(older, "de").text == "verfolge die rote Tasse"
    assert heard_from_live_speech(older, "de").language == "de"


def test_a_recording_is_played_whole_with_silence_after_it_and_not_faster_than_spoken():
    pieces, done = [], threading.Event()

    def hear(sound):
        pieces.append(sound)
        if sum(map(len, pieces)) >= len(TONE) + RATE_HZ // 2:
            done.set()

    began = time.monotonic()
    playback = Playback(TONE, hear)
    assert done.wait(20)
    assert time.monotonic() - began > 0.4
    playback.close()
    heard = np.concatenate(pieces)
    assert np.array_equal(heard[: len(TONE)], TONE)
    assert not heard[len(TONE) :].any()
