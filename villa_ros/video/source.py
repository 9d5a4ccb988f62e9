"""Frames from what is no bag: a video file, a folder of images, or a camera by its index."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.images.png_chunks import read_picture
from villa_ros.pipeline.frame import Frame, FrameHeader

Rgb = NDArray[np.uint8]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
FOLDER_FPS = 10.0  # what a folder of images is played at unless told otherwise
_LIVE_FPS = 15.0  # written to the overlay video when the camera does not say


class SourceError(RuntimeError):
    """There is nothing to segment: no such file, no video, no images, no camera."""


@dataclass(frozen=True)
class VideoSource:
    """An opened source: frames in order, their rate, and how many (None: nobody knows yet)."""

    name: str
    frames: Iterator[Frame]
    fps: float
    count: int | None


def open_source(source: str, camera: str, fps: float | None = None, seconds: float | None = None) -> VideoSource:
    """Open a video file, an image or a folder of them, or a camera index such as "0".

    Stamps begin at 0. A file's come from its own rate (or `fps`), a live camera's from the clock; a live
    camera ends after `seconds`, and a file no later.

    Raises:
        SourceError: nothing there, or nothing in it that OpenCV reads.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted((p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=_natural)
        if not files:
            raise SourceError(f"{path} holds no image; wanted files ending with {', '.join(IMAGE_SUFFIXES)}")
        return _images(str(path), files, camera, fps or FOLDER_FPS, seconds)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return _images(path.name, [path], camera, fps or FOLDER_FPS, seconds)
    if path.exists():
        return _video(path, camera, fps, seconds)
    if source.isdecimal():
        return _live(int(source), camera, seconds)
    raise SourceError(f"no video, folder or camera {source!r}; give a path that exists or a camera index such as 0")


def _images(name: str, files: list[Path], camera: str, fps: float, seconds: float | None) -> VideoSource:
    if seconds is not None:
        files = files[: max(1, int(seconds * fps))]

    def frames() -> Iterator[Frame]:
        shape: tuple[int, ...] | None = None
        for index, file in enumerate(files):
            image = _read(file)
            if shape is not None and image.shape != shape:
                seen, wanted = (f"{size[1]}x{size[0]} px" for size in (image.shape, shape))
                raise SourceError(
                    f"{file} is {seen}, the first image is {wanted}; images of one clip must have one size"
                )
            shape = image.shape
            yield _frame(image, camera, round(index / fps * 1e9))

    return VideoSource(name, frames(), fps, len(files))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name) if part]


def _read(file: Path) -> Rgb:
    image = read_picture(file)
    if image is None:
        raise SourceError(f"{file} is no image that OpenCV reads; remove it or save it again")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _video(path: Path, camera: str, fps: float | None, seconds: float | None) -> VideoSource:
    capture = cv2.VideoCapture(str(path))
    rate = fps or capture.get(cv2.CAP_PROP_FPS) or FOLDER_FPS
    if not capture.isOpened() or not np.isfinite(rate):
        raise SourceError(f"{path} is no video that OpenCV reads; convert it: ffmpeg -i {path.name} out.mp4")
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    limit = None if seconds is None else max(1, int(seconds * rate))

    def frames() -> Iterator[Frame]:
        index = 0
        try:
            for image in _captured(capture, limit):
                yield _frame(image, camera, round(index / rate * 1e9))
                index += 1
        finally:
            capture.release()
        if index == 0:
            raise SourceError(f"{path} holds no frame that can be decoded; convert it: ffmpeg -i {path.name} out.mp4")

    known = count if count > 0 else None
    return VideoSource(path.name, frames(), rate, min(known, limit) if known and limit else known)


def _live(index: int, camera: str, seconds: float | None) -> VideoSource:
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        raise SourceError(f"no camera {index}; list them with: v4l2-ctl --list-devices")
    rate = capture.get(cv2.CAP_PROP_FPS) or _LIVE_FPS

    def frames() -> Iterator[Frame]:
        began = time.monotonic_ns()
        try:
            for image in _captured(capture, None):
                stamp_ns = time.monotonic_ns() - began
                if seconds is not None and stamp_ns > seconds * 1e9:
                    return
                yield _frame(image, camera, stamp_ns)
        finally:
            capture.release()

    return VideoSource(f"camera {index}", frames(), rate, None)


def _captured(capture: cv2.VideoCapture, limit: int | None) -> Iterator[Rgb]:
    done = 0
    while limit is None or done < limit:
        there, image = capture.read()
        if not there:
            return
        done += 1
        yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _frame(image: Rgb, camera: str, stamp_ns: int) -> Frame:
    height, width = image.shape[:2]
    return Frame(camera, FrameHeader(stamp_ns, camera), height, width, image.nbytes, _held(image), stamp_ns)


def _held(image: Rgb) -> Callable[[], Rgb]:
    return lambda: image
