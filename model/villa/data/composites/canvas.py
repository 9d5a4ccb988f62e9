"""A picture on which others are laid, with whose each pixel is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.interface import Rgb

F32 = NDArray[np.float32]
Part = tuple[slice, slice]
LEAST_ALPHA = 127
_ALL = (slice(None), slice(None))


class Canvas:
    """`image` [H, W, 3] in 0..255, `ids` [H, W], and for each id that was laid how much of it is inside the picture.

    `free` [H, W], where it is given: nothing that is laid next is seen outside of it.
    """

    def __init__(self, image: F32, ids: NDArray[np.uint8]) -> None:
        self.image, self.ids = image, ids
        self.size = (image.shape[1], image.shape[0])
        self.amodal: dict[int, int] = {}
        self.free: NDArray[np.bool_] | None = None

    @property
    def rgb(self) -> Rgb:
        """The picture, rounded."""
        return np.asarray(np.clip(self.image + 0.5, 0, 255), np.uint8)

    def lay(self, rgba: F32, to_image: NDArray[np.float64], identity: int) -> None:
        """Lay a picture [h, w, 4] in 0..255 over what is there; `to_image` [3, 3]: its px -> those of the canvas."""
        found = window(rgba, to_image, self.size, 2)
        if found is None:
            self.amodal.setdefault(identity, 0)
            return
        part, size, moved = found
        alpha = cv2.warpPerspective(np.ascontiguousarray(rgba[..., 3]), moved @ to_image, size)
        colour = cv2.warpPerspective(
            np.ascontiguousarray(rgba[..., :3]), moved @ to_image, size, borderMode=cv2.BORDER_REPLICATE
        )
        self.cover(np.asarray(np.clip(alpha, 0, 255), np.uint8), np.asarray(colour, np.float32), identity, part)

    def cover(self, alpha: NDArray[np.uint8], colour: F32, identity: int, part: Part = _ALL) -> None:
        """Cover a part of the canvas with colours [h, w, 3] where `alpha` [h, w] says."""
        self.amodal[identity] = self.amodal.get(identity, 0) + int((alpha > LEAST_ALPHA).sum())
        if self.free is not None:
            alpha = np.where(self.free[part], alpha, 0).astype(np.uint8)
        share = (alpha / np.float32(255))[..., None]
        self.image[part] = self.image[part] * (1 - share) + colour * share
        self.ids[part][alpha > LEAST_ALPHA] = identity


def window(
    rgba: F32, to_image: NDArray[np.float64], size: tuple[int, int], margin: int
) -> tuple[Part, tuple[int, int], NDArray[np.float64]] | None:
    """The part of the image that pixels come to lie in, its size (w, h), and the shift from the image to it."""
    height, width = rgba.shape[:2]
    corners = to_image @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1.0]])
    if float(corners[2].min()) <= 1e-6:
        return None
    x, y = corners[0] / corners[2], corners[1] / corners[2]
    left, right = max(0, int(x.min()) - margin), min(size[0], int(np.ceil(x.max())) + margin)
    top, bottom = max(0, int(y.min()) - margin), min(size[1], int(np.ceil(y.max())) + margin)
    if left >= right or top >= bottom:
        return None
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]])
    return (slice(top, bottom), slice(left, right)), (right - left, bottom - top), shift
