"""A microphone, by the name of its device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from villa_ros.speech.audio import BLOCK_S, RATE_HZ, Sound, resampled

OnSound = Callable[[Sound], None]


class MicrophoneError(RuntimeError):
    """No microphone: PortAudio is missing, or no device has that name."""


class Microphone:
    """Hands over what a microphone hears, from a thread of PortAudio, until it is closed.

    `device`: part of a device's name; empty: the system's default. Devices that do not run at 16 kHz are resampled.

    Raises:
        MicrophoneError: see there; the message lists the devices.
    """

    def __init__(self, device: str, on_sound: OnSound) -> None:
        try:
            import sounddevice
        except ImportError as error:
            raise MicrophoneError(f"sounddevice is not installed ({error}): pip install sounddevice") from error
        except OSError as error:  # sounddevice looks for the library when it is imported
            raise MicrophoneError(f"PortAudio is missing ({error}): apt-get install libportaudio2") from error
        index = _index(sounddevice, device)
        try:
            rate_hz = _rate(sounddevice, index)
            self._stream = sounddevice.InputStream(
                samplerate=rate_hz,
                blocksize=round(BLOCK_S * rate_hz),
                device=index,
                channels=1,
                dtype="float32",
                callback=lambda data, frames, when, flags: on_sound(resampled(np.array(data[:, 0]), rate_hz)),
            )
            self._stream.start()
        except sounddevice.PortAudioError as error:
            raise MicrophoneError(f"microphone {device or 'of the system'!r} cannot be opened: {error}") from error

    def close(self) -> None:
        """Stop listening."""
        self._stream.close()


def _index(sounddevice: Any, device: str) -> int | None:
    inputs = [one for one in sounddevice.query_devices() if one["max_input_channels"] > 0]
    if not device and inputs:
        return None
    found = [one for one in inputs if device.lower() in one["name"].lower()]
    if not found or not device:
        names = ", ".join(repr(one["name"]) for one in inputs) or "none"
        raise MicrophoneError(f"no microphone {device!r}; there are: {names}. Name one of them, or part of its name")
    return int(found[0]["index"])


def _rate(sounddevice: Any, index: int | None) -> int:
    try:
        sounddevice.check_input_settings(device=index, channels=1, dtype="float32", samplerate=RATE_HZ)
    except sounddevice.PortAudioError:  # the hardware has rates of its own
        return round(sounddevice.query_devices(index, "input")["default_samplerate"])
    return RATE_HZ
