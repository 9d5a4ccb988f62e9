"""What eyes that do not learn see of a clip, looked at once and kept: looking is half of the work of "focus"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from villa.data.clips import ClipReader
from villa.modeling.objects.detector import Things
from villa.training.augmentation import Look, scaled

_AT_ONCE = 8  # frames


class Sights:
    """The things on every frame of each clip that was asked for. 90 kB a clip of 16 frames, in half precision."""

    def __init__(self, see: Callable[[Tensor], Things], height: int, width: int) -> None:
        """`see` turns images [T, 3, height, width] into things; they are seen through one `Look` for each clip."""
        self._see = see
        self._size = (width, height)
        self._kept: dict[Path, Things] = {}

    @torch.no_grad()
    def __call__(self, folder: Path, chosen: Sequence[int], device: torch.device) -> Things:
        """The things on the chosen frames of a clip."""
        if folder not in self._kept:
            self._kept[folder] = self._looked(folder, device)
        whole, at = self._kept[folder], list(chosen)
        return Things(*(x[at].float() for x in (whole.features, whole.boxes, whole.scores)))

    def _looked(self, folder: Path, device: torch.device) -> Things:
        clip = ClipReader(folder)
        rng = np.random.default_rng(clip.facts.seed)
        look = Look.draw(rng)
        parts: list[Things] = []
        for first in range(0, len(clip), _AT_ONCE):
            frames = range(first, min(first + _AT_ONCE, len(clip)))
            images = scaled([look.apply(clip.rgb(index), rng) for index in frames], self._size)
            parts.append(self._see(images.to(device)))
        return Things(
            torch.cat([part.features for part in parts]).half(),
            torch.cat([part.boxes for part in parts]),  # half a pixel counts
            torch.cat([part.scores for part in parts]).half(),
        )
