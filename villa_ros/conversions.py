"""Fast ways into and out of rclpy messages that need no node. The fields of events are in message_mapping."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import String

from villa_ros.message_mapping import header_message, journal_line, rclpy_types

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from villa_ros.pipeline.events import JournalEvent
    from villa_ros.pipeline.frame import FrameHeader
    from villa_ros.pipeline.request import Request


def image_message(rgb: NDArray[np.uint8], header: FrameHeader) -> Any:
    """Picture [H, W, 3] uint8, red first -> sensor_msgs/Image (rgb8) with this header."""
    height, width, _ = rgb.shape
    message = Image(header=header_message(header, rclpy_types()))
    message.height, message.width, message.step = height, width, 3 * width
    message.encoding = "rgb8"
    # assigning an ndarray or bytes is copied item by item in Python: 100 ms and more for a VGA image
    data = array("B")
    data.frombytes(np.ascontiguousarray(rgb).tobytes())
    message.data = data
    return message


def journal_message(event: JournalEvent, request: Request | None) -> Any:
    """Journal event -> std_msgs/String; a submit carries its request."""
    return String(data=journal_line(event, request))
