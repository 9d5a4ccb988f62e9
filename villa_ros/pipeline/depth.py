"""Registered depth images: their bytes as metres, and the one that belongs to a frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa_ros.pipeline.compressed_depth import compressed_depth, compressed_depth_size
from villa_ros.pipeline.image_view import ImageError, byte_view

# REP-118: metres as 32FC1; 16UC1 is OpenNI's millimetres, which some drivers call mono16.
ENCODINGS = {"32FC1": 4, "16UC1": 2, "mono16": 2}
MILLIMETRE_M = 0.001


@dataclass(frozen=True)
class DepthImage:
    """One depth image, decoded where somebody looks."""

    stamp_ns: int
    height: int  # px
    width: int  # px
    metres: Callable[[slice, slice], NDArray[np.float32]]  # rows, columns -> [h, w]; NaN where it is not known


def depth_image(
    stamp_ns: int,
    height: int,
    width: int,
    encoding: str,
    step: int,
    data: Any,
    is_bigendian: bool = False,
    unit_m: float = MILLIMETRE_M,
) -> DepthImage:
    """View of the fields of sensor_msgs/Image that holds depth, without a copy; `unit_m` is one of 16UC1.

    Raises:
        ImageError: no depth encoding, or sizes that contradict each other.
    """
    if encoding not in ENCODINGS:
        raise ImageError(
            "encoding",
            f"depth encoding is {encoding!r}, wanted 32FC1 (m) or 16UC1 (mm): is this the depth topic, and raw?",
        )
    row = width * ENCODINGS[encoding]
    pixels = byte_view(data)
    if height <= 0 or width <= 0 or step < row or pixels.size != step * height:
        raise ImageError(
            "size",
            f"depth of {width}x{height} px in {encoding} with step {step} has {pixels.size} bytes: "
            "the publisher's size fields and its data disagree",
        )
    kind = np.dtype(f"{'>' if is_bigendian else '<'}{'f4' if encoding == '32FC1' else 'u2'}")

    def metres(rows: slice, columns: slice) -> NDArray[np.float32]:
        part = pixels.reshape(height, step)[rows, columns.start * kind.itemsize : columns.stop * kind.itemsize]
        return _in_metres(np.ascontiguousarray(part).view(kind), unit_m)

    return DepthImage(stamp_ns, height, width, metres)


def packed_depth_image(stamp_ns: int, form: str, data: Any, unit_m: float = MILLIMETRE_M) -> DepthImage:
    """View of `format` and `data` of a sensor_msgs/CompressedImage that holds depth; decoded at the first look.

    Raises:
        ImageError: no depth, or damaged; `metres` raises it too, for damage that the headers do not show.
    """
    height, width = compressed_depth_size(form, data)

    @cache
    def whole() -> NDArray[np.uint16] | NDArray[np.float32]:
        return compressed_depth(form, data)

    return DepthImage(stamp_ns, height, width, lambda rows, columns: _in_metres(whole()[rows, columns], unit_m))


def _in_metres(values: NDArray[Any], unit_m: float) -> NDArray[np.float32]:
    metres = values.astype(np.float32)
    if values.dtype.kind == "u":
        metres *= np.float32(unit_m)
    # 0, NaN and both infinities say why there is no depth; that there is none is all that counts here.
    metres[~((metres > 0) & np.isfinite(metres))] = np.nan
    return metres


class DepthBuffer:
    """The newest depth images of one camera by stamp. Not thread-safe."""

    def __init__(self, kept: int, slop_ns: int) -> None:
        """`slop_ns`: how far a depth image's stamp may be from a frame's; 0: they must be equal."""
        self._kept = kept
        self.slop_ns = slop_ns
        self._images: OrderedDict[int, DepthImage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._images)

    def add(self, image: DepthImage) -> None:
        """Keep an image; the one that came first goes when there are too many. A clock that went back starts anew."""
        newest = next(reversed(self._images)) if self._images else image.stamp_ns
        if image.stamp_ns < newest:
            self._images.clear()
        self._images[image.stamp_ns] = image
        while len(self._images) > self._kept:
            self._images.popitem(last=False)

    def at(self, stamp_ns: int) -> DepthImage | None:
        """The image of this stamp, or the nearest one within the slop."""
        exact = self._images.get(stamp_ns)
        if exact is not None or not self.slop_ns or not self._images:
            return exact
        nearest = min(self._images.values(), key=lambda image: abs(image.stamp_ns - stamp_ns))
        return nearest if abs(nearest.stamp_ns - stamp_ns) <= self.slop_ns else None

    def may_come(self, stamp_ns: int) -> bool:
        """May a better image than those that are here still come for this stamp?"""
        newest = next(reversed(self._images)) if self._images else None
        return newest is None or newest < stamp_ns

    def clear(self) -> None:
        """Forget every image."""
        self._images.clear()
