"""What a real camera does to a picture: exposure, white balance, blur, noise, vignette and JPEG."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class CameraEffects:
    """The settings of one clip; only the noise differs from frame to frame."""

    gain: NDArray[np.float32]  # [3], exposure times white balance
    gamma: float
    noise: float  # grey levels
    blur_px: float
    vignette: float
    jpeg: int  # quality of a first compression, 0 for none

    @classmethod
    def sample(cls, rng: np.random.Generator) -> CameraEffects:
        """Random settings under which colours keep their names."""
        exposure = float(np.exp(rng.normal(0.0, 0.16)))
        balance = np.exp(rng.normal(0.0, 0.035, 3))
        return cls(
            gain=(exposure * balance / balance.mean()).astype(np.float32),
            gamma=float(np.exp(rng.normal(0.0, 0.1))),
            noise=float(rng.choice([0.0, rng.uniform(0.5, 3.0), rng.uniform(3.0, 8.0)], p=[0.25, 0.5, 0.25])),
            blur_px=float(rng.uniform(0.4, 1.1)) if rng.random() < 0.35 else 0.0,
            vignette=float(rng.uniform(0.05, 0.3)) if rng.random() < 0.3 else 0.0,
            jpeg=int(rng.integers(35, 90)) if rng.random() < 0.4 else 0,
        )

    def metered(self, rgb: Rgb) -> CameraEffects:
        """The same settings with the exposure that a camera would choose for a scene like `rgb`."""
        level = float(rgb.mean())
        return replace(self, gain=(self.gain * float(np.clip(level, 75, 165)) / max(level, 1.0)).astype(np.float32))

    def apply(self, rgb: Rgb, rng: np.random.Generator) -> Rgb:
        """One frame [H, W, 3] through the camera."""
        image = (rgb.astype(np.float32) / 255.0) ** self.gamma * (255.0 * self.gain)
        if self.vignette:
            height, width = rgb.shape[:2]
            rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
            columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
            image *= (1.0 - self.vignette * 0.5 * (rows**2 + columns**2))[..., None]
        if self.blur_px:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self.blur_px), np.float32)
        if self.noise:
            image += self.noise * rng.standard_normal(image.shape, dtype=np.float32)
        result: Rgb = np.clip(image + 0.5, 0, 255).astype(np.uint8)
        if self.jpeg:
            _, packed = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg])
            result = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        return result
