"""Noise made here: white, babble of several voices, the hum of motors; and mixing at a given ratio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from villa_ros.speech.audio import RATE_HZ, Sound

_FLOOR_DB = 30.0  # what is this far below the loudest 20 ms counts as a pause
_FRAME = RATE_HZ // 50


def white(samples: int, rng: np.random.Generator) -> Sound:
    """White noise of RMS 1, [N]."""
    return rng.standard_normal(samples).astype(np.float32)


def hum(samples: int, rng: np.random.Generator) -> Sound:
    """A motor of RMS 1, [N]: harmonics of a slowly wandering speed, and the rush of its fan."""
    base_hz = rng.uniform(60.0, 180.0)
    wander = np.interp(np.arange(samples), np.linspace(0, samples, 9), base_hz * (1 + 0.05 * rng.standard_normal(9)))
    phase = 2 * np.pi * np.cumsum(wander) / RATE_HZ
    tones = sum(rng.uniform(0.2, 1.0) / order * np.sin(order * phase + rng.uniform(0, 6)) for order in range(1, 16))
    rush = np.convolve(rng.standard_normal(samples + 31), np.ones(32) / 32, "valid")
    return _unit(np.asarray(tones) + 1.5 * rush / max(1e-9, float(np.std(rush))) * 0.3)


def babble(samples: int, voices: Sequence[Sound], rng: np.random.Generator) -> Sound:
    """People talking at once, RMS 1, [N]: each of `voices` repeated from a random place on."""
    mixed = np.zeros(samples, np.float64)
    for voice in voices:
        start = int(rng.integers(len(voice)))
        mixed += np.resize(np.roll(_unit(voice), -start), samples)
    return _unit(mixed)


def mixed(speech: Sound, noise: Sound, ratio_db: float) -> Sound:
    """Speech [N] under noise [N] at a signal-to-noise ratio; the pauses do not count as speech.

    The sum is scaled down where it would be louder than full scale.
    """
    gain = speech_rms(speech) / max(1e-9, float(np.sqrt(np.mean(noise**2)))) * 10 ** (-ratio_db / 20)
    total = speech + np.float32(gain) * noise
    return (total / max(1.0, float(np.abs(total).max()) / 0.99)).astype(np.float32)


def speech_rms(speech: Sound) -> float:
    """RMS over the frames of 20 ms that are no pauses."""
    frames = speech[: len(speech) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.mean(frames.astype(np.float64) ** 2, axis=1)
    return float(np.sqrt(np.mean(power[power >= power.max() * 10 ** (-_FLOOR_DB / 10)])))


def _unit(sound: Sound | np.ndarray) -> Sound:
    return (sound / max(1e-9, float(np.sqrt(np.mean(np.square(sound)))))).astype(np.float32)
