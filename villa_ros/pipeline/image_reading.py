"""What a camera's images do not say of themselves: which values are black and white, and which way is up."""

from __future__ import annotations

from dataclasses import dataclass, replace

from villa_ros.pipeline.frame import Frame
from villa_ros.pipeline.mounting import UPRIGHT, Mounting
from villa_ros.pipeline.raw_encodings import Tones


def tones_of(black: float, white: float) -> Tones:
    """Two settings that are 0 where both are told from each image."""
    return (black, white) if black or white else None


@dataclass(frozen=True)
class ImageReading:
    """How the images of one camera are read. `tones`: black and white of more than 8 bits; None: told from each image.

    Raises:
        ValueError: white is not above black.
    """

    tones: Tones = None
    mounting: Mounting = UPRIGHT

    def __post_init__(self) -> None:
        """Check once."""
        if self.tones is not None and not self.tones[0] < self.tones[1]:
            raise ValueError(f"black is {self.tones[0]:g} and white {self.tones[1]:g}: wanted white above black")

    def mounted(self, frame: Frame) -> Frame:
        """The same frame of a camera that is mounted so."""
        return frame if self.mounting == UPRIGHT else replace(frame, mounting=self.mounting)
