"""Masks as COCO writes them, out of files that anybody may have written: run lengths in two forms, and polygons.

pycocotools decodes whatever it is given: run lengths that do not fit their size are written past the end of its memory,
and a size of a million by a million is allocated. So run lengths are read here, and polygons checked before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.masks import MOST_PIXELS, Mask

_CORNERS = 3
_OUTSIDE = 2.0  # how many sizes of the picture a polygon's corner may lie outside it


class RunLengthsError(ValueError):
    """No mask, or one of another size; the message says what was seen and wanted."""


def mask_of(coded: Any, height: int, width: int) -> Mask:
    """Run lengths, or a list of polygons -> mask [height, width].

    Raises:
        RunLengthsError: neither, of another size, or runs that do not fill it.
    """
    if not 0 < height * width <= MOST_PIXELS:
        raise RunLengthsError(f"the picture is {width}x{height} px, wanted 1 to {MOST_PIXELS:,} px")
    return _of_polygons(coded, height, width) if isinstance(coded, list) else _of_runs(coded, height, width)


def _of_runs(coded: Any, height: int, width: int) -> Mask:
    if not isinstance(coded, dict) or "counts" not in coded:
        raise RunLengthsError(f"saw {type(coded).__name__}, wanted run lengths: an object with 'size' and 'counts'")
    size, counts = coded.get("size"), coded["counts"]
    if isinstance(size, list) and len(size) == 2 and size != [height, width]:
        raise RunLengthsError(f"its mask is {size[1]}x{size[0]} px, the picture {width}x{height}")
    if size != [height, width]:
        raise RunLengthsError(f"'size' is {size!r}, the picture's [{height}, {width}]")
    runs = _unpacked(counts) if isinstance(counts, (str, bytes)) else counts
    if not isinstance(runs, list) or any(type(run) is not int or run < 0 for run in runs):
        raise RunLengthsError("'counts' are no run lengths: wanted whole numbers from 0, or COCO's text of them")
    if sum(runs) != height * width:
        raise RunLengthsError(f"'counts' are of {sum(runs)} px, wanted {height * width} px")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.asarray(flat.reshape(width, height).T)


def _unpacked(text: str | bytes) -> list[int]:
    """COCO's text of run lengths: five bits a character, and from the fourth run on how much it differs."""
    try:
        data = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise RunLengthsError("'counts' is no text of run lengths: it has other characters") from error
    runs: list[int] = []
    at = 0
    while at < len(data):
        value = shift = 0
        while True:
            if at == len(data) or not 48 <= data[at] < 112:
                raise RunLengthsError("'counts' is no text of run lengths: it is cut off, or has other characters")
            part = data[at] - 48
            at += 1
            value |= (part & 31) << shift
            shift += 5
            if not part & 32:
                break
        if part & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


def _of_polygons(polygons: list[Any], height: int, width: int) -> Mask:
    from pycocotools import mask as coco

    reach = _OUTSIDE * max(height, width)
    shapes = []
    for number, polygon in enumerate(polygons):
        numbers = polygon if isinstance(polygon, list) else [polygon]
        if any(type(one) not in (int, float) or not math.isfinite(one) for one in numbers) or len(numbers) % 2:
            raise RunLengthsError(f"polygon {number} is no list of x, y, x, y, ...")
        if any(not -reach <= one <= reach + max(height, width) for one in numbers):
            raise RunLengthsError(f"polygon {number} leaves the picture of {width}x{height} px by far")
        if len(numbers) >= 2 * _CORNERS:  # fewer have no inside
            shapes.append([float(one) for one in numbers])
    if not shapes:
        return np.zeros((height, width), np.bool_)
    decoded: NDArray[np.uint8] = coco.decode(coco.merge(coco.frPyObjects(shapes, height, width)))
    return np.asarray(decoded, np.bool_)
