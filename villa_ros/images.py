"""sensor_msgs/Image and CompressedImage, of rclpy or of rosbags alike -> a checked frame. Needs no ROS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from villa_ros.message_mapping import header_from_message
from villa_ros.pipeline.image_view import ImageError as BadImage
from villa_ros.pipeline.image_view import compressed_view, raw_view

if TYPE_CHECKING:
    from villa_ros.pipeline.frame import Frame

__all__ = ["BadImage", "frame_from_compressed", "frame_from_image"]


def frame_from_image(message: Any, camera: str, arrival_ns: int = 0) -> Frame:
    """sensor_msgs/Image -> frame. Keeps a view of the message's data, copies no pixel.

    Raises:
        BadImage: the fields contradict each other or the encoding is unknown; `reason` names which.
    """
    big_endian = bool(message.is_bigendian)
    view = raw_view(message.height, message.width, message.encoding, message.step, message.data, big_endian)
    return view.frame(camera, header_from_message(message.header), arrival_ns)


def frame_from_compressed(message: Any, camera: str, arrival_ns: int = 0) -> Frame:
    """sensor_msgs/CompressedImage (JPEG or PNG, told by its bytes) -> frame. Reads the size, decodes nothing.

    Raises:
        BadImage: neither of the two, cut short or without a size. `Frame.rgb` raises it too, for damage that
            the headers do not show.
    """
    return compressed_view(message.data).frame(camera, header_from_message(message.header), arrival_ns)
