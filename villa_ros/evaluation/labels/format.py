"""The folder of labels: its names, the palette of its images, and how a frame's masks become one of them.

`Annotations/STAMP.png` holds an object's number in every pixel, with the palette of DAVIS 2017; `labels.json` the same
masks as COCO run lengths, one list an object, in the form of YouTube-VIS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.masks import RleMask, decode

SCHEMA = "villa-labels-1"
LABELS = "labels.json"
IMAGES = "JPEGImages"
ANNOTATIONS = "Annotations"
README = "README.txt"
BACKGROUND, IGNORE = 0, 255
MOST_OBJECTS = IGNORE - 1
_COLOURED = 22  # after so many entries the palette of DAVIS goes on in grays

Indices = NDArray[np.uint8]


def davis_palette() -> NDArray[np.uint8]:
    """Palette of the annotations of DAVIS 2017 [256, 3] RGB."""
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for index in range(_COLOURED):
        # The bits of an index, dealt out to red, green and blue in turn, from the highest bit of each down.
        colour = [sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]
        palette[index] = [min(value, 191) for value in colour]
    return palette


def flatten(masks: Mapping[int, RleMask], height: int, width: int) -> Indices:
    """Masks by object number -> numbers [height, width]; where several lie, the smallest is on top."""
    image = np.full((height, width), BACKGROUND, np.uint8)
    for number in sorted(masks, key=lambda number: (-masks[number].area, number)):
        image[decode(masks[number])] = number
    return image


def coco_runs(mask: RleMask) -> dict[str, Any]:
    """Mask -> COCO's uncompressed run lengths: down the columns of the whole image, background first."""
    flat = decode(mask).T.reshape(-1)
    edges = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]))
    counts = np.diff(edges).tolist()
    return {"size": [mask.height, mask.width], "counts": [0, *counts] if flat[0] else counts}
