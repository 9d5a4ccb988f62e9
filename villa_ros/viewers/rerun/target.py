"""Where a live bridge writes to: a file, or a viewer that may come, go and come again."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import rerun as rr

from villa_ros.viewers.rerun.replay_file import APPLICATION, file_recording
from villa_ros.viewers.rerun.scene import RerunScene
from villa_ros.viewers.rerun.viewer import address_of, answers

_LOOK_S = 1.0
_FLUSH_S = 1.0


class Target(Protocol):
    """A place for a scene. All calls come from one thread."""

    def scene(self) -> RerunScene | None:
        """The scene to write to, a new one where all has to be told anew; None: nobody is there."""

    def close(self) -> None:
        """Write what is under way, and no more."""


class FileTarget:
    """A recording in a file.

    Raises:
        RerunError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._scene = RerunScene(file_recording(path, endless=True))

    def scene(self) -> RerunScene | None:
        """The only one there is."""
        return self._scene

    def close(self) -> None:
        """Write what is under way, and no more."""
        self._scene.recording.flush()
        self._scene.recording.disconnect()


class ViewerTarget:
    """A viewer at an address like rerun+http://127.0.0.1:9876/proxy.

    While none is there nothing is kept for it: the SDK alone would keep messages until its queue is full, and then
    hold up who writes. `told` hears of its coming and going.

    Raises:
        RerunError: that is no address.
    """

    def __init__(self, url: str, told: Callable[[str], None]) -> None:
        self._url = url
        self._host, self._port = address_of(url)
        self._told = told
        self._name = uuid.uuid4()  # one recording, also for a viewer that comes back
        self._scene: RerunScene | None = None
        self._looked_s: float | None = None
        self._said = ""

    def scene(self) -> RerunScene | None:
        """The scene of the viewer that is there now; it is looked after once a second."""
        now_s = time.monotonic()
        if self._looked_s is None or now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            if self._scene is not None and not self._still_there():
                self._scene = None
            if self._scene is None and answers(self._host, self._port):
                recording = rr.RecordingStream(APPLICATION, recording_id=self._name)
                recording.connect_grpc(self._url)
                self._scene = RerunScene(recording)
            self._say(f"sending to {self._url}" if self._scene else f"no viewer at {self._url}; waiting for one")
        return self._scene

    def close(self) -> None:
        """Send what is under way, if somebody takes it."""
        if self._scene is not None and self._still_there():
            self._scene.recording.disconnect()

    def _still_there(self) -> bool:
        assert self._scene is not None
        try:
            self._scene.recording.flush(timeout_sec=_FLUSH_S)
        except RuntimeError:  # how the SDK says that the connection was severed; it does not make a new one
            return False
        return True

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._told(text)
