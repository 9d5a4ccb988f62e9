"""A camera frame as it came: raw bytes behind a validated view, decoded only when somebody looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa_ros.pipeline.mounting import UPRIGHT, Mounting


@dataclass(frozen=True)
class FrameHeader:
    """The source's header, never re-stamped."""

    stamp_ns: int
    frame_id: str
    came_ns: int | None = None  # when it came, where the source does not stamp; never published

    @property
    def time_ns(self) -> int:
        """When the picture was taken, as far as is known: what everything inside goes by."""
        return self.stamp_ns if self.came_ns is None else self.came_ns


@dataclass(frozen=True)
class Frame:
    """One frame in the ring. `rgb()` gives [H, W, 3] uint8 as the camera does, decoding anew at each call."""

    camera: str
    header: FrameHeader
    height: int  # px
    width: int  # px
    nbytes: int  # what keeping the frame costs
    rgb: Callable[[], NDArray[np.uint8]]
    arrival_ns: int = 0  # the caller's clock
    encoded: Any = None  # the bytes of a compressed image as they came, as a buffer; None of a raw one
    mounting: Mounting = UPRIGHT

    def upright(self) -> NDArray[np.uint8]:
        """What the model is to see [h, w, 3]: the same the right way up."""
        return self.mounting.upright(self.rgb())
