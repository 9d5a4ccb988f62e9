"""Videos decoded a frame at a time, by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def video_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Frames [H, W, 3] of a video file, blue first; none where it does not decode."""
    video = cv2.VideoCapture(str(path))
    try:
        while True:
            read, frame = video.read()
            if not read:
                return
            yield np.asarray(frame, np.uint8)
    finally:
        video.release()
