"""Microphones: by name, in blocks, closed without a thread left behind. miniaudio is real, and so is its device that
hears silence; names are made up where hardware would give them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from villa_ros.speech.audio import BLOCK, RATE_HZ
from villa_ros.speech.microphone import Microphone, MicrophoneError

miniaudio = pytest.importorskip("miniaudio", reason="needs miniaudio: pip install miniaudio", exc_type=ImportError)

SILENT = ("NULL",)
PATIENCE_S = 60


class Ear:
    """Remembers what it hears and is told."""

    def __init__(self, enough=3):
        self.blocks, self.errors = [], []
        self.heard_enough, self.told = threading.Event(), threading.Event()
        self._enough = enough

    def hear(self, sound):
        self.blocks.append(sound)
        if len(self.blocks) >= self._enough:
            self.heard_enough.set()

    def fail(self, error):
        self.errors.append(error)
        self.told.set()


def threads():
    """Those of Python and those of libraries."""
    return set(Path("/proc/self/task").iterdir())


@pytest.fixture
def named(monkeypatch):
    """Two microphones with names, of which each in truth hears silence; gives what was opened."""
    ids = {name: miniaudio.ffi.new("ma_device_id *") for name in ("Headset Mono", "Array,\nanalog")}
    opened = []

    class Capture(miniaudio.CaptureDevice):
        def __init__(self, *arguments, device_id, **settings):
            self.name = next((name for name, one in ids.items() if one is device_id), None)
            opened.append(self)
            super().__init__(*arguments, **settings)

    captures = [{"name": name, "id": one} for name, one in ids.items()]
    monkeypatch.setattr(miniaudio.Devices, "get_captures", lambda self: captures)
    monkeypatch.setattr(miniaudio, "CaptureDevice", Capture)
    return opened


def test_what_a_microphone_hears_comes_in_blocks_until_it_is_closed():
    before, ear = threads(), Ear()
    microphone = Microphone("", ear.hear, ear.fail, SILENT)
    assert ear.heard_enough.wait(PATIENCE_S)
    started = threads() - before
    assert started
    microphone.close()
    heard = len(ear.blocks)
    assert not started & threads()
    assert {(len(block), block.dtype) for block in ear.blocks} == {(BLOCK, np.dtype(np.float32))}
    assert not np.concatenate(ear.blocks).any()
    microphone.close()
    assert (len(ear.blocks), ear.errors) == (heard, [])


def test_sound_that_comes_in_other_pieces_is_cut_into_blocks(named, monkeypatch):
    delivered = []
    monkeypatch.setattr(miniaudio.CaptureDevice, "start", lambda self, receiver: delivered.append(receiver))
    ear, sound = Ear(), np.linspace(-1, 1, 3 * BLOCK + 100, dtype=np.float32)
    with Microphone("", ear.hear, ear.fail, SILENT):
        for start in range(0, len(sound), 441):
            delivered[0].send(bytearray(sound[start : start + 441]))
    assert [len(block) for block in ear.blocks] == [BLOCK] * 3
    assert np.array_equal(np.concatenate(ear.blocks), sound[: 3 * BLOCK])


def test_a_microphone_is_found_by_part_of_its_name_and_converted_by_miniaudio(named):
    ear = Ear()
    with Microphone("headset", ear.hear, ear.fail, SILENT):
        assert ear.heard_enough.wait(PATIENCE_S)
    (opened,) = named
    assert opened.name == "Headset Mono"
    assert (opened.format, opened.nchannels, opened.sample_rate) == (miniaudio.SampleFormat.FLOAT32, 1, RATE_HZ)


def test_an_unknown_microphone_is_told_with_those_there_are(named):
    ear = Ear()
    with pytest.raises(MicrophoneError, match=r"no microphone 'Webcam'; there are: 'Headset Mono', 'Array, analog'"):
        Microphone("Webcam", ear.hear, ear.fail, SILENT)
    assert not named


def test_a_system_with_no_microphone_is_told_so(monkeypatch):
    monkeypatch.setattr(miniaudio.Devices, "get_captures", lambda self: [])
    with pytest.raises(MicrophoneError, match="no microphone ''; there are: none"):
        Microphone("", Ear().hear, Ear().fail, SILENT)


def test_an_error_with_one_block_is_told_and_the_next_block_is_heard():
    ear = Ear(enough=4)

    def hear(sound):
        ear.hear(sound)
        if len(ear.blocks) == 2:
            raise ValueError("the second block")

    with Microphone("", hear, ear.fail, SILENT):
        assert ear.heard_enough.wait(PATIENCE_S)
    assert [str(error) for error in ear.errors] == ["the second block"]


def test_a_microphone_that_stops_by_itself_is_told_of(named):
    ear = Ear()
    with Microphone("array", ear.hear, ear.fail, SILENT):
        named[0].stop()
        assert ear.told.wait(PATIENCE_S)
    (error,) = ear.errors
    assert isinstance(error, MicrophoneError)
    assert "microphone 'array' stopped" in str(error)


def test_a_microphone_that_cannot_be_opened_is_told_in_words(monkeypatch):
    def refuse(*arguments, **settings):
        raise miniaudio.MiniaudioError("failed to init device", -401)

    monkeypatch.setattr(miniaudio, "CaptureDevice", refuse)
    with pytest.raises(MicrophoneError, match=r"microphone of the system cannot be opened.*-401.*plugged in"):
        Microphone("", Ear().hear, Ear().fail, SILENT)


def test_a_microphone_that_does_not_start_is_closed_again(named, monkeypatch):
    def refuse(self, receiver):
        raise miniaudio.MiniaudioError("failed to start audio device", -1)

    monkeypatch.setattr(miniaudio.AbstractDevice, "start", refuse)
    before = threads()
    with pytest.raises(MicrophoneError, match="microphone of the system cannot be started"):
        Microphone("", Ear().hear, Ear().fail, SILENT)
    assert not threads() - before


def test_without_miniaudio_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "miniaudio", None)
    with pytest.raises(MicrophoneError, match="pip install miniaudio"):
        Microphone("", Ear().hear, Ear().fail)


def test_a_program_that_ends_while_a_microphone_is_open_ends():
    code = (
        "from villa_ros.speech.microphone import Microphone\n"
        f"Microphone('', lambda sound: None, print, {SILENT})\n"
        "print('open')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "open\n", "")
