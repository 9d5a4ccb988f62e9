"""Bytes of an image message -> a checked view that decodes when somebody looks.

Checks cost no pixel work, so that they can run in the subscription's callback. Encodings carry the names of
sensor_msgs/image_encodings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from villa.images.png_chunks import SIGNATURE, PngError, check_chunks
from villa_ros.pipeline.frame import Frame, FrameHeader
from villa_ros.pipeline.raw_encodings import Bytes, Tones, converted, names, raw_encoding, toned

MAX_PIXELS = 64_000_000  # px; a larger header is a mistake or an attack, never a camera
END_WINDOW = 64  # bytes at the end in which the closing marker is looked for first

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_END = b"IEND"
_PNG_DEPTH = 24  # the byte that holds it
_SCAN = 0xDA  # marker of the picture itself
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset(range(0xD0, 0xD8)) | {0x01}


class ImageError(ValueError):
    """An image contradicts itself or cannot be decoded. `reason` is a short name to count it under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class ImageView:
    """A checked image. `rgb()` gives [H, W, 3] uint8, red first, decoding anew at each call."""

    height: int  # px
    width: int  # px
    encoding: str
    nbytes: int
    rgb: Callable[[], Bytes]
    encoded: Bytes | None = None  # [N] of a compressed image

    def frame(self, camera: str, header: FrameHeader, arrival_ns: int = 0) -> Frame:
        """This image as a frame of `camera`."""
        return Frame(camera, header, self.height, self.width, self.nbytes, self.rgb, arrival_ns, self.encoded)


def raw_view(
    height: int, width: int, encoding: str, step: int, data: Any, is_bigendian: bool = False, tones: Tones = None
) -> ImageView:
    """View of the fields of sensor_msgs/Image, without a copy; `data` is any object with the buffer protocol.

    `tones` are the values that become black and white where the encoding has more than 8 bits; None: told from each
    image. Of encodings in planes, `height` is that of the picture, or that of all its rows as OpenCV lays them out.

    Raises:
        ImageError: unknown encoding, zero size, a step shorter than a row, or data of another length than `step` times
            the rows of the encoding.
    """
    known = raw_encoding(encoding)
    if known is None:
        raise ImageError(
            "encoding",
            f"encoding is {encoding!r}, wanted one of {', '.join(names())}: "
            "set the camera driver to rgb8 or bgr8, or publish compressed images",
        )
    _check_size(height, width, encoding)
    row = known.row_bytes(width)
    if step < row:
        raise ImageError(
            "step",
            f"step is {step} bytes, a row of {width} px in {encoding} needs {row}: "
            "the publisher must set step to the length of a row in bytes",
        )
    pixels = byte_view(data)
    if pixels.size == step * height:
        height = known.height_of(height)
    rows = known.rows(height)
    if pixels.size != step * rows:
        raise ImageError(
            "size",
            f"data holds {pixels.size} bytes, step {step} x {rows} rows of {encoding} wants {step * rows}: "
            "the publisher's size fields and its data disagree",
        )

    def rgb() -> Bytes:
        return known.rgb(pixels.reshape(rows, step), height, width, is_bigendian, tones)

    return ImageView(height, width, encoding, int(pixels.size), rgb)


def compressed_view(data: Any, tones: Tones = None) -> ImageView:
    """View of the data of sensor_msgs/CompressedImage: JPEG or PNG, told apart by content.

    An orientation that the file itself asks for (EXIF) is not followed: camera_info is of the image as it lies there.
    `tones` as in `raw_view`, for a PNG of 16 bits.

    Raises:
        ImageError: as `encoded_size`. `rgb()` raises it as well when the decoder gives up.
    """
    encoded = byte_view(data)
    encoding, height, width = encoded_size(encoded)
    deep = encoding == "png" and int(encoded[_PNG_DEPTH]) == 16
    flags = cv2.IMREAD_UNCHANGED if deep else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

    def rgb() -> Bytes:
        try:
            image = cv2.imdecode(encoded, flags)
        except cv2.error as error:
            raise ImageError("undecodable", f"{encoding} of {encoded.size} bytes: {error}") from error
        if image is None or image.shape[:2] != (height, width):
            seen = "nothing" if image is None else f"{image.shape[1]}x{image.shape[0]} px"
            raise ImageError(
                "undecodable",
                f"{encoding} of {encoded.size} bytes decoded to {seen}, wanted {width}x{height} px: "
                "the data are damaged; check the link to the camera",
            )
        if deep:
            image = toned(image[..., :3] if image.ndim == 3 else image, tones)
        code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
        return converted(image.astype(np.uint8, copy=False), code)

    return ImageView(height, width, encoding, int(encoded.size), rgb, encoded)


def encoded_size(encoded: Bytes) -> tuple[str, int, int]:
    """JPEG or PNG bytes [N] -> "jpeg" or "png", height and width, px. Reads headers only, and decodes nothing.

    What follows the end of the image does not count: some drivers send their whole buffer.

    Raises:
        ImageError: neither of the two, cut off, without a usable size, or a PNG whose chunks do not fit its bytes: a
            decoder would make room for what they promise.
    """
    head = encoded[:8].tobytes()
    if head.startswith(_JPEG_START):
        encoding = "jpeg"
        height, width = _jpeg_size(encoded)
    elif head == SIGNATURE:
        encoding = "png"
        height, width = _png_size(encoded)
    else:
        raise ImageError(
            "format",
            f"compressed image begins with {head.hex(' ') or 'nothing'}, wanted JPEG (ff d8) or "
            "PNG (89 50 4e 47): set the camera's image transport to jpeg or png",
        )
    _check_size(height, width, encoding)
    return encoding, height, width


def byte_view(data: Any) -> Bytes:
    """The bytes of a message's data field, without a copy.

    Raises:
        ImageError: it has no contiguous buffer.
    """
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        if isinstance(error, ValueError) and not len(data):
            return np.zeros(0, np.uint8)
        raise ImageError(
            "data",
            f"data is a {type(data).__name__} without a contiguous byte buffer ({error}), "
            "wanted bytes, bytearray, array('B') or a uint8 array",
        ) from error


def _check_size(height: int, width: int, encoding: str) -> None:
    if height <= 0 or width <= 0:
        raise ImageError(
            "zero_size", f"{encoding} image is {width}x{height} px, wanted 1x1 or more: does the camera run?"
        )
    if height * width > MAX_PIXELS:
        raise ImageError(
            "too_large", f"{encoding} image is {width}x{height} px, wanted {MAX_PIXELS} px or fewer in all"
        )


def _png_size(encoded: Bytes) -> tuple[int, int]:
    header = encoded[8:24].tobytes()
    if header[4:8] != b"IHDR" or len(header) < 16:
        raise ImageError("truncated", f"png of {encoded.size} bytes has no header chunk: it is damaged")
    _check_end(encoded, 0, "png", _PNG_END)
    try:
        check_chunks(encoded)
    except PngError as error:
        raise ImageError("damaged", f"{error}; check the link to the camera") from error
    return int.from_bytes(header[12:16], "big"), int.from_bytes(header[8:12], "big")


def _jpeg_size(encoded: Bytes) -> tuple[int, int]:
    """Height and width of a JPEG that goes on to its end."""
    position, size = 2, None
    while position + 9 <= encoded.size:
        if encoded[position] != 0xFF:
            break
        marker = int(encoded[position + 1])
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _BARE_MARKERS:
            position += 2
        elif marker == _SCAN and size is not None:
            _check_end(encoded, position, "jpeg", _JPEG_END)  # within a scan these bytes are nothing else
            return size
        else:
            if marker in _SIZE_MARKERS:
                sides = encoded[position + 5 : position + 9].tobytes()
                size = int.from_bytes(sides[:2], "big"), int.from_bytes(sides[2:], "big")
            position += 2 + int.from_bytes(encoded[position + 2 : position + 4].tobytes(), "big")
    lacking = "names no image size" if size is None else "has no picture behind its headers"
    raise ImageError("truncated", f"jpeg of {encoded.size} bytes {lacking}: it is damaged")


def _check_end(encoded: Bytes, start: int, encoding: str, end: bytes) -> None:
    """Are the closing bytes anywhere behind `start`?"""
    if end in encoded[-END_WINDOW:].tobytes() or end in encoded[start:].tobytes():
        return
    raise ImageError(
        "truncated",
        f"{encoding} of {encoded.size} bytes has no end marker: "
        "it was cut off; check the link to the camera and the publisher's buffer size",
    )
