"""Sound as everything here takes it: mono, 16 kHz, float32 in [-1, 1]."""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

Sound = npt.NDArray[np.float32]  # [N]

RATE_HZ = 16_000
BLOCK = 512  # samples of one step of voice activity: 32 ms
BLOCK_S = BLOCK / RATE_HZ
_FULL_SCALE = 32_768.0
_SLOWEST_HZ, _FASTEST_HZ = 1_000, 768_000


class SoundError(ValueError):
    """Sound that cannot be used: no WAV, another sample format, or bytes that do not add up."""


def from_pcm16(data: bytes | bytearray | memoryview, rate_hz: int = RATE_HZ, channels: int = 1) -> Sound:
    """Interleaved signed 16-bit little-endian samples -> [N], resampled where `rate_hz` is another one.

    Raises:
        SoundError: the bytes are no whole number of samples of all channels.
    """
    if channels < 1 or not _SLOWEST_HZ <= rate_hz <= _FASTEST_HZ:
        raise SoundError(
            f"{channels} channels at {rate_hz} Hz, wanted 1 or more at {_SLOWEST_HZ} to {_FASTEST_HZ} Hz: is it sound?"
        )
    if len(data) % (2 * channels):
        raise SoundError(
            f"{len(data)} bytes are no whole number of 16-bit samples of {channels} channels: "
            "is it another sample format or number of channels?"
        )
    samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)
    return resampled(samples.reshape(-1, channels).mean(axis=1, dtype=np.float32), rate_hz)


def to_pcm16(sound: Sound) -> bytes:
    """[N] -> signed 16-bit little-endian samples; what is louder than full scale is clipped."""
    scaled = np.round(np.clip(sound, -1.0, 1.0) * (_FULL_SCALE - 1))
    return scaled.astype("<i2").tobytes()


def resampled(sound: Sound, rate_hz: int) -> Sound:
    """[N] at `rate_hz` -> [M] at 16 kHz, low-passed."""
    if rate_hz == RATE_HZ or not len(sound):
        return sound
    common = math.gcd(rate_hz, RATE_HZ)
    return resample_poly(sound, RATE_HZ // common, rate_hz // common).astype(np.float32)


def read_wav(path: Path) -> Sound:
    """A WAV file of 16-bit samples, any rate and number of channels.

    Raises:
        SoundError: no such file, no WAV, or another sample format.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, rate_hz, channels = file.getsampwidth(), file.getframerate(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except FileNotFoundError:
        raise SoundError(f"{path} does not exist") from None
    except (wave.Error, EOFError, OSError, RuntimeError, ValueError) as error:  # several of a damaged header
        raise SoundError(f"{path} is no WAV file of PCM samples ({error}); convert it: sox IN -b 16 OUT.wav") from error
    if width != 2:
        raise SoundError(f"{path} has samples of {8 * width} bits, wanted 16: sox {path.name} -b 16 OUT.wav")
    whole = len(data) // max(1, 2 * channels) * 2 * channels
    return from_pcm16(data[:whole], rate_hz, channels)


def write_wav(path: Path, sound: Sound) -> None:
    """[N] -> a WAV file of 16-bit samples."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(to_pcm16(sound))


def silence(seconds: float) -> Sound:
    """Nothing, [N]."""
    return np.zeros(round(seconds * RATE_HZ), np.float32)


class Blocks:
    """Cuts sound that comes in pieces of any length into blocks of 512 samples, without losing one."""

    def __init__(self) -> None:
        self.rest = np.zeros(0, np.float32)

    def cut(self, sound: Sound) -> Iterator[Sound]:
        """Every whole block there is; the rest waits for the next piece."""
        self.rest = np.concatenate((self.rest, sound)) if len(self.rest) else sound
        whole = len(self.rest) // BLOCK * BLOCK
        ready, self.rest = self.rest[:whole], self.rest[whole:]
        for start in range(0, whole, BLOCK):
            yield ready[start : start + BLOCK]
