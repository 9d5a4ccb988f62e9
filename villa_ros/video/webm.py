"""A video of a run that browsers play: one picture for each frame of a camera, at a constant rate.

Browsers do not play the mp4v of `overlay.mp4`, and OpenCV's wheels have no H.264. VP8 in WebM is what both sides have;
VP9 would be a quarter smaller and takes seven times as long.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from villa_ros.pipeline.events import TrackedInstance
from villa_ros.pipeline.overlay import draw
from villa_ros.video.overlay_video import Caption, PictureError, Rgb, even

SUFFIX = ".webm"
MAX_WIDTH_PX = 640
# The kind of file in the first bytes of what OpenCV writes (EBML: element DocType, its length, its text), and the same
# for browsers, as long as before: an empty element (Void) takes up the rest.
_MATROSKA = b"\x42\x82\x88matroska"
_WEBM = b"\x42\x82\x84webm" + b"\xec\x82\x00\x00"
_HEADER_BYTES = 64
_RATES = (1.0, 60.0)  # frames/s; a recording with a long pause in it would play at next to none
_SCHEMA = 1


@dataclass(frozen=True)
class WebVideo:
    """A video and what it shows: picture i is the frame of `stamps_ns[i]`, on the screen from i / fps seconds on."""

    file: Path
    fps: float
    stamps_ns: tuple[int, ...]


class WebVideoWriter:
    """Writes one WebM file frame by frame, at most `MAX_WIDTH_PX` wide; a context manager.

    `fps` is held between 1 and 60 and to two decimals: what OpenCV makes of more is another rate, and pictures drift
    from their times. The stamps of the frames are written beside the file as JSON, where `read_web_video` finds them.

    The file is there once it is complete. Until then it is Matroska, of which WebM is a part: OpenCV writes VP8 to
    both, but for WebM, which has names of codecs in place of tags, it prints to stderr that the tag is not supported.

    Raises:
        PictureError: OpenCV cannot write here.
    """

    def __init__(self, file: Path, fps: float) -> None:
        if file.suffix != SUFFIX:
            raise PictureError(f"{file} ends with {file.suffix!r}; a video for browsers has to end with {SUFFIX}")
        self.file = file
        self._unfinished = file.with_name(f"{file.name}.unfinished.mkv")
        self.stamps_ns: list[int] = []  # of the frames so far
        self._fps = round(min(max(fps, _RATES[0]), _RATES[1]), 2)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> WebVideoWriter:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if error is not None:
            self._unfinished.unlink(missing_ok=True)
            return
        _become_webm(self._unfinished)
        values = {"schema": _SCHEMA, "fps": self._fps, "stamps_ns": self.stamps_ns}
        _stamps_file(self.file).write_text(json.dumps(values), "utf-8")
        self._unfinished.replace(self.file)

    def add(self, rgb: Rgb, instances: Sequence[TrackedInstance], caption: Caption, stamp_ns: int) -> None:
        """Draw one frame [H, W, 3]."""
        # Shrunk before it is drawn on: letters stay as sharp as the video can be.
        picture = even(draw(narrowed(rgb, MAX_WIDTH_PX), instances, caption.request, caption.answer))
        if self._writer is None:
            self._writer = self._opened(picture)
        height, width = self._size
        if picture.shape[:2] != (height, width):  # the stream changed its size; a video cannot
            picture = np.asarray(cv2.resize(picture, (width, height)), np.uint8)
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self.stamps_ns.append(stamp_ns)

    def _opened(self, picture: Rgb) -> cv2.VideoWriter:
        self._size = (picture.shape[0], picture.shape[1])
        writer = cv2.VideoWriter(str(self._unfinished), cv2.VideoWriter.fourcc(*"VP80"), self._fps, self._size[::-1])
        if not writer.isOpened():
            raise PictureError(
                f"OpenCV cannot write {self.file} (VP8, {self._size[1]}x{self._size[0]} px, {self._fps:g} fps); "
                "is the folder writable, and does this OpenCV have FFmpeg with libvpx?"
            )
        return writer


def _become_webm(file: Path) -> None:
    """Say in a file of Matroska with VP8 that it is WebM.

    Raises:
        PictureError: it is no such file.
    """
    with file.open("r+b") as written:
        at = written.read(_HEADER_BYTES).find(_MATROSKA)
        if at < 0:
            raise PictureError(f"OpenCV did not write Matroska to {file}; is the disk full?")
        written.seek(at)
        written.write(_WEBM)


def read_web_video(file: Path) -> WebVideo:
    """A video that `WebVideoWriter` wrote.

    Raises:
        PictureError: it or its stamps are missing.
    """
    beside = _stamps_file(file)
    if not file.is_file():
        raise PictureError(f"{file} is not there; run villa eval again")
    try:
        values = json.loads(beside.read_text("utf-8"))
        return WebVideo(file, float(values["fps"]), tuple(int(stamp) for stamp in values["stamps_ns"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PictureError(f"{beside} does not hold the stamps of a video ({error}); run villa eval again") from error


def narrowed(rgb: Rgb, width_px: int) -> Rgb:
    """Image [H, W, 3], shrunk to `width_px` where it is wider."""
    height, width = rgb.shape[:2]
    if width <= width_px:
        return rgb
    size = (width_px, max(1, round(height * width_px / width)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _stamps_file(file: Path) -> Path:
    return file.with_name(file.name + ".json")
