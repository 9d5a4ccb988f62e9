"""Packets as a camera's encoder sends them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np

_OPTIONS = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency"},
    "libx265": {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none:repeat-headers=1"},
}


def packets(
    pictures: Sequence[np.ndarray], encoder: str = "libx264", key_every: int = 10, **options: str
) -> list[bytes]:
    """A packet of each picture [H, W, 3]; of every tenth a key frame."""
    height, width = pictures[0].shape[:2]
    made: Any = av.CodecContext.create(encoder, "w")
    made.width, made.height, made.pix_fmt = width, height, "yuv444p" if options.pop("full", "") else "yuv420p"
    made.time_base, made.framerate, made.gop_size = Fraction(1, 10), Fraction(10), key_every
    made.max_b_frames = int(options.pop("b_frames", "0"))
    made.options = _OPTIONS[encoder] | options
    out = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame.pts = index
        out += [bytes(packet) for packet in made.encode(frame)]
    return out + [bytes(packet) for packet in made.encode(None)]
