"""Whether an object's colour is the main one for every viewer: read off what the camera sees, without light and shade.

The paint alone does not tell: a label is a quarter of a bottle, and more than half of its side that the camera faces;
seen from above, a jar is its lid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.objects import ObjectModel
from villa.data.scenes.palette import typical

LOOKS = 5  # frames of a clip on which colours are counted
_CLEARLY = 1.5  # times as many pixels as any rival


class ColourShares:
    """Pixels of each object by the colours that it is painted in, over several frames of a clip."""

    def __init__(self, objects: Sequence[ObjectModel]) -> None:
        self._objects = objects
        self._paints = [(item.colour, *item.rivals) for item in objects]
        self._pixels = [np.zeros(len(paints), np.int64) for paints in self._paints]

    def count(self, unlit: NDArray[np.uint8], instance: NDArray[np.uint8]) -> None:
        """Add one frame: colours without light [H, W, 3] and mask ids [H, W], object i as i + 1."""
        for index, paints in enumerate(self._paints):
            if len(paints) == 1:
                continue
            pixels = unlit[instance == index + 1].astype(np.float64)
            away = np.linalg.norm(pixels[:, None] - np.stack([typical(paint) for paint in paints]), axis=2)
            self._pixels[index] += np.bincount(away.argmin(axis=1), minlength=len(paints))

    def is_clear(self, index: int) -> bool:
        """Would every viewer call object `index` by its `colour`?"""
        item, (main, *rivals) = self._objects[index], self._pixels[index]
        if not item.clear or not rivals:
            return item.clear
        return bool(main and main >= _CLEARLY * max(rivals))
