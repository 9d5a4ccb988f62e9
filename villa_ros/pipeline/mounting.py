"""How a camera is mounted: what the model sees is upright, what is published is in the camera's own picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

ROTATIONS = (0, 90, 180, 270)
Plane = TypeVar("Plane", bound="np.ndarray[Any, Any]")


@dataclass(frozen=True)
class Mounting:
    """`rotation`: degrees clockwise by which a picture has to be turned to be upright.

    `mirrored`: it then still has left and right the wrong way round.

    Raises:
        ValueError: another angle.
    """

    rotation: int = 0
    mirrored: bool = False

    def __post_init__(self) -> None:
        """Check once."""
        if self.rotation not in ROTATIONS:
            raise ValueError(f"rotation is {self.rotation}, wanted one of {', '.join(map(str, ROTATIONS))} degrees")

    def upright(self, picture: Plane) -> Plane:
        """A picture [H, W, ...] as the camera gives it -> as it would be seen by someone who stands there."""
        turned = np.rot90(picture, -(self.rotation // 90))
        return self._contiguous(turned[:, ::-1] if self.mirrored else turned)  # type: ignore[return-value]

    def as_given(self, seen: Plane) -> Plane:
        """What was said of an upright picture [h, w, ...], at any scale -> the same of the camera's."""
        unmirrored = seen[:, ::-1] if self.mirrored else seen
        return self._contiguous(np.rot90(unmirrored, self.rotation // 90))  # type: ignore[return-value]

    def _contiguous(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.ascontiguousarray(array) if self != UPRIGHT else array


UPRIGHT = Mounting()
