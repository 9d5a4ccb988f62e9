"""Fast ways into rclpy messages that need no node. The fields of events are in message_mapping."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import String

from villa_ros.conversions.events import header_message, journal_line, rclpy_types
from villa_ros.runtime.optional_packages import installed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from villa_ros.pipeline.events import JournalEvent
    from villa_ros.pipeline.frame import FrameHeader
    from villa_ros.pipeline.request import Request

# Of one point of a cloud: m in the optical frame, and the label of its object.
_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("instance", "<u4")])
_KINDS = {"f4": PointField.FLOAT32, "u4": PointField.UINT32}


def image_message(pixels: NDArray[Any], header: FrameHeader, encoding: str) -> Any:
    """Pixels [H, W] or [H, W, channels] -> sensor_msgs/Image with this header; `encoding` must fit their type."""
    height, width = pixels.shape[:2]
    message = Image(header=header_message(header, rclpy_types()))
    message.height, message.width, message.step = height, width, pixels.nbytes // height
    message.encoding = encoding
    message.data = _filled(pixels)
    return message


def jpeg_message(jpeg: NDArray[np.uint8], header: FrameHeader) -> Any:
    """The bytes of a JPEG [N] -> sensor_msgs/CompressedImage."""
    return CompressedImage(header=header_message(header, rclpy_types()), format="jpeg", data=_filled(jpeg))


def cloud_message(points: NDArray[np.float32], labels: NDArray[np.uint32], header: FrameHeader) -> Any:
    """Points [N, 3] m and the label of each [N] -> sensor_msgs/PointCloud2 with fields x, y, z, instance."""
    packed = np.empty(len(points), _POINT)
    for axis, name in enumerate("xyz"):
        packed[name] = points[:, axis]
    packed["instance"] = labels
    fields = [
        PointField(name=name, offset=offset, datatype=_KINDS[kind.str[1:]], count=1)
        for name, (kind, offset) in ((name, _POINT.fields[name][:2]) for name in _POINT.names or ())  # type: ignore[index]
    ]
    maker = installed("sensor_msgs_py.point_cloud2")
    stamped = header_message(header, rclpy_types())
    if maker is not None:
        return maker.create_cloud(stamped, fields, packed)
    return PointCloud2(
        header=stamped,
        height=1,
        width=len(packed),
        fields=fields,
        is_bigendian=False,
        point_step=_POINT.itemsize,
        row_step=packed.nbytes,
        data=_filled(packed),
        is_dense=True,
    )


def points_from_cloud(message: Any) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """sensor_msgs/PointCloud2 as `cloud_message` makes it -> points [N, 3] m and the label of each [N].

    Raises:
        ValueError: other fields, or another number of bytes than they need.
    """
    laid_out = {field.name: (field.offset, field.datatype) for field in message.fields}
    kinds: Mapping[str, Any] = _POINT.fields or {}
    wanted = {name: (int(kinds[name][1]), _KINDS[kinds[name][0].str[1:]]) for name in kinds}
    if laid_out != wanted or message.point_step != _POINT.itemsize or message.is_bigendian:
        raise ValueError(
            f"the cloud has fields {sorted(laid_out)} of {message.point_step} bytes, wanted {sorted(wanted)}"
        )
    packed = np.frombuffer(message.data, _POINT)
    return np.stack([packed[axis] for axis in "xyz"], axis=-1), packed["instance"]


def journal_message(event: JournalEvent, request: Request | None) -> Any:
    """Journal event -> std_msgs/String; a submit carries its request."""
    return String(data=journal_line(event, request))


def _filled(values: NDArray[Any]) -> array[int]:
    # Assigning an ndarray or bytes to a message is copied item by item in Python: 100 ms and more for a VGA image.
    data = array("B")
    data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return data
