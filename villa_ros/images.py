"""sensor_msgs/Image and CompressedImage -> a validated frame. Needs no ROS: any object with the fields does.

Validation reads headers only; pixels are decoded when `Frame.rgb` is called. Live node and offline replay
share these functions, so that both see the same pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa_ros.message_mapping import header_from_message
from villa_ros.pipeline.frame import Frame

Rgb = NDArray[np.uint8]

MAX_SIDE_PX = 16384  # a larger side is a broken header or a decompression bomb, no camera
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_END_WITHIN = 4096  # bytes; cameras pad the end of a JPEG buffer with zeros


class BadImage(ValueError):  # noqa: N818 - named for what it is
    """An image that cannot be used; `reason` is one word for counting, the text says what was seen."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class _Encoding:
    """Layout of one ROS encoding: bytes a pixel, and raw [H, W, bytes] uint8 -> [H, W, 3] RGB."""

    pixel_bytes: int
    to_rgb: Callable[[NDArray[Any]], Any]


def _convert(code: int) -> Callable[[NDArray[Any]], Any]:
    return lambda raw: cv2.cvtColor(raw, code)


def _mono16(order: str) -> Callable[[NDArray[Any]], Any]:
    def convert(raw: NDArray[Any]) -> Any:
        high = raw[..., 1] if order == "<" else raw[..., 0]  # the high byte is the 8-bit image
        return cv2.cvtColor(np.ascontiguousarray(high), cv2.COLOR_GRAY2RGB)

    return convert


# OpenCV names a Bayer pattern by its second row, ROS by its first: bayer_rggb8 is BayerBG.
_ENCODINGS: dict[str, _Encoding] = {
    "rgb8": _Encoding(3, lambda raw: raw.copy()),
    "bgr8": _Encoding(3, _convert(cv2.COLOR_BGR2RGB)),
    "8UC3": _Encoding(3, _convert(cv2.COLOR_BGR2RGB)),
    "rgba8": _Encoding(4, _convert(cv2.COLOR_RGBA2RGB)),
    "bgra8": _Encoding(4, _convert(cv2.COLOR_BGRA2RGB)),
    "8UC4": _Encoding(4, _convert(cv2.COLOR_BGRA2RGB)),
    "mono8": _Encoding(1, _convert(cv2.COLOR_GRAY2RGB)),
    "8UC1": _Encoding(1, _convert(cv2.COLOR_GRAY2RGB)),
    "mono16": _Encoding(2, _mono16("<")),
    "yuv422": _Encoding(2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    "uyvy": _Encoding(2, _convert(cv2.COLOR_YUV2RGB_UYVY)),
    "yuv422_yuy2": _Encoding(2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    "yuyv": _Encoding(2, _convert(cv2.COLOR_YUV2RGB_YUY2)),
    "bayer_rggb8": _Encoding(1, _convert(cv2.COLOR_BayerBG2RGB)),
    "bayer_bggr8": _Encoding(1, _convert(cv2.COLOR_BayerRG2RGB)),
    "bayer_gbrg8": _Encoding(1, _convert(cv2.COLOR_BayerGR2RGB)),
    "bayer_grbg8": _Encoding(1, _convert(cv2.COLOR_BayerGB2RGB)),
}


def frame_from_image(message: Any, camera: str, arrival_ns: int = 0) -> Frame:
    """sensor_msgs/Image -> frame. Keeps a view of the message's data, copies no pixel.

    Raises:
        BadImage: zero_size, too_large, unknown_encoding, wrong_step or wrong_size.
    """
    height, width, step = int(message.height), int(message.width), int(message.step)
    _check_size(height, width)
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise BadImage(
            "unknown_encoding",
            f"encoding {message.encoding[:40]!r} is not supported; "
            f"publish one of {', '.join(sorted(_ENCODINGS))}",
        )
    row = width * encoding.pixel_bytes
    if step < row:
        raise BadImage(
            "wrong_step",
            f"step {step} is shorter than a row of {width} {message.encoding} pixels ({row} bytes)",
        )
    data = np.frombuffer(message.data, np.uint8)
    if data.size != step * height:
        raise BadImage(
            "wrong_size",
            f"{data.size} bytes of data; {height} rows of step {step} need {step * height} bytes",
        )
    if encoding.pixel_bytes == 2 and message.encoding != "mono16" and width % 2:
        raise BadImage("wrong_size", f"width {width} is odd; {message.encoding} stores pixels in pairs")
    convert = encoding.to_rgb
    if message.encoding == "mono16" and message.is_bigendian:
        convert = _mono16(">")
    shape = (height, width) if encoding.pixel_bytes == 1 else (height, width, encoding.pixel_bytes)

    def rgb() -> Rgb:
        rows = data.reshape(height, step)[:, :row]
        return np.asarray(convert(rows.reshape(shape)), np.uint8)

    return Frame(camera, header_from_message(message.header), height, width, data.size, rgb, arrival_ns)


def frame_from_compressed(message: Any, camera: str, arrival_ns: int = 0) -> Frame:
    """sensor_msgs/CompressedImage (JPEG or PNG, told by its bytes) -> frame. Reads the size, decodes nothing.

    Raises:
        BadImage: zero_size, too_large, unknown_encoding or truncated. `Frame.rgb` raises it too (undecodable),
            for damage that the headers do not show.
    """
    data = np.frombuffer(message.data, np.uint8)
    height, width = _compressed_size(data.data, message.format)
    _check_size(height, width)

    def rgb() -> Rgb:
        # a rotation in the EXIF block would contradict the size in the header
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if bgr is None or bgr.shape[:2] != (height, width):
            raise BadImage("undecodable", f"a {width}x{height} image of {data.size} bytes does not decode")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    return Frame(camera, header_from_message(message.header), height, width, data.size, rgb, arrival_ns)


def _check_size(height: int, width: int) -> None:
    if height == 0 or width == 0:
        raise BadImage("zero_size", f"the image is {width}x{height} px; wanted at least 1x1")
    if max(height, width) > MAX_SIDE_PX:
        raise BadImage("too_large", f"the image is {width}x{height} px; no side may exceed {MAX_SIDE_PX}")


def _compressed_size(data: memoryview, stated: str) -> tuple[int, int]:
    """Height and width in px from the header of a whole JPEG or PNG."""
    if len(data) == 0:
        raise BadImage("zero_size", "the compressed image holds no data")
    tail = bytes(data[-_END_WITHIN:])
    if bytes(data[:2]) == b"\xff\xd8":
        if tail.rfind(_JPEG_END) < 0:
            raise BadImage("truncated", f"JPEG of {len(data)} bytes has no end marker; it was cut short")
        return _jpeg_size(data)
    if bytes(data[:8]) == _PNG_START:
        if len(data) < 24 or tail.rfind(_PNG_END) < 0:
            raise BadImage("truncated", f"PNG of {len(data)} bytes has no end chunk; it was cut short")
        width, height = struct.unpack(">II", data[16:24])
        return height, width
    raise BadImage(
        "unknown_encoding",
        f"compressed format {stated[:40]!r} holds neither JPEG nor PNG data; publish one of these",
    )


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    """Walk the JPEG segments to the frame header (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return height, width
        at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    raise BadImage("truncated", f"JPEG of {len(data)} bytes has no frame header; it is damaged")
