"""The tracks of a frame on standard message types: overlay, label image, target mask, boxes. For subscribers only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2

from villa_ros.conversions import vision_msgs
from villa_ros.conversions.rclpy_arrays import image_message, jpeg_message
from villa_ros.node.latest_job import NewestOnly
from villa_ros.pipeline.label_images import in_view, label_image, target_mask
from villa_ros.pipeline.overlay import draw

if TYPE_CHECKING:
    from villa_ros.pipeline.events import TracksEvent
    from villa_ros.pipeline.frame import Frame

# Topics of a camera that show its tracks.
OVERLAY, OVERLAY_JPEG = "overlay", "overlay/compressed"
LABELS, TARGET = "label_image", "target_mask"
DETECTIONS, NAMES = "detections", "label_info"

_FRAMES_KEPT = 32  # of each camera: those that may still be with the model
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class _Job:
    event: TracksEvent
    frame: Frame | None  # where a picture is to be drawn on it
    height: int
    width: int


class FlatMirrors:
    """One thread that makes what somebody listens to, newest frame first.

    `publishers` maps a camera to its publishers by topic; `drawing` says whether overlays may be drawn now.
    """

    def __init__(
        self, publishers: Mapping[str, Mapping[str, Any]], logger: Any, drawing: Callable[[], bool] = lambda: True
    ) -> None:
        self.publishers = publishers
        self._drawing = drawing
        self._lock = threading.Lock()
        self._frames: dict[str, OrderedDict[int, Frame]] = {camera: OrderedDict() for camera in publishers}
        self._thread: NewestOnly[_Job] = NewestOnly("mirrors", self._publish, logger)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and let go of every frame."""
        self._thread.close()
        with self._lock:
            for frames in self._frames.values():
                frames.clear()

    @property
    def failures(self) -> int:
        """How often making one has failed."""
        return self._thread.failures

    def _wanted(self, camera: str, *topics: str) -> bool:
        mine = self.publishers[camera]
        return any(topic in mine and mine[topic].get_subscription_count() > 0 for topic in topics)

    def _draws(self, camera: str) -> bool:
        return self._drawing() and self._wanted(camera, OVERLAY, OVERLAY_JPEG)

    def frame(self, frame: Frame) -> None:
        """Remember a frame by its stamp. The ring holds the same bytes, so this costs no memory."""
        if not self._draws(frame.camera):
            return
        with self._lock:
            frames = self._frames[frame.camera]
            frames[frame.header.stamp_ns] = frame
            if len(frames) > _FRAMES_KEPT:
                frames.popitem(last=False)

    def tracks(self, event: TracksEvent) -> None:
        """Have these tracks shown, if somebody looks."""
        camera = event.camera
        if not event.instances or not self._wanted(camera, *self.publishers[camera]):
            return
        with self._lock:
            frame = self._frames[camera].get(event.header.stamp_ns) if self._draws(camera) else None
        mask = event.instances[0].mask  # all of a frame have its size
        self._thread.put(camera, _Job(event, frame, mask.height, mask.width))

    def _publish(self, job: _Job) -> None:
        event, camera = job.event, job.event.camera
        mine = self.publishers[camera]
        if self._wanted(camera, LABELS):
            labels = label_image(event.instances, job.height, job.width)
            mine[LABELS].publish(image_message(labels, event.header, "mono16"))
        if self._wanted(camera, TARGET):
            target = target_mask(event.instances, job.height, job.width)
            if target is not None:  # a planner takes an empty mask for an object of no size
                mine[TARGET].publish(image_message(target, event.header, "mono8"))
        seen = in_view(event.instances)
        if self._wanted(camera, DETECTIONS):
            mine[DETECTIONS].publish(vision_msgs.detections(seen, event.header))
        if self._wanted(camera, NAMES):
            mine[NAMES].publish(vision_msgs.label_info(seen, event.header))
        if job.frame is None:
            return
        picture = draw(job.frame.rgb(), event.instances)
        if self._wanted(camera, OVERLAY):
            mine[OVERLAY].publish(image_message(picture, event.header, "rgb8"))
        if self._wanted(camera, OVERLAY_JPEG):
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            mine[OVERLAY_JPEG].publish(jpeg_message(jpeg, event.header))
