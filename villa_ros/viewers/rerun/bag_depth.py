"""Registered depth and calibration of a camera, as a bag has them beside its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from villa_ros.bags.reader import IMAGES, Bag
from villa_ros.pipeline.camera_model import CameraModel, CameraModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class DepthTopics:
    """Where depth and calibration of a camera are; `depth` is empty where there is only a calibration."""

    camera_info: str
    depth: str


def depth_topics(bag: Bag, image_topic: str) -> DepthTopics | None:
    """The calibration beside an image topic, and the depth registered to it; None without a calibration.

    They are told by their types, depth by its name too; of several that under the camera's own name is taken.
    """
    info = _beside(image_topic, bag.topics_of(CAMERA_INFO))
    if not info:
        return None
    depth = [name for name in bag.topics_of(*IMAGES) if "depth" in name.lower() and name != image_topic]
    return DepthTopics(info, _beside(image_topic, depth))


def calibration(bag: Bag, topic: str) -> CameraModel | None:
    """The first calibration of a topic; None where it cannot be used."""
    try:
        return next((CameraModel.of_info(one.message, rectified=False) for one in bag.messages([topic])), None)
    except CameraModelError:
        return None


def _beside(image_topic: str, topics: Sequence[str]) -> str:
    """The only one of these, or the only one under the first part of the image topic's name; else nothing."""
    if len(topics) > 1:
        camera = "/".join(image_topic.split("/")[:2]) + "/"
        topics = [name for name in topics if name.startswith(camera)]
    return topics[0] if len(topics) == 1 else ""
