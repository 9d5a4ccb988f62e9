"""Depth as compressed_depth_image_transport sends it: PNG or RVL behind a header of 12 bytes.

Sources: https://github.com/ros-perception/image_transport_plugins (compressed_depth_image_transport: the header, the
quantisation of 32FC1); RVL is A. Wilson, "Fast Lossless Depth Image Compression", ISS 2017.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.images.png_chunks import SIGNATURE
from villa_ros.pipeline.image_view import MAX_PIXELS, ImageError, byte_view, encoded_size

_HEADER = struct.Struct("<iff")  # of no use; quantisation a and b of 32FC1
_RVL_SIZE = struct.Struct("<II")  # width, height px
_FORMAT = re.compile(r"\s*(16UC1|32FC1)\s*;\s*compressedDepth\s*(png|rvl|)\s*", re.IGNORECASE)
_NIBBLES = np.arange(28, -1, -4, dtype=np.uint32)  # of a word, the first one on top
_MORE, _BITS = 8, 3  # a nibble's flag that its number goes on, and what it holds of it


def compressed_depth_size(form: str, data: Any) -> tuple[int, int]:
    """`format` and `data` of sensor_msgs/CompressedImage -> height and width px, by the headers alone.

    Raises:
        ImageError: as `compressed_depth`, but for damage that only decoding shows.
    """
    _, kind, body, _ = _parts(form, data)
    if kind == "rvl":
        return _rvl_size(body)
    _, height, width = encoded_size(body)
    return height, width


def compressed_depth(form: str, data: Any) -> NDArray[np.uint16] | NDArray[np.float32]:
    """`format` and `data` of sensor_msgs/CompressedImage -> [H, W], as the driver has it: 16UC1 or 32FC1.

    0 of 16UC1 and NaN of 32FC1 are places without depth.

    Raises:
        ImageError: the format names no such depth, or the data contradict it.
    """
    encoding, kind, body, (a, b) = _parts(form, data)
    raw = _of_rvl(body) if kind == "rvl" else _of_png(body)
    if encoding == "16UC1":
        return raw
    metres = np.full(raw.shape, np.nan, np.float32)
    known = raw != 0
    with np.errstate(divide="ignore"):
        metres[known] = np.float32(a) / (raw[known].astype(np.float32) - np.float32(b))
    return metres


def _parts(form: str, data: Any) -> tuple[str, str, NDArray[np.uint8], tuple[float, float]]:
    whole = byte_view(data)
    if whole[:8].tobytes() == SIGNATURE:  # a PNG without that header: the transport for colours, of whole numbers
        return "16UC1", "png", whole, (0.0, 0.0)
    known = _FORMAT.fullmatch(form)
    if known is None:
        raise ImageError(
            "encoding",
            f"format is {form!r}, wanted '16UC1; compressedDepth' or '32FC1; compressedDepth', with png or rvl: "
            "is this the topic of a depth image?",
        )
    if whole.size <= _HEADER.size:
        raise ImageError("truncated", f"compressed depth of {whole.size} bytes holds no more than its header")
    _, a, b = _HEADER.unpack(whole[: _HEADER.size].tobytes())
    body = whole[_HEADER.size :]
    # Old publishers name no kind; a PNG is known by its first bytes.
    kind = known[2].lower() or ("png" if body[:8].tobytes() == SIGNATURE else "rvl")
    return known[1].upper(), kind, body, (a, b)


def _of_png(body: NDArray[np.uint8]) -> NDArray[np.uint16]:
    head = body[: len(SIGNATURE)].tobytes()
    if head != SIGNATURE:
        raise ImageError("undecodable", f"compressed depth: the PNG begins with {head.hex(' ')}, wanted 89 50 4e 47")
    encoded_size(body)  # its chunks fit
    try:
        raw = cv2.imdecode(body, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError("undecodable", f"compressed depth: the PNG {error}") from error
    if raw is None or raw.dtype != np.uint16 or raw.ndim != 2:
        seen = "nothing" if raw is None else f"{raw.dtype} {'x'.join(map(str, raw.shape))}"
        raise ImageError("undecodable", f"compressed depth: its PNG holds {seen}, wanted one channel of 16 bits")
    return np.asarray(raw, np.uint16)


def _rvl_size(body: NDArray[np.uint8]) -> tuple[int, int]:
    if body.size < _RVL_SIZE.size:
        raise ImageError("truncated", f"compressed depth: RVL data of {body.size} bytes hold no size")
    width, height = _RVL_SIZE.unpack(body[: _RVL_SIZE.size].tobytes())
    if not 0 < width * height <= MAX_PIXELS:
        raise ImageError("too_large", f"compressed depth is {width}x{height} px, wanted 1 to {MAX_PIXELS} px in all")
    return height, width


def _of_rvl(body: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Runs of zeros and of differences, each number in nibbles, the lowest bits first."""
    height, width = _rvl_size(body)
    packed = body[_RVL_SIZE.size :]
    packed = np.pad(packed, (0, -packed.size % 4))
    words = np.ascontiguousarray(packed).view("<u4")
    nibbles = ((words[:, None] >> _NIBBLES) & 15).astype(np.int64).ravel()
    first = np.concatenate(([True], (nibbles[:-1] & _MORE) == 0)) if nibbles.size else np.zeros(0, bool)
    starts = np.flatnonzero(first)
    place = np.arange(nibbles.size) - np.repeat(starts, np.diff(np.append(starts, nibbles.size)))
    if place.max(initial=0) > 20:
        raise ImageError("undecodable", "compressed depth: an RVL number has more than 63 bits: the data are damaged")
    numbers = np.add.reduceat((nibbles & 7) << (_BITS * place), starts) if starts.size else starts
    out = np.zeros(height * width, np.int64)  # differences, 0 where there is no depth
    known = np.zeros(height * width, bool)
    pixel = at = 0
    while pixel < out.size:
        zeros, count = (int(numbers[place]) if place < len(numbers) else 0 for place in (at, at + 1))
        at, begin = at + 2, pixel + zeros
        if at + count > len(numbers):
            raise ImageError(
                "truncated", f"compressed depth: RVL data end at pixel {pixel} of {out.size}: they were cut off"
            )
        if begin + count > out.size or not zeros + count:
            raise ImageError(
                "undecodable",
                f"compressed depth: an RVL run of {zeros + count} px at pixel {pixel} of {out.size}: it is damaged",
            )
        pixel = begin
        out[pixel : pixel + count] = numbers[at : at + count]
        known[pixel : pixel + count] = True
        at, pixel = at + count, pixel + count
    steps = out[known]
    values = np.cumsum((steps >> 1) ^ -(steps & 1))
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ImageError("undecodable", "compressed depth: RVL values are not of 16 bits: the data are damaged")
    out[known] = values
    return out.reshape(height, width).astype(np.uint16)
