"""Every encoding of sensor_msgs/image_encodings, and NV12, as OpenCV turns it into RGB.

Sources: https://github.com/ros2/common_interfaces/blob/rolling/sensor_msgs/include/sensor_msgs/image_encodings.hpp for
names and channels; https://docs.opencv.org/4.x/de/d25/imgproc_color_conversions.html for Bayer and YUV (ITU-R BT.601,
16..235). Channels without a name ("8UC3") are blue first, as cv_bridge takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Tones = tuple[float, float] | None  # values that become black and white; None: told from each image

_SAMPLES = 20_000  # values of an image that tell its tones
_PERCENTILES = (1.0, 99.0)  # of a grey image become black and white
_BITS = (8, 10, 12, 14, 16)  # that cameras have
_GREY = 127  # of an image that is the same all over
_TYPES = {"8U": "u1", "8S": "i1", "16U": "u2", "16S": "i2", "32S": "i4", "32F": "f4", "64F": "f8"}
# BT.601: rows are red, green and blue; columns luma, U, V and what is taken away.
_BT601 = np.array([[1.164, 0.0, 1.596], [1.164, -0.392, -0.813], [1.164, 2.017, 0.0]], np.float32)
_OFFSET = (_BT601 @ np.array([16.0, 128.0, 128.0], np.float32)).astype(np.float32)


@dataclass(frozen=True)
class RawEncoding:
    """How the rows of one encoding are laid out, and what they show."""

    name: str
    row_bytes: Callable[[int], int]  # width px -> bytes that a row needs
    rows: Callable[[int], int]  # height px -> rows of `step` bytes in the data
    # Rows [rows, step] of a picture of so many px, height and width; big-endian; tones -> [H, W, 3], red first.
    rgb: Callable[[Bytes, int, int, bool, Tones], Bytes]

    def height_of(self, rows: int) -> int:
        """The height px of a picture of so many rows in all; `rows` where no height has so many."""
        return next((height for height in range(rows, rows // 4, -1) if self.rows(height) == rows), rows)


def raw_encoding(name: str) -> RawEncoding | None:
    """The encoding of this name, in whatever case; None where it is none, or has no agreed colours ("8UC2")."""
    key = name.strip().lower()
    return _BY_NAME.get(f"{key}1" if key.endswith("c") else key)  # "16UC" is 16UC1


def names() -> tuple[str, ...]:
    """All names that have colours, as the standard writes them."""
    return tuple(one.name for one in _ALL)


def toned(values: NDArray[Any], tones: Tones) -> Bytes:
    """Values of more than 8 bits [H, W] or [H, W, C] -> [..] uint8.

    Without tones, those of a grey image reach from its first to its last percentile, zeros and what is not finite left
    out, as a thermal or a depth camera needs it. Colours are not shifted against each other: white is the end of the
    10, 12, 14 or 16 bits, or of the 0..1 or 0..255, that hold the largest value.
    """
    low, high = tones if tones is not None else _tones(values)
    if high <= low:
        return np.full(values.shape, _GREY, np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities and what is next to them
        scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    return np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).astype(np.uint8)


def _tones(values: NDArray[Any]) -> tuple[float, float]:
    flat = values.reshape(-1)
    few = flat[:: max(1, flat.size // _SAMPLES)]
    if values.ndim == 3 and values.shape[2] > 1:
        top = float(np.where(np.isfinite(few), few, 0).max(initial=0))
        if values.dtype.kind == "f":
            return 0.0, next((end for end in (1.0, 255.0) if top <= end), top)
        bits = next((bits for bits in _BITS if top < 2**bits), 0)
        return 0.0, float(2**bits - 1) if bits else top
    told = few[np.isfinite(few) & (few != 0)]
    if not told.size:
        return 0.0, 0.0
    # In double precision: between the ends of single precision lies more than that.
    low, high = np.percentile(told.astype(np.float64), _PERCENTILES)
    return float(low), float(high)


def _words(rows: Bytes, row: int, dtype: str, big_endian: bool) -> NDArray[Any]:
    """Rows [H, step] -> their values [H, row bytes / bytes a value]."""
    kind = np.dtype(dtype).newbyteorder(">" if big_endian else "<")
    return np.ascontiguousarray(rows[:, :row]).view(kind)


def converted(image: NDArray[Any], code: int | None) -> Bytes:
    """An image of 8 bits through OpenCV's conversion of colours; None: as it is."""
    return np.asarray(image if code is None else cv2.cvtColor(image, code), np.uint8)


def _packed(name: str, dtype: str, channels: int, code: int | None) -> RawEncoding:
    """Channels of a pixel one behind the other."""
    size = np.dtype(dtype).itemsize

    def rgb(rows: Bytes, height: int, width: int, big_endian: bool, tones: Tones) -> Bytes:
        # The flag says nothing of values that have one byte.
        values = _words(rows, width * channels * size, dtype, big_endian).reshape(height, width, channels)
        if channels == 4:  # alpha is no tone
            values = values[..., :3]
        image = values if dtype == "u1" else toned(values, tones)
        return converted(np.ascontiguousarray(image), code)

    return RawEncoding(name, lambda width: width * channels * size, lambda height: height, rgb)


def _bayer(name: str, dtype: str, code: int) -> RawEncoding:
    size = np.dtype(dtype).itemsize

    def rgb(rows: Bytes, height: int, width: int, big_endian: bool, tones: Tones) -> Bytes:
        mosaic = _words(rows, width * size, dtype, big_endian)
        # OpenCV leaves out what has too few neighbours: what is smaller is mirrored, which keeps the pattern.
        more = ((0, max(0, 4 - height)), (0, max(0, 4 - width)))
        whole = np.pad(mosaic, more, "reflect") if height < 4 or width < 4 else mosaic
        colours = cv2.cvtColor(np.ascontiguousarray(whole.astype(whole.dtype.newbyteorder("="))), code)
        colours = colours[:height, :width]
        return np.ascontiguousarray(colours if dtype == "u1" else toned(colours, tones), np.uint8)

    return RawEncoding(name, lambda width: width * size, lambda height: height, rgb)


def _yuv422(name: str, code: int, second: tuple[int, int]) -> RawEncoding:
    """Two pixels share their chroma; `second` are places in 4 bytes of what a last odd pixel lacks: luma, chroma."""

    def rgb(rows: Bytes, height: int, width: int, big_endian: bool, tones: Tones) -> Bytes:
        packed = np.ascontiguousarray(rows[:, : 2 * width])
        if width % 2:
            packed = np.concatenate((packed, np.zeros((height, 2), np.uint8)), axis=1)
            luma, chroma = second
            packed[:, 2 * width - 2 + luma] = packed[:, 2 * width - 2 + luma - 2]
            # The other half of its chroma is that of the pair before it, or none.
            packed[:, 2 * width - 2 + chroma] = packed[:, 2 * width - 6 + chroma] if width > 1 else 128
        image = cv2.cvtColor(packed.reshape(height, -1, 2), code)
        return np.ascontiguousarray(image[:, :width], np.uint8)

    return RawEncoding(name, lambda width: 2 * width, lambda height: height, rgb)


def _semi_planar(name: str, first_is_u: bool) -> RawEncoding:
    """A plane of luma, then one of chroma pairs at half the height and width (4:2:0)."""

    def rgb(rows: Bytes, height: int, width: int, big_endian: bool, tones: Tones) -> Bytes:
        pairs = rows[height:, : width + width % 2].reshape((height + 1) // 2, -1, 2)
        chroma = np.repeat(np.repeat(pairs, 2, axis=0), 2, axis=1)[:height, :width]
        return _of_planes(rows[:height, :width], chroma, first_is_u)

    def needed(width: int) -> int:
        return width + width % 2

    return RawEncoding(name, needed, lambda height: height + (height + 1) // 2, rgb)


def _nv24(name: str) -> RawEncoding:
    """A plane of luma, then one of chroma pairs for every pixel: a row of pairs is two rows long (4:4:4)."""

    def rgb(rows: Bytes, height: int, width: int, big_endian: bool, tones: Tones) -> Bytes:
        step = rows.shape[1]
        pairs = rows[height:].reshape(height, 2 * step)[:, : 2 * width].reshape(height, width, 2)
        return _of_planes(rows[:height, :width], pairs, True)

    return RawEncoding(name, lambda width: width, lambda height: 3 * height, rgb)


def _of_planes(luma: Bytes, chroma: Bytes, first_is_u: bool) -> Bytes:
    """Luma [H, W] and chroma pairs [H, W, 2] -> [H, W, 3], red first."""
    u, v = (chroma[..., 0], chroma[..., 1]) if first_is_u else (chroma[..., 1], chroma[..., 0])
    yuv = np.dstack((luma, u, v)).astype(np.float32)
    image = cv2.transform(yuv, _BT601) - _OFFSET
    return np.asarray((image + 0.5).clip(0, 255), np.uint8)


_BLUE_FIRST: dict[int, int | None] = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGR2RGB}
_COLOURS = {"rgb": (3, None), "bgr": (3, cv2.COLOR_BGR2RGB), "rgba": (4, None), "bgra": (4, cv2.COLOR_BGR2RGB)}
_DEPTHS = {"8": "u1", "16": "u2"}
_BAYER = {
    "rggb": cv2.COLOR_BayerRGGB2RGB, "bggr": cv2.COLOR_BayerBGGR2RGB, "gbrg": cv2.COLOR_BayerGBRG2RGB,
    "grbg": cv2.COLOR_BayerGRBG2RGB,
}  # fmt: skip
_UYVY, _YUYV = (cv2.COLOR_YUV2RGB_UYVY, (3, 2)), (cv2.COLOR_YUV2RGB_YUYV, (2, 3))

_ALL = [
    *(
        _packed(f"{name}{bits}", dtype, channels, code)
        for bits, dtype in _DEPTHS.items()
        for name, (channels, code) in _COLOURS.items()
    ),
    *(_packed(f"mono{bits}", dtype, 1, cv2.COLOR_GRAY2RGB) for bits, dtype in _DEPTHS.items()),
    *(_bayer(f"bayer_{name}{bits}", dtype, code) for bits, dtype in _DEPTHS.items() for name, code in _BAYER.items()),
    *(_yuv422(name, *_UYVY) for name in ("uyvy", "yuv422")),
    *(_yuv422(name, *_YUYV) for name in ("yuyv", "yuv422_yuy2", "yuy2")),
    _semi_planar("nv12", first_is_u=True),
    _semi_planar("nv21", first_is_u=False),
    _nv24("nv24"),
    *(
        _packed(f"{kind}C{channels}", dtype, channels, code)
        for kind, dtype in _TYPES.items()
        for channels, code in _BLUE_FIRST.items()
    ),
]
_BY_NAME = {one.name.lower(): one for one in _ALL}
