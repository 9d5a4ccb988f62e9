"""A microphone, by the name of its device."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from villa_ros.speech.audio import BLOCK_S, RATE_HZ, Blocks, Sound

if TYPE_CHECKING:
    from types import ModuleType

OnSound = Callable[[Sound], None]
OnError = Callable[[Exception], None]

# Backends of miniaudio; the first that works is taken. Its NULL is not among them: it works everywhere and is deaf.
SOUND_SYSTEMS = ("PULSEAUDIO", "ALSA", "JACK")
_INSTALL_A_SOUND_SYSTEM = "apt-get install libasound2, or libpulse0 where PulseAudio or PipeWire runs"


class MicrophoneError(RuntimeError):
    """No microphone: miniaudio or a sound system is missing, no device has that name, or it was unplugged."""


class Microphone:
    """Hands over what a microphone hears, until it is closed; a context manager.

    `device`: part of a device's name; empty: the system's default. `on_sound` gets blocks of 512 samples at 16 kHz, to
    which miniaudio converts what the device delivers, from a thread of miniaudio. `failed` is told from there of what
    `on_sound` raises, after which listening goes on, and of a device that stops by itself, where the sound system
    tells, after which it does not. `sound_systems`: names of backends of miniaudio.

    Raises:
        MicrophoneError: see there; the message lists the devices.
    """

    def __init__(
        self, device: str, on_sound: OnSound, failed: OnError, sound_systems: Sequence[str] = SOUND_SYSTEMS
    ) -> None:
        try:
            import miniaudio
        except ImportError as error:  # not only of the package: its library may not fit the machine
            raise MicrophoneError(f"miniaudio cannot be imported ({error}): pip install miniaudio") from error
        self._miniaudio: ModuleType = miniaudio
        self._on_sound, self._failed = on_sound, failed
        self._closing = threading.Event()
        backends = [miniaudio.Backend[name] for name in sound_systems]
        try:
            known = miniaudio.Devices(backends)
        except miniaudio.MiniaudioError as error:
            tried = ", ".join(sound_systems)
            raise MicrophoneError(f"no sound system, tried {tried} ({error}): {_INSTALL_A_SOUND_SYSTEM}") from error
        self._name = repr(device) if device else "of the system"
        try:
            device_id = _device_id(known.get_captures(), device)
            self._capture = miniaudio.CaptureDevice(
                miniaudio.SampleFormat.FLOAT32,
                nchannels=1,
                sample_rate=RATE_HZ,
                buffersize_msec=round(1000 * BLOCK_S),
                device_id=device_id,
                backends=backends,
                app_name="villa_speech",
            )
        except miniaudio.MiniaudioError as error:
            raise MicrophoneError(
                f"microphone {self._name} cannot be opened: {error}. Is one plugged in, free and allowed to this user?"
            ) from error
        atexit.register(self.close)  # a program that ended with the device open would hang in its last steps
        try:
            self._capture.stop_callback = self._stopped
            receiver = self._received()
            next(receiver)  # to its first yield, where it waits for sound
            self._capture.start(receiver)
        except miniaudio.MiniaudioError as error:
            self.close()
            raise MicrophoneError(f"microphone {self._name} cannot be started: {error}. Is it free?") from error

    def __enter__(self) -> Microphone:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and wait for the thread that calls `on_sound`, so not to be called from there. Repeatable."""
        if self._closing.is_set():
            return
        self._closing.set()
        atexit.unregister(self.close)
        self._capture.close()
        # CaptureDevice leaves its context behind: that of PulseAudio has a thread and a connection of its own.
        self._miniaudio.lib.ma_context_uninit(self._capture._context)

    def _received(self) -> Generator[None, bytearray, None]:
        """Takes what miniaudio hears, in pieces of any length. It must not raise: miniaudio would only print that."""
        blocks = Blocks()
        while True:
            data = yield
            for block in blocks.cut(np.frombuffer(data, np.float32)):
                self._hear(block)

    def _hear(self, block: Sound) -> None:
        try:
            self._on_sound(block)
        except Exception as error:  # one bad block must not make the robot deaf
            self._failed(error)

    def _stopped(self) -> None:
        if not self._closing.is_set():
            self._failed(MicrophoneError(f"microphone {self._name} stopped: plug it in again and restart this node"))


def _device_id(captures: Sequence[dict[str, Any]], device: str) -> Any:
    """miniaudio's identifier of the first device with `device` in its name; None, its default, where that is empty."""
    if not device and captures:
        return None
    found = [one for one in captures if device.lower() in one["name"].lower()]
    if not found or not device:
        names = ", ".join(repr(" ".join(one["name"].split())) for one in captures) or "none"
        raise MicrophoneError(f"no microphone {device!r}; there are: {names}. Name one of them, or part of its name")
    return found[0]["id"]
