"""Registered depth and calibration of a camera, as a bag has them beside its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from villa.images.png_chunks import SIGNATURE
from villa_ros.bags.reader import IMAGES, Bag
from villa_ros.conversions.events import nanoseconds
from villa_ros.conversions.images import BadImage, depth_from_image
from villa_ros.pipeline.camera_model import CameraModel, CameraModelError
from villa_ros.pipeline.depth import DepthImage, depth_image
from villa_ros.pipeline.image_view import encoded_size

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


def depth_of(message: Any) -> DepthImage:
    """A depth image, raw or as PNG.

    Raises:
        BadImage: it is none, or cannot be read.
    """
    return _of_png(message) if hasattr(message, "format") else depth_from_image(message)


def _beside(image_topic: str, topics: Sequence[str]) -> str:
    """The only one of these, or the only one under the first part of the image topic's name; else nothing."""
    if len(topics) > 1:
        camera = "/".join(image_topic.split("/")[:2]) + "/"
        topics = [name for name in topics if name.startswith(camera)]
    return topics[0] if len(topics) == 1 else ""


def _of_png(message: Any) -> DepthImage:
    data = np.asarray(message.data, np.uint8).tobytes()
    begin = data.find(SIGNATURE)  # image_transport's compressedDepth puts a header of its own before it
    pixels = None
    if begin >= 0:
        encoded = np.frombuffer(data, np.uint8, offset=begin)
        encoded_size(encoded)
        pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise BadImage("encoding", f"depth in {message.format!r} is no PNG of 16 bit, wanted 16UC1 (mm)")
    height, width = pixels.shape
    return depth_image(nanoseconds(message.header.stamp), height, width, "16UC1", 2 * width, pixels)
