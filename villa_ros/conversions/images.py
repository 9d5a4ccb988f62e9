"""sensor_msgs/Image and CompressedImage, of rclpy or of rosbags alike -> a checked frame. Needs no ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from villa_ros.conversions.events import header_from_message, nanoseconds
from villa_ros.pipeline.depth import MILLIMETRE_M, DepthImage, depth_image, packed_depth_image
from villa_ros.pipeline.frame import Frame, FrameHeader
from villa_ros.pipeline.image_view import ImageError as BadImage
from villa_ros.pipeline.image_view import ImageView, byte_view, compressed_view, raw_view
from villa_ros.pipeline.raw_encodings import Tones, raw_encoding
from villa_ros.pipeline.video_stream import VideoStream
from villa_ros.runtime.optional_packages import installed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "IMAGE_TYPES",
    "BadImage",
    "ImageType",
    "depth_from_message",
    "frame_from_compressed",
    "frame_from_image",
    "image_type",
    "stamp_of",
    "type_by_transport",
]


def frame_from_image(message: Any, camera: str, arrival_ns: int = 0, tones: Tones = None) -> Frame:
    """sensor_msgs/Image -> frame. Keeps a view of the message's data, copies no pixel; `tones` as in `raw_view`.

    Encodings that this package does not know are left to cv_bridge where that is installed.

    Raises:
        BadImage: the fields contradict each other or the encoding is unknown; `reason` names which.
    """
    view = None if raw_encoding(message.encoding) else _bridged_view(message)
    if view is None:
        big_endian = bool(message.is_bigendian)
        view = raw_view(message.height, message.width, message.encoding, message.step, message.data, big_endian, tones)
    return view.frame(camera, header_from_message(message.header), arrival_ns)


def depth_from_message(message: Any, unit_m: float = MILLIMETRE_M) -> DepthImage:
    """sensor_msgs/Image or CompressedImage (compressedDepth) of depth -> its view in metres, without a copy.

    `unit_m` is one of a depth in whole numbers.

    Raises:
        BadImage: no depth encoding, or sizes that contradict each other.
    """
    stamp_ns = nanoseconds(message.header.stamp)
    if hasattr(message, "format"):
        return packed_depth_image(stamp_ns, message.format, message.data, unit_m)
    return depth_image(
        stamp_ns, message.height, message.width, message.encoding, message.step,
        message.data, bool(message.is_bigendian), unit_m,
    )  # fmt: skip


def frame_from_compressed(message: Any, camera: str, arrival_ns: int = 0, tones: Tones = None) -> Frame:
    """sensor_msgs/CompressedImage (JPEG or PNG, told by its bytes) -> frame. Reads the size, decodes nothing.

    Raises:
        BadImage: neither of the two, cut short or without a size. `Frame.rgb` raises it too, for damage that
            the headers do not show.
    """
    return compressed_view(message.data, tones).frame(camera, header_from_message(message.header), arrival_ns)


@dataclass(frozen=True)
class ImageType:
    """A message type that holds a camera's image, and how a message of it becomes a frame."""

    name: str  # "sensor_msgs/msg/Image"
    transport: str  # what image_transport calls it: the last part of a topic's name, but for raw
    # A reader of one topic: (message, camera, arrival ns, tones) -> frame. One of video knows what came before.
    reader: Callable[[], Callable[..., Frame]]


def _video_reader(told: Callable[[Any], tuple[str, FrameHeader]]) -> Callable[..., Frame]:
    """A reader of packets of video; `told` gives the encoding and the header that a message of their type names."""
    stream = VideoStream()

    def frame(message: Any, camera: str, arrival_ns: int = 0, tones: Tones = None) -> Frame:
        encoding, header = told(message)
        picture = stream.picture(bytes(byte_view(message.data)), encoding)
        height, width = picture.shape[:2]
        # The packets before it are not kept, so it cannot be decoded again.
        return Frame(camera, header, height, width, picture.nbytes, picture.copy, arrival_ns)

    return frame


def _of_packet(message: Any) -> tuple[str, FrameHeader]:
    """ffmpeg_image_transport_msgs/FFMPEGPacket."""
    return message.encoding, header_from_message(message.header)


def _of_compressed_video(message: Any) -> tuple[str, FrameHeader]:
    """foxglove_msgs/CompressedVideo."""
    return message.format, FrameHeader(nanoseconds(message.timestamp), message.frame_id)


IMAGE_TYPES = (
    ImageType("sensor_msgs/msg/Image", "raw", lambda: frame_from_image),
    ImageType("sensor_msgs/msg/CompressedImage", "compressed", lambda: frame_from_compressed),
    ImageType("ffmpeg_image_transport_msgs/msg/FFMPEGPacket", "ffmpeg", lambda: _video_reader(_of_packet)),
    ImageType("foxglove_msgs/msg/CompressedVideo", "foxglove", lambda: _video_reader(_of_compressed_video)),
)
_BY_NAME = {one.name: one for one in IMAGE_TYPES}
_BY_TRANSPORT = {one.transport: one for one in IMAGE_TYPES}


def image_type(name: str | None) -> ImageType | None:
    """The image type of this name, None for any other type."""
    return _BY_NAME.get(name or "")


def type_by_transport(transport: str, topic: str) -> ImageType:
    """The image type of a topic; "auto": as the topic's name says, else raw."""
    asked = topic.rpartition("/")[2] if transport == "auto" else transport
    return _BY_TRANSPORT.get(asked, IMAGE_TYPES[0])


def stamp_of(message: Any) -> int:
    """The stamp in ns of a message of an image type."""
    return nanoseconds(message.timestamp if hasattr(message, "timestamp") else message.header.stamp)


def _bridged_view(message: Any) -> ImageView | None:
    """The same through cv_bridge; None where that is not installed or does not know the encoding either."""
    package = installed("cv_bridge")
    if package is None:
        return None
    bridge = package.CvBridge()
    try:
        bridge.encoding_to_cvtype2(message.encoding)
    except Exception:
        return None
    if message.height <= 0 or message.width <= 0 or len(message.data) != message.step * message.height:
        raise BadImage(
            "size",
            f"{message.encoding} image of {message.width}x{message.height} px with step {message.step} holds "
            f"{len(message.data)} bytes: the publisher's size fields and its data disagree",
        )

    def rgb() -> NDArray[np.uint8]:
        try:
            return np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"), np.uint8)
        except Exception as error:
            raise BadImage("undecodable", f"cv_bridge cannot turn {message.encoding} into rgb8: {error}") from error

    return ImageView(message.height, message.width, message.encoding, len(message.data), rgb)
