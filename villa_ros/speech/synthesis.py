"""Speech made by espeak-ng, for the benchmark, the training of the stop spotter, and tests. Never for a robot."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from villa_ros.speech.audio import Sound, read_wav

PROGRAM = "espeak-ng"
_TIMEOUT_S = 30.0
_QUIET = 1e-3  # of full scale: the espeak-ng pads its files with silence


class SynthesisError(RuntimeError):
    """Nothing was spoken: espeak-ng is missing, or does not know the voice."""


@dataclass(frozen=True)
class Voice:
    """One speaker of espeak-ng."""

    name: str  # such as "en-us+f2": a language and a variant
    words_per_minute: int = 160
    pitch: int = 50  # 0..99


def installed() -> bool:
    """Is espeak-ng there?"""
    return shutil.which(PROGRAM) is not None


def speak(text: str, voice: Voice) -> Sound:
    """What `voice` says, [N], without silence at either end; the same every time.

    Raises:
        SynthesisError: espeak-ng is not installed or refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        command = [PROGRAM, "-v", voice.name, "-s", str(voice.words_per_minute), "-p", str(voice.pitch)]
        try:
            done = subprocess.run(
                [*command, "-w", str(path), text], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except FileNotFoundError:
            raise SynthesisError(f"{PROGRAM} is not installed: apt-get install espeak-ng") from None
        if done.returncode or not path.is_file():
            raise SynthesisError(f"{PROGRAM} said nothing as {voice.name!r}: {done.stderr.strip() or 'no message'}")
        sound = read_wav(path)
    loud = np.flatnonzero(np.abs(sound) > _QUIET)
    if not len(loud):
        raise SynthesisError(f"{PROGRAM} made only silence of {text!r} as {voice.name!r}")
    return sound[loud[0] : loud[-1] + 1]
