"""Instance masks as row-major run lengths inside a tight box: the encoding of villa_msgs/InstanceMask.

Runs alternate background, foreground, background, ... starting with background, and sum to the area of the box.
COCO's RLE is column-major over the whole image; it is not the same thing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
MOST_PIXELS = 100_000_000  # of one mask: more is a mistake or an attack, never a camera


class MaskError(ValueError):
    """An encoded mask contradicts itself."""


@dataclass(frozen=True)
class RleMask:
    """A binary mask of `height` x `width` px, coded inside the box (x, y, box_width, box_height) in px."""

    height: int
    width: int
    x: int
    y: int
    box_width: int
    box_height: int
    runs: NDArray[np.uint32]
    area: int  # px

    @classmethod
    def empty(cls, height: int, width: int) -> RleMask:
        """The mask without a single pixel: box all 0, no runs."""
        return cls(height, width, 0, 0, 0, 0, np.zeros(0, np.uint32), 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RleMask):
            return NotImplemented
        mine = (self.height, self.width, self.x, self.y, self.box_width, self.box_height, self.area)
        its = (other.height, other.width, other.x, other.y, other.box_width, other.box_height, other.area)
        return mine == its and np.array_equal(self.runs, other.runs)

    __hash__ = None  # type: ignore[assignment]


def encode(mask: Mask) -> RleMask:
    """Mask [H, W] bool -> RLE."""
    return _encoded(mask, 0, 0, *mask.shape)


def of_logits(logits: NDArray[np.float32], height: int, width: int) -> RleMask:
    """Logits [h, w] on the decoder's grid -> RLE at [height, width]: `encode(from_logits(...))`, at a part of its cost.

    Only the part round the object is resized.
    """
    rows, columns = logits.shape
    seen = logits > 0
    at_rows, at_columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not at_rows.size:
        return RleMask.empty(height, width)
    top, bottom = _span(at_rows, rows, height)
    left, right = _span(at_columns, columns, width)
    part = from_logits(
        logits[top:bottom, left:right], (bottom - top) * height // rows, (right - left) * width // columns
    )
    return _encoded(part, left * width // columns, top * height // rows, height, width)


def _span(at: NDArray[np.intp], cells: int, pixels: int) -> tuple[int, int]:
    """First and last + 1 of the cells to resize, where those at `at` hold something.

    One more on each side: between it and the object lies the mask's edge, beyond it nothing can be inside. Then out to
    cells that begin with a pixel, so that the part is resized as the whole would be.
    """
    step = cells // math.gcd(cells, pixels)
    first, end = max(0, int(at[0]) - 1), min(cells, int(at[-1]) + 2)
    return first // step * step, -(-end // step) * step


def _encoded(part: Mask, left: int, top: int, height: int, width: int) -> RleMask:
    """The part of a mask [height, width] that begins at (left, top) and holds all of it -> RLE."""
    rows = np.flatnonzero(_any_in_row(part))
    if rows.size == 0:
        return RleMask.empty(height, width)
    y, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(part[y:bottom].any(axis=0))
    x, right = int(columns[0]), int(columns[-1]) + 1
    flat = np.ascontiguousarray(part[y:bottom, x:right]).reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate(([0], changes, [flat.size]))
    runs = np.diff(edges).astype(np.uint32)
    if flat[0]:
        runs = np.concatenate((np.zeros(1, np.uint32), runs))
    return RleMask(height, width, left + x, top + y, right - x, bottom - y, runs, int(np.count_nonzero(flat)))


def _any_in_row(mask: Mask) -> NDArray[np.bool_]:
    """Which rows hold anything; eight pixels at a time where that can be."""
    if mask.flags.c_contiguous and mask.shape[1] % 8 == 0:
        return np.asarray(mask.view(np.uint64).any(axis=1))
    return np.asarray(mask.any(axis=1))


def decode(rle: RleMask) -> Mask:
    """RLE -> mask [H, W] bool.

    Raises:
        MaskError: the runs do not fill the box, or the box leaves the image.
    """
    part = inside(rle)
    mask = np.zeros((rle.height, rle.width), np.bool_)
    mask[rle.y : rle.y + rle.box_height, rle.x : rle.x + rle.box_width] = part
    return mask


def inside(rle: RleMask) -> Mask:
    """RLE -> the part of the mask in its box [box_height, box_width] bool.

    Raises:
        MaskError: as `decode`.
    """
    if rle.height * rle.width > MOST_PIXELS:
        raise MaskError(f"the mask is {rle.width}x{rle.height} px, wanted {MOST_PIXELS:,} px or fewer")
    wanted = rle.box_width * rle.box_height
    seen = int(rle.runs.sum(dtype=np.int64))
    if seen != wanted:
        raise MaskError(f"runs sum to {seen} px, the box holds {wanted} px")
    if rle.x + rle.box_width > rle.width or rle.y + rle.box_height > rle.height:
        raise MaskError(
            f"box {rle.x},{rle.y} {rle.box_width}x{rle.box_height} leaves the image {rle.width}x{rle.height}"
        )
    values = np.zeros(rle.runs.size, np.bool_)
    values[1::2] = True
    return np.repeat(values, rle.runs).reshape(rle.box_height, rle.box_width)


def from_logits(logits: NDArray[np.float32], height: int, width: int) -> Mask:
    """Logits [h, w] on the decoder's grid -> mask [height, width] bool, cut at 0 after bilinear resizing."""
    resized: NDArray[np.float32] = cv2.resize(  # type: ignore[assignment]
        np.asarray(logits, np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return resized > 0
