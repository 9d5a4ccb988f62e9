"""Speech made by espeak-ng, for the benchmark, the training of the stop spotter, and tests. Never for a robot.

espeak-ng comes with the pip package espeakng-loader, as a library that `espeak_process` drives; where that is missing,
the installed program serves. Either way it is run in a process of its own. It is under the GPL-3.0, and nothing that a
robot runs requires it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from villa_ros.speech.audio import Sound, SoundError, read_wav

PROGRAM = "espeak-ng"
HOW_TO_INSTALL = "pip install espeakng-loader, or apt-get install espeak-ng"
_PROCESS = Path(__file__).with_name("espeak_process.py")
_TIMEOUT_S = 30.0
_QUIET = 1e-3  # of full scale: espeak-ng pads its files with silence


class SynthesisError(RuntimeError):
    """Nothing was spoken: espeak-ng is missing, or does not know the voice."""


@dataclass(frozen=True)
class Voice:
    """One speaker of espeak-ng."""

    name: str  # such as "en-us+f2": a language and a variant
    words_per_minute: int = 160
    pitch: int = 50  # 0..99


def installed() -> bool:
    """Is espeak-ng there, as a package or as a program?"""
    return _library() is not None or shutil.which(PROGRAM) is not None


def speak(text: str, voice: Voice) -> Sound:
    """What `voice` says, [N], without silence at either end; the same every time. May be called from several threads.

    Raises:
        SynthesisError: espeak-ng is not installed or refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spoken.wav"
        try:
            done = subprocess.run(
                _command(text, voice, file), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise SynthesisError(f"espeak-ng did not end within {_TIMEOUT_S:g} s on {text!r}") from None
        if done.returncode or not file.is_file():
            why = done.stderr.strip() or f"no message, exit code {done.returncode}"
            raise SynthesisError(f"espeak-ng said nothing as {voice.name!r}: {why}")
        try:
            sound = read_wav(file)
        except SoundError as error:
            raise SynthesisError(f"espeak-ng said nothing as {voice.name!r}: {error}") from error
    loud = np.flatnonzero(np.abs(sound) > _QUIET)
    if not len(loud):
        raise SynthesisError(f"espeak-ng made only silence of {text!r} as {voice.name!r}")
    return sound[loud[0] : loud[-1] + 1]


def _command(text: str, voice: Voice, file: Path) -> list[str]:
    """What to run so that `file` holds what `voice` says."""
    speed, pitch = str(voice.words_per_minute), str(voice.pitch)
    if (found := _library()) is not None:
        library, data = found
        isolated = [sys.executable, "-I", "-S", str(_PROCESS)]
        return [*isolated, library, data, voice.name, speed, pitch, str(file), text]
    if (program := shutil.which(PROGRAM)) is not None:
        return [program, "-v", voice.name, "-s", speed, "-p", pitch, "-w", str(file), "--", text]
    raise SynthesisError(f"espeak-ng is not installed: {HOW_TO_INSTALL}")


def _library() -> tuple[str, str] | None:
    """The library of espeakng-loader and its data; None where the package is not installed."""
    try:
        import espeakng_loader
    except ModuleNotFoundError:
        return None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
