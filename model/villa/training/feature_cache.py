"""What eyes that do not learn see of a clip, looked at once and kept: looking is half of the work of "focus"."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from villa.data.clips import ClipReader
from villa.files.whole import appearing
from villa.modeling.objects.detector import Proposals
from villa.modeling.objects.recogniser import stretch_of
from villa.training.augmentation import Augmentation, scaled

_AT_ONCE = 8  # frames


# The same things at a first look, and at better ones: with what is recognised, with a closer look.
Looks = tuple[Proposals, ...]


class FeatureCache:
    """The things on every frame of each clip that was asked for. 90 kB a look at 16 frames, in half precision."""

    def __init__(
        self,
        see: Callable[[Tensor, float], Looks],
        height: int,
        width: int,
        closely: int = 0,
        folder: Path | None = None,
    ) -> None:
        """`see` turns images [T, 3, height, width] and their `Batch.stretch` into looks at things.

        Of the frames on which things are recognised, the newest `closely` get the best look. Each clip gets one
        `Augmentation`. With a `folder` the looks are files in it, and another run finds them there: a folder for each
        pair of eyes (`eyes_of`).
        """
        self._see = see
        self._size = (width, height)
        self._closely = closely
        self._kept: dict[Path, Looks] = {}
        self._folder = folder

    @torch.no_grad()
    def __call__(self, folder: Path, chosen: Sequence[int], glances: Sequence[int], device: torch.device) -> Proposals:
        """The things on the chosen frames of a clip; `glances` are those of them on which they are recognised."""
        if folder not in self._kept:
            self._kept[folder] = self._looked(folder, device)
        plain, *better = self._kept[folder]
        things = _some(plain, chosen)
        for look, at in zip(better, (list(glances), list(glances)[-self._closely :]), strict=False):
            if not at:
                continue
            for mine, theirs in zip(_values(things), _values(_some(look, [chosen[one] for one in at])), strict=True):
                mine[at] = theirs
        return things

    def _looked(self, folder: Path, device: torch.device) -> Looks:
        if self._folder is None:
            return self._seen(folder, device)
        # A clip made anew in the place of another one has other facts.
        facts = (folder / "clip.json").read_bytes()
        file = self._folder / f"{hashlib.sha256(facts).hexdigest()[:24]}.safetensors"
        if (known := _read(file)) is None:
            known = self._seen(folder, device)
            _write(file, known)
        return known

    def _seen(self, folder: Path, device: torch.device) -> Looks:
        clip = ClipReader(folder)
        rng = np.random.default_rng(clip.facts.seed)
        augmentation = Augmentation.draw(rng)
        stretch = stretch_of((clip.facts.width, clip.facts.height), self._size)
        parts: list[Looks] = []
        for first in range(0, len(clip), _AT_ONCE):
            frames = range(first, min(first + _AT_ONCE, len(clip)))
            images = scaled([augmentation.apply(clip.rgb(index), rng) for index in frames], self._size)
            parts.append(self._see(images.to(device), stretch))
        return tuple(_kept(look) for look in zip(*parts, strict=True))


def eyes_of(weights: Mapping[str, Tensor]) -> str:
    """A name for what these weights see: that of no others."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {tuple(weights[name].shape)}".encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


_PARTS = ("features", "boxes", "scores")


def _read(file: Path) -> Looks | None:
    """What was seen before; None if it was not, or if the file was cut off."""
    try:
        tensors = load_file(file)
    except (FileNotFoundError, SafetensorError):
        return None
    looks = range(len(tensors) // len(_PARTS))
    return tuple(
        Proposals(tensors[f"{look}.features"], tensors[f"{look}.boxes"], tensors[f"{look}.scores"]) for look in looks
    )


def _write(file: Path, looks: Looks) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{row}.{part}": value.cpu().contiguous()
        for row, look in enumerate(looks)
        for part, value in zip(_PARTS, _values(look), strict=True)
    }
    with appearing(file) as part:
        save_file(tensors, part)


def _values(things: Proposals) -> tuple[Tensor, Tensor, Tensor]:
    return things.features, things.boxes, things.scores


def _some(things: Proposals, chosen: Sequence[int]) -> Proposals:
    features, boxes, scores = (x[list(chosen)].float() for x in _values(things))
    return Proposals(features, boxes, scores)


def _kept(parts: Sequence[Proposals]) -> Proposals:
    return Proposals(
        torch.cat([part.features for part in parts]).half(),
        torch.cat([part.boxes for part in parts]),  # half a pixel counts
        torch.cat([part.scores for part in parts]).half(),
    )
