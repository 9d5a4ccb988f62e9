"""Speech for tests and the benchmark: the same every time, by the library of a pip package or by the program."""

from __future__ import annotations

import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from villa_ros.speech import espeak_process, synthesis
from villa_ros.speech.audio import RATE_HZ
from villa_ros.speech.bench_phrases import VOICES
from villa_ros.speech.synthesis import SynthesisError, Voice, speak

espeakng_loader = pytest.importorskip("espeakng_loader", reason="needs espeakng-loader: pip install espeakng-loader")

TEXT = "Track the red mug."
# Takes what the program takes, and speaks with the library.
PROGRAM = """
import subprocess, sys
given = sys.argv[1:]
assert given[::2] == ["-v", "-s", "-p", "-w", "--"], given
voice, speed, pitch, file, text = given[1::2]
spoken = subprocess.run([sys.executable, {process!r}, {library!r}, {data!r}, voice, speed, pitch, file, text])
sys.exit(spoken.returncode)
"""


@pytest.fixture
def without_package(monkeypatch, tmp_path):
    """Neither the package nor a program on the PATH; gives the only folder that is on it."""
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_every_voice_says_the_same_every_time_from_two_threads_at_once():
    with ThreadPoolExecutor(2) as pool:
        first, second = (list(pool.map(lambda voice: speak(TEXT, voice), VOICES)) for _ in range(2))
    for voice, one, other in zip(VOICES, first, second, strict=True):
        assert np.array_equal(one, other), voice
        assert one.dtype == np.float32
        assert 0.5 * RATE_HZ < len(one) < 3 * RATE_HZ, voice
        assert 0.1 < np.abs(one).max() <= 1, voice
    assert len({one.tobytes() for one in first}) == len(VOICES)


def test_the_breath_of_a_voice_is_the_same_noise_in_every_second():
    """espeak-ng seeds it with the time in whole seconds, unless told otherwise."""
    breathy = Voice("en-us+f2")
    began, first = int(time.time()), speak(TEXT, breathy)
    while int(time.time()) == began:
        time.sleep(0.01)
    assert np.array_equal(first, speak(TEXT, breathy))


def test_speed_and_pitch_are_heard():
    plain = speak(TEXT, Voice("en-us"))
    assert len(speak(TEXT, Voice("en-us", words_per_minute=80))) > 1.5 * len(plain)
    assert not np.array_equal(speak(TEXT, Voice("en-us", pitch=90)), plain)


def test_a_language_that_several_voices_speak_is_a_voice():
    """espeak-ng knows en-gb as a language only; the program then takes one of its voices."""
    assert not np.array_equal(speak(TEXT, Voice("en-gb")), speak(TEXT, Voice("en-us")))


def test_what_is_not_english_and_what_looks_like_an_option_is_said():
    assert len(speak("Grüße, François", Voice("de"))) > RATE_HZ // 2
    assert len(speak("-v is an option", Voice("en-us"))) > RATE_HZ // 2


def test_an_unknown_voice_and_a_text_with_nothing_to_say_are_told():
    with pytest.raises(SynthesisError, match=r"said nothing as 'nobody': there is no such voice"):
        speak(TEXT, Voice("nobody"))
    with pytest.raises(SynthesisError, match=r"only silence of ' '"):
        speak(" ", Voice("en-us"))


def test_data_under_a_path_longer_than_the_library_takes_is_found(tmp_path, monkeypatch):
    shorter = speak(TEXT, Voice("en-us"))
    data = tmp_path / ("d" * 200)
    data.symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(data))
    assert np.array_equal(speak(TEXT, Voice("en-us")), shorter)


def test_without_the_package_the_program_speaks(without_package):
    voice = replace(VOICES[1], pitch=60)
    library, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    code = PROGRAM.format(process=espeak_process.__file__, library=library, data=data)
    program = without_package / synthesis.PROGRAM
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", code])} "$@"\n', "utf-8")
    program.chmod(0o755)
    assert synthesis.installed()
    by_program = speak(TEXT, voice)
    sys.modules["espeakng_loader"] = espeakng_loader
    assert np.array_equal(by_program, speak(TEXT, voice))


def test_without_either_it_is_told_what_to_install(without_package):
    assert not synthesis.installed()
    with pytest.raises(SynthesisError, match=r"pip install espeakng-loader, or apt-get install espeak-ng"):
        speak(TEXT, Voice("en-us"))
