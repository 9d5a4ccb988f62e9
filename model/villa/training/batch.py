"""What one step of training learns from: some frames of one clip, what is on them, and what is asked about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from villa.modeling.packed_forward import Question

UNCLEAR = -100  # index of a kind or a colour that is not known, or a matter of opinion
LEAST_PX = 16  # at 320x240; less of an object is not there


@dataclass(frozen=True)
class Aims:
    """R requests, and what the O objects of a clip are to each."""

    tails: list[tuple[int, ...]]  # token ids, what was said before and the request
    kinds: list[str]
    about: Tensor  # [R, O, 3] bool: MEANT, BESIDE, AMONG (`villa.modeling.objects.referring_head`)

    def to(self, device: str) -> Aims:
        """The same, its tensors on a device."""
        return replace(self, about=self.about.to(device))


@dataclass(frozen=True)
class Batch:
    """T frames of one clip with O objects, and questions whose [SEG] mean K of them."""

    folder: Path  # of the clip
    chosen: tuple[int, ...]  # its frames, ascending
    images: Tensor  # [T, 3, H, W], normalised; [0, 3, H, W] without pictures
    times_s: Tensor  # [T] seconds before the newest
    questions: list[Question]
    masks: Tensor  # [O, T, H/4, W/4] in 0..1
    boxes: Tensor  # [O, T, 4] middle x, y, width, height as shares of the image, of what is visible; 0 when unseen
    middles: Tensor  # [O, T, 2] mean place of the visible pixels, likewise
    kinds: Tensor  # [O] index into KINDS, -100 where it is none of them
    colours: Tensor  # [O] index into COLOURS, -100 where it is a matter of opinion
    targets: Tensor  # [K] the object of each [SEG], in order; -1: it is not there
    happened: Tensor  # [O, LESSONS] 1: it did, 0: it did not, -1: that cannot be told
    aims: Aims | None = None
    stretch: float = 1.0  # how many times as wide as they were taken the images are, their height being the same
    all_known: bool = True  # False: there may be objects that are not among the O

    @property
    def visible(self) -> Tensor:
        """[O, T] bool."""
        return self.boxes[..., 2] > 0

    def only(self, rows: Tensor) -> Batch:
        """The same with some of its objects [R], of a batch about which nothing is asked."""
        names = ("masks", "boxes", "middles", "kinds", "colours", "happened")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def to(self, device: str) -> Batch:
        """The same, its tensors on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: x.to(device) for name, x in values.items() if isinstance(x, (Tensor, Aims))}
        return replace(self, **moved)


@dataclass(frozen=True)
class Outlined:
    """O objects on T frames, as a `Batch` has them."""

    masks: NDArray[np.float32]  # [O, T, h, w]
    boxes: NDArray[np.float32]  # [O, T, 4]
    middles: NDArray[np.float32]  # [O, T, 2]


def outlined(masks: Sequence[NDArray[Any]], identities: Sequence[int], grid: tuple[int, int]) -> Outlined:
    """T images of ids [H, W] and the ids of O objects -> where they are; `grid` is (w, h)."""
    shown = [[mask == identity for mask in masks] for identity in identities]
    places = np.array([[place(mask) for mask in of_one] for of_one in shown], np.float32)
    soft = np.stack([[soft_mask(mask, grid) for mask in of_one] for of_one in shown])
    return Outlined(soft, places[..., :4], places[..., 4:])


def place(mask: NDArray[np.bool_]) -> tuple[float, ...]:
    """Mask [H, W] -> middle x, y, width and height of its box, and its mean place, as shares of the image.

    All 0 where too little of it is seen to be found.
    """
    if int(mask.sum()) < LEAST_PX:
        return (0.0,) * 6
    height, width = mask.shape
    columns, rows = np.nonzero(mask.any(axis=0))[0], np.nonzero(mask.any(axis=1))[0]
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    x = float((mask.sum(axis=0) * (np.arange(width) + 0.5)).sum() / mask.sum())
    y = float((mask.sum(axis=1) * (np.arange(height) + 0.5)).sum() / mask.sum())
    box = ((left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height)
    return (*map(float, box), x / width, y / height)


def soft_mask(mask: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Mask [H, W] -> share of each cell that is inside [h, w]; `grid` is (w, h)."""
    return np.asarray(cv2.resize(mask.astype(np.float32), grid, interpolation=cv2.INTER_AREA), np.float32)
