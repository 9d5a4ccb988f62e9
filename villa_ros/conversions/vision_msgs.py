"""Tracks as vision_msgs, where that package is installed: boxes, and the names behind the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from villa_ros.conversions.events import header_message, rclpy_types
from villa_ros.runtime.optional_packages import installed

if TYPE_CHECKING:
    from villa_ros.pipeline.events import TrackedInstance
    from villa_ros.pipeline.frame import FrameHeader

PACKAGE = "vision_msgs.msg"


def detections(instances: Sequence[TrackedInstance], header: FrameHeader) -> Any:
    """Instances in view -> vision_msgs/Detection2DArray; a detection's id is its track's."""
    messages = installed(PACKAGE)
    stamped = header_message(header, rclpy_types())
    made = messages.Detection2DArray(header=stamped)
    for entry in instances:
        box = messages.BoundingBox2D()
        box.center.position.x = entry.mask.x + entry.mask.box_width / 2
        box.center.position.y = entry.mask.y + entry.mask.box_height / 2
        box.size_x, box.size_y = float(entry.mask.box_width), float(entry.mask.box_height)
        guess = messages.ObjectHypothesisWithPose()
        guess.hypothesis.class_id, guess.hypothesis.score = entry.name, entry.score
        made.detections.append(messages.Detection2D(header=stamped, results=[guess], bbox=box, id=entry.track_id))
    return made


def label_info(instances: Sequence[TrackedInstance], header: FrameHeader) -> Any:
    """Instances in view -> vision_msgs/LabelInfo: what the labels of the label image are called."""
    messages = installed(PACKAGE)
    made = messages.LabelInfo(header=header_message(header, rclpy_types()))
    made.class_map = [messages.VisionClass(class_id=entry.label, class_name=entry.name) for entry in instances]
    return made
