"""What eyes that do not learn see of a clip, looked at once and kept: looking is half of the work of "focus"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from villa.data.clips import ClipReader
from villa.modeling.objects.detector import Proposals
from villa.training.augmentation import Augmentation, scaled

_AT_ONCE = 8  # frames


class FeatureCache:
    """The things on every frame of each clip that was asked for. 90 kB a clip of 16 frames, in half precision."""

    def __init__(self, see: Callable[[Tensor], Proposals], height: int, width: int) -> None:
        """`see` turns images [T, 3, height, width] into things; each clip gets one `Augmentation`."""
        self._see = see
        self._size = (width, height)
        self._kept: dict[Path, Proposals] = {}

    @torch.no_grad()
    def __call__(self, folder: Path, chosen: Sequence[int], device: torch.device) -> Proposals:
        """The things on the chosen frames of a clip."""
        if folder not in self._kept:
            self._kept[folder] = self._looked(folder, device)
        whole, at = self._kept[folder], list(chosen)
        return Proposals(*(x[at].float() for x in (whole.features, whole.boxes, whole.scores)))

    def _looked(self, folder: Path, device: torch.device) -> Proposals:
        clip = ClipReader(folder)
        rng = np.random.default_rng(clip.facts.seed)
        augmentation = Augmentation.draw(rng)
        parts: list[Proposals] = []
        for first in range(0, len(clip), _AT_ONCE):
            frames = range(first, min(first + _AT_ONCE, len(clip)))
            images = scaled([augmentation.apply(clip.rgb(index), rng) for index in frames], self._size)
            parts.append(self._see(images.to(device)))
        return Proposals(
            torch.cat([part.features for part in parts]).half(),
            torch.cat([part.boxes for part in parts]),  # half a pixel counts
            torch.cat([part.scores for part in parts]).half(),
        )
