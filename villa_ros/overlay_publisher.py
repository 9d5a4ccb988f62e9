"""Draws tracks on their frames and publishes the pictures, off the model's thread and only for subscribers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from villa_ros.conversions import image_message
from villa_ros.pipeline.image_view import ImageError
from villa_ros.pipeline.overlay import draw

if TYPE_CHECKING:
    from villa_ros.pipeline.events import TracksEvent
    from villa_ros.pipeline.frame import Frame

_FRAMES_KEPT = 32  # of each camera: those that may still be with the model
_CLOSE_TIMEOUT_S = 2.0


class OverlayPublisher:
    """One thread with room for one picture a camera: a newer one replaces an older one that waits.

    `publishers` maps a camera to its image publisher.
    """

    def __init__(self, publishers: Mapping[str, Any], logger: Any) -> None:
        self.publishers = publishers
        self._logger = logger
        self._changed = threading.Condition()
        self._frames: dict[str, OrderedDict[int, Frame]] = {camera: OrderedDict() for camera in publishers}
        self._waiting: dict[str, tuple[Frame, TracksEvent]] = {}
        self._closed = True
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="overlay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and let go of every frame."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            for frames in self._frames.values():
                frames.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)
            self._thread = None

    def _wanted(self, camera: str) -> bool:
        return camera in self.publishers and self.publishers[camera].get_subscription_count() > 0

    def frame(self, frame: Frame) -> None:
        """Remember a frame by its stamp. The ring holds the same bytes, so this costs no memory."""
        if not self._wanted(frame.camera):
            return
        with self._changed:
            if self._closed:
                return
            frames = self._frames[frame.camera]
            frames[frame.header.stamp_ns] = frame
            if len(frames) > _FRAMES_KEPT:
                frames.popitem(last=False)

    def tracks(self, event: TracksEvent) -> None:
        """Have these tracks drawn on their frame, if it is known and somebody looks."""
        if not self._wanted(event.camera):
            return
        with self._changed:
            frame = self._frames[event.camera].get(event.header.stamp_ns)
            if frame is not None and not self._closed:
                self._waiting[event.camera] = (frame, event)
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                frame, event = self._waiting.pop(next(iter(self._waiting)))
            try:
                picture = draw(frame.rgb(), event.instances)
            except ImageError as error:
                self._logger.warning(f"no overlay: {error}", throttle_duration_sec=5.0)
                continue
            self.publishers[event.camera].publish(image_message(picture, frame.header))
