"""The tracks of a frame on standard message types: overlay, label image, target mask, boxes. For subscribers only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from villa_ros.conversions import vision_msgs
from villa_ros.conversions.rclpy_arrays import image_message, jpeg_message
from villa_ros.node.derived_topics import DerivedTopic, listened_to, publish, subscribed
from villa_ros.node.latest_job import LatestJobThread
from villa_ros.pipeline.label_images import in_view, label_image, target_mask
from villa_ros.pipeline.overlay import draw

if TYPE_CHECKING:
    from villa_ros.pipeline.events import TrackedInstance, TracksEvent
    from villa_ros.pipeline.frame import Frame

_FRAMES_KEPT = 32  # of each camera: those that may still be with the model
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class TrackedFrame:
    """Tracks of a camera on one frame. `frame` is None where its picture is not at hand."""

    event: TracksEvent
    frame: Frame | None
    height: int  # px
    width: int

    @cached_property
    def seen(self) -> list[TrackedInstance]:
        """The instances in view."""
        return in_view(self.event.instances)

    @cached_property
    def picture(self) -> NDArray[np.uint8] | None:
        """The frame with its masks drawn [H, W, 3], red first."""
        return None if self.frame is None else draw(self.frame.rgb(), self.event.instances)


def _overlay(tracked: TrackedFrame) -> Any:
    return None if tracked.picture is None else image_message(tracked.picture, tracked.event.header, "rgb8")


def _overlay_jpeg(tracked: TrackedFrame) -> Any:
    if tracked.picture is None:
        return None
    bgr = cv2.cvtColor(tracked.picture, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return jpeg_message(jpeg, tracked.event.header)


def _labels(tracked: TrackedFrame) -> Any:
    labels = label_image(tracked.event.instances, tracked.height, tracked.width)
    return image_message(labels, tracked.event.header, "mono16")


def _target(tracked: TrackedFrame) -> Any:
    target = target_mask(tracked.event.instances, tracked.height, tracked.width)
    # a planner takes an empty mask for an object of no size
    return None if target is None else image_message(target, tracked.event.header, "mono8")


def _detections(tracked: TrackedFrame) -> Any:
    return vision_msgs.detections(tracked.seen, tracked.event.header)


def _label_info(tracked: TrackedFrame) -> Any:
    return vision_msgs.label_info(tracked.seen, tracked.event.header)


IMAGE_TOPICS: tuple[DerivedTopic[TrackedFrame], ...] = (
    DerivedTopic("overlay", Image, _overlay, drawn=True),
    DerivedTopic("overlay/compressed", CompressedImage, _overlay_jpeg, drawn=True),
    DerivedTopic("label_image", Image, _labels),
    DerivedTopic("target_mask", Image, _target),
    DerivedTopic("detections", f"{vision_msgs.PACKAGE}/Detection2DArray", _detections),
    DerivedTopic("label_info", f"{vision_msgs.PACKAGE}/LabelInfo", _label_info),
)


class ImageTopics:
    """One thread that makes what somebody listens to, newest frame first.

    `publishers` maps a camera to its publishers by topic; `drawing` says whether overlays may be drawn now.
    """

    def __init__(
        self, publishers: Mapping[str, Mapping[str, Any]], logger: Any, drawing: Callable[[], bool] = lambda: True
    ) -> None:
        self._publishers = publishers
        self._drawing = drawing
        self._lock = threading.Lock()
        self._frames: dict[str, OrderedDict[int, Frame]] = {camera: OrderedDict() for camera in publishers}
        self._thread: LatestJobThread[TrackedFrame] = LatestJobThread("image topics", self._publish, logger)

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

    def _draws(self, camera: str) -> bool:
        mine = self._publishers[camera]
        return self._drawing() and any(topic.drawn and subscribed(mine, topic.name) for topic in IMAGE_TOPICS)

    def frame(self, frame: Frame) -> None:
        """Remember a frame by its stamp. The ring holds the same bytes, so this costs no memory."""
        if not self._draws(frame.camera):
            return
        with self._lock:
            frames = self._frames[frame.camera]
            frames[frame.header.time_ns] = frame
            if len(frames) > _FRAMES_KEPT:
                frames.popitem(last=False)

    def tracks(self, event: TracksEvent) -> None:
        """Have these tracks shown, if somebody looks."""
        camera = event.camera
        mine = self._publishers[camera]
        if not event.instances or not listened_to(mine):
            return
        with self._lock:
            frame = self._frames[camera].get(event.header.time_ns) if self._draws(camera) else None
        mask = event.instances[0].mask  # all of a frame have its size
        self._thread.put(camera, TrackedFrame(event, frame, mask.height, mask.width))

    def _publish(self, tracked: TrackedFrame) -> None:
        publish(IMAGE_TOPICS, self._publishers[tracked.event.camera], tracked)
