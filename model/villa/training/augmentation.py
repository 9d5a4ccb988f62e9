"""Camera pictures as training sees them: as another camera might have taken them, at the model's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from villa.interface import Rgb
from villa.modeling.segmenters.light.encoder import normalize


def scaled(images: Sequence[Rgb], size: tuple[int, int]) -> Tensor:
    """T images [H, W, 3] uint8 -> [T, 3, h, w], normalised; `size` is (w, h)."""
    resized = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images])
    return normalize(torch.from_numpy(resized))


@dataclass(frozen=True)
class Augmentation:
    """How a camera might have seen the same clip: one draw for all its frames."""

    gain: float
    offset: float
    gamma: float
    saturation: float
    tint: tuple[float, float, float]
    blur_px: float
    noise: float
    sharpening: float  # share of what a blur of 1 px takes away, given back once more

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Augmentation:
        """Mild enough that colour words stay true."""
        return cls(
            gain=float(rng.uniform(0.7, 1.25)),
            offset=float(rng.uniform(-20, 20)),
            gamma=float(rng.uniform(0.75, 1.3)),
            saturation=float(rng.uniform(0.75, 1.3)),
            tint=tuple(float(x) for x in rng.uniform(0.94, 1.06, 3)),  # type: ignore[arg-type]
            blur_px=float(rng.choice([0.0, 0.0, 0.5, 0.9])),
            noise=float(rng.choice([0.0, 2.0, 5.0])),
            sharpening=float(rng.choice([0.0, 0.0, 0.6, 1.2])),
        )

    def apply(self, image: Rgb, rng: np.random.Generator) -> Rgb:
        """Image [H, W, 3] uint8 -> the same size."""
        x = image.astype(np.float32)
        gray = x.mean(axis=2, keepdims=True)
        x = gray + (x - gray) * self.saturation
        x = 255 * (np.clip(x, 0, 255) / 255) ** self.gamma
        x = x * (self.gain * np.asarray(self.tint, np.float32)) + self.offset
        if self.blur_px:
            x = np.asarray(cv2.GaussianBlur(x, (0, 0), self.blur_px))
        if self.sharpening:  # as cameras do; and a large picture made small is sharper than one rendered small
            x = x + self.sharpening * (x - np.asarray(cv2.GaussianBlur(x, (0, 0), 1.0)))
        if self.noise:
            x = x + rng.standard_normal(x.shape, np.float32) * self.noise
        return np.asarray(np.clip(x, 0, 255), np.uint8)
