"""An excerpt of a video: some of its frames, as they were outlined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from villa.data.real_clips.listing import Clip, RealClipError
from villa.images.png_chunks import read_picture
from villa.images.video_frames import video_frames

_ANIMATIONS = frozenset({".gif", ".webp"})  # OpenCV's video reader does not open them
Bgr = NDArray[np.uint8]  # [H, W, 3], blue first


def cut(clip: Clip, video: Sequence[Path]) -> Iterator[Bgr]:
    """The frames [H, W, 3], blue first, of a clip's excerpt, from what `find_video` returned.

    Raises:
        RealClipError: the video does not decode, is too short, or its frames have another size than those outlined.
    """
    if clip.source.is_pictures:
        frames: Iterator[Bgr] = (_picture(path) for path in video)
    else:
        every = _animation(video[0]) if video[0].suffix in _ANIMATIONS else video_frames(video[0])
        wanted = clip.excerpt
        frames = islice(every, wanted.first, wanted.frames[-1] + 1, wanted.step)
    count = 0
    for frame in frames:
        yield _shrunk(clip, frame)
        count += 1
    if count != clip.excerpt.count:
        raise RealClipError(
            f"{video[0]} gave {count} of the {clip.excerpt.count} frames wanted, the last of them number "
            f"{clip.excerpt.frames[-1]}: it is too short or damaged"
        )


def _shrunk(clip: Clip, frame: Bgr) -> Bgr:
    factor = clip.excerpt.shrink
    height, width = frame.shape[0] // factor, frame.shape[1] // factor
    if (width, height) != (clip.width, clip.height):
        raise RealClipError(
            f"{clip.source.file} gives frames of {width}x{height} px, the outlines are of {clip.width}x{clip.height} px"
        )
    if factor == 1:
        return frame
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _picture(path: Path) -> Bgr:
    image = read_picture(path)
    if image is None:
        raise RealClipError(f"{path} does not decode: it is damaged or no picture")
    return np.asarray(image, np.uint8)


def _animation(path: Path) -> Iterator[Bgr]:
    try:
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                rgb: NDArray[Any] = np.asarray(frame.convert("RGB"), np.uint8)
                yield np.ascontiguousarray(rgb[:, :, ::-1])
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise RealClipError(f"{path} does not decode: {error}") from error
