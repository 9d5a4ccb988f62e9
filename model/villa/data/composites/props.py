"""Things of a composite: a cut-out with a size, a place for each frame, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.composites.colours import Colouring, colouring
from villa.data.composites.cutouts import Cutout
from villa.data.language.vocabulary import KIND

F64 = NDArray[np.float64]


@dataclass
class Prop:
    """One thing. `path` [N, 3] m: the middle of its foot (standing) or of itself (lying) on each frame."""

    cutout: Cutout
    width_m: float
    height_m: float
    lies: bool
    turn: float  # radians about the vertical, of what lies
    path: F64
    gain: NDArray[np.float64] = field(default_factory=lambda: np.ones(3))  # light that falls on it
    mirrored: bool = False
    colours: Colouring = field(init=False)

    def __post_init__(self) -> None:
        """Its colours are those that it has in its own light."""
        self.colours = colouring(self.cutout.rgba)

    @property
    def middle(self) -> F64:
        """Its middle on each frame [N, 3] m."""
        return np.asarray(self.path + np.array([0.0, 0.0, 0.0 if self.lies else self.height_m / 2]), np.float64)

    @property
    def radius(self) -> float:
        """Of the circle that it takes up on the table, m."""
        return max(self.width_m, self.height_m) / 2 if self.lies else self.width_m / 2


def make(cutout: Cutout, size_m: tuple[float, float], frames: int, rng: np.random.Generator) -> Prop:
    """A prop at the origin, of a size that its kind has; what is a little too large or too small is in every house."""
    longest = float(np.exp(rng.uniform(np.log(size_m[0]), np.log(size_m[1]))) * np.exp(rng.normal(0, 0.08)))
    height, width = cutout.rgba.shape[:2]
    scale = longest / max(height, width)
    lies = KIND[cutout.kind].lies
    gain = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.025, 3))
    return Prop(
        cutout,
        width * scale,
        height * scale,
        lies,
        float(rng.uniform(0, 2 * np.pi)) if lies else 0.0,
        np.zeros((frames, 3)),
        gain,
        bool(rng.random() < 0.5) and "container" not in KIND[cutout.kind].groups,  # print is not read backwards
    )


def lit(prop: Prop, shade: NDArray[np.float64]) -> NDArray[np.float32]:
    """Its pixels [h, w, 4] in 0..255, in the light of the scene."""
    rgba = prop.cutout.rgba[:, ::-1] if prop.mirrored else prop.cutout.rgba
    out = rgba.astype(np.float32)
    out[..., :3] *= (prop.gain * shade).astype(np.float32)
    return out


def shrunk(rgba: NDArray[np.float32], scale: float) -> tuple[NDArray[np.float32], float]:
    """The same at about the size it is seen at (scale: px seen for each of its own), and the scale that is left."""
    if scale >= 0.75:
        return rgba, scale
    height, width = max(2, round(rgba.shape[0] * scale)), max(2, round(rgba.shape[1] * scale))
    alpha = rgba[..., 3:] / 255
    # Colours weigh by alpha: what is outside must not bleed in.
    small = cv2.resize(np.dstack([rgba[..., :3] * alpha, rgba[..., 3:]]), (width, height), interpolation=cv2.INTER_AREA)
    inside = np.maximum(small[..., 3:] / 255, 1e-3)
    return np.dstack([small[..., :3] / inside, small[..., 3:]]).astype(np.float32), 1.0
