"""Where sound comes from: messages of several packages, a recording at its own rate, microphones by name."""

from __future__ import annotations

import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from villa_ros.speech.audio import RATE_HZ, SoundError, to_pcm16
from villa_ros.speech.messages import heard_from_live_speech, sound_from_message
from villa_ros.speech.microphone import Microphone, MicrophoneError
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


class PortAudio(ModuleType):
    """A sounddevice with two microphones, of which one knows only 48 kHz."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self):
        super().__init__("sounddevice")
        self.opened = None

    def query_devices(self, device=None, kind=None):
        devices = [
            {"name": "Loudspeaker", "index": 0, "max_input_channels": 0, "default_samplerate": 48_000.0},
            {"name": "Headset Mono", "index": 1, "max_input_channels": 1, "default_samplerate": 48_000.0},
            {"name": "Array", "index": 2, "max_input_channels": 4, "default_samplerate": 16_000.0},
        ]
        return devices if device is None else devices[device]

    def check_input_settings(self, device, samplerate, **_):
        if device == 1 and samplerate != 48_000:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, **settings):  # noqa: N802
        self.opened = settings
        return SimpleNamespace(start=lambda: None, close=lambda: None)


@pytest.fixture
def portaudio(monkeypatch):
    made = PortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_a_microphone_is_found_by_part_of_its_name_and_resampled(portaudio):
    heard = []
    Microphone("headset", heard.append)
    assert (portaudio.opened["device"], portaudio.opened["samplerate"]) == (1, 48_000)
    portaudio.opened["callback"](np.zeros((1536, 1), np.float32), 1536, None, None)
    assert len(heard[0]) == 512


def test_an_unknown_microphone_is_told_with_those_there_are(portaudio):
    with pytest.raises(MicrophoneError, match=r"no microphone 'Webcam'; there are: 'Headset Mono', 'Array'"):
        Microphone("Webcam", lambda sound: None)


def test_a_machine_without_portaudio_says_what_to_install(monkeypatch):
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(MicrophoneError, match="apt-get install libportaudio2"):
        Microphone("", lambda sound: None)


def test_the_real_portaudio_names_what_it_has():
    pytest.importorskip("sounddevice", reason="needs the packages of requirements/speech.txt")
    with pytest.raises(MicrophoneError, match=r"no microphone 'no such device'|apt-get install"):
        Microphone("no such device", lambda sound: None)
