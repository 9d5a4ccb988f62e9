"""What a newcomer has: pip's packages, and none of the libraries and programs that speech can also use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("miniaudio", reason="needs the packages of requirements/speech.txt", exc_type=ImportError)
pytest.importorskip("espeakng_loader", reason="needs espeakng-loader: pip install espeakng-loader")

HIDDEN = ("libasound.so.2", "libespeak-ng.so.1", "libjack.so.0", "libportaudio.so.2", "libpulse.so.0")

HIDING = """
import ctypes, shutil
for name in {hidden}:
    try:
        ctypes.CDLL(name)
    except OSError:
        continue
    raise SystemExit(f"{{name}} is not hidden")
assert shutil.which("espeak-ng") is None
"""

SPEECH_IS_MADE = """
from villa_ros.speech import synthesis
assert synthesis.installed()
print(len(synthesis.speak("Stop!", synthesis.Voice("en-us"))))
"""

A_DEVICE_IS_HEARD = """
import threading
from villa_ros.speech.microphone import Microphone
heard = threading.Event()
with Microphone("", lambda sound: heard.set(), print, ("NULL",)):
    assert heard.wait(60)
"""

NO_SOUND_SYSTEM = """
from villa_ros.speech.microphone import Microphone, MicrophoneError
try:
    Microphone("", print, print)
except MicrophoneError as error:
    print(error)
"""


@pytest.fixture
def run_bare(tmp_path):
    """Run Python code where the system's libraries and programs of speech are hidden; gives what it printed."""
    for name in HIDDEN:
        (tmp_path / name).touch()  # the loader finds the empty file first and looks no further
    nothing = tmp_path / "bin"
    nothing.mkdir()
    further = os.environ.get("LD_LIBRARY_PATH")
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join([str(tmp_path), *([further] if further else [])]),
        "PATH": str(nothing),
    }

    def run(code):
        ended = subprocess.run(
            [sys.executable, "-c", HIDING.format(hidden=HIDDEN) + code],
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    return run


def test_speech_is_made_from_pips_packages_alone(run_bare):
    assert int(run_bare(SPEECH_IS_MADE)) > 1000


def test_a_device_is_heard_with_pips_packages_alone(run_bare):
    assert run_bare(A_DEVICE_IS_HEARD) == ""


def test_a_machine_without_a_sound_system_says_what_to_install(run_bare):
    said = run_bare(NO_SOUND_SYSTEM)
    assert said.startswith("no sound system, tried PULSEAUDIO, ALSA, JACK")
    assert "apt-get install libasound2" in said
