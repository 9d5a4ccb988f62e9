"""Pictures of a run: an overlay video and a contact sheet, with what was asked and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from villa_ros.pipeline.events import TrackedInstance
from villa_ros.pipeline.overlay import contact_sheet, draw
from villa_ros.video.sampling import evenly_spaced

Rgb = NDArray[np.uint8]

_TILE_WIDTH_PX = 320
_TILES_PER_REQUEST = 4
_REQUESTS_IN_ROWS = 4  # with more, a sheet of all their frames is too long to look at
_RATE_FRAMES = 16  # whose stamps tell the rate of the video
_TILES_KEPT = 64  # of one request while its number of frames is still unknown


class PictureError(RuntimeError):
    """A picture or video cannot be written."""


@dataclass(frozen=True)
class Caption:
    """What is written on a frame: the request now in force and its answer so far."""

    request: str = ""
    answer: str = ""


class Canvas(Protocol):
    """Where frames go together with what is to be drawn on them."""

    def add(self, rgb: Rgb, instances: Sequence[TrackedInstance], caption: Caption, stamp_ns: int) -> None:
        """Draw one frame [H, W, 3]."""


class OverlayWriter:
    """Writes `overlay.mp4` and `contact_sheet.png` into a folder, frame by frame; a context manager.

    Without `fps` the video runs at the rate of its first frames. The sheet shows a few frames of each request, evenly
    spread from its answer on; of many requests, one frame each.

    Raises:
        PictureError: OpenCV cannot write here.
    """

    def __init__(self, folder: Path, fps: float | None = None) -> None:
        self.video = folder / "overlay.mp4"
        self.sheet = folder / "contact_sheet.png"
        self._fps = fps
        self._waiting: list[tuple[int, Rgb]] = []  # stamps and pictures, until the rate is known
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._tiles: dict[Caption, _Tiles] = {}

    def __enter__(self) -> OverlayWriter:
        self.video.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._begin()
        if self._writer is not None:
            self._writer.release()
        if error is None:
            self._write_sheet()

    def add(self, rgb: Rgb, instances: Sequence[TrackedInstance], caption: Caption, stamp_ns: int) -> None:
        """Draw one frame [H, W, 3]."""
        picture = even(draw(rgb, instances, caption.request, caption.answer))
        if self._fps is None:
            self._waiting.append((stamp_ns, picture))
            if len(self._waiting) == _RATE_FRAMES:
                self._begin()
        else:
            self._write(picture)
        if caption.answer:
            self._tiles.setdefault(caption, _Tiles()).add(_small(draw(rgb, instances)))

    def _begin(self) -> None:
        """Write what waited for a rate."""
        if self._waiting:
            first_ns, last_ns = self._waiting[0][0], self._waiting[-1][0]
            span_ns = last_ns - first_ns
            self._fps = (len(self._waiting) - 1) * 1e9 / span_ns if span_ns > 0 else 1.0
        for _, picture in self._waiting:
            self._write(picture)
        self._waiting = []

    def _write(self, picture: Rgb) -> None:
        writer = self._writer or self._open(picture)
        height, width = self._size
        if picture.shape[:2] != (height, width):  # the stream changed its size; a video cannot
            picture = np.asarray(cv2.resize(picture, (width, height)), np.uint8)
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def _open(self, picture: Rgb) -> cv2.VideoWriter:
        assert self._fps is not None
        self._size = (picture.shape[0], picture.shape[1])
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self.video), fourcc, self._fps, self._size[::-1])
        if not self._writer.isOpened():
            raise PictureError(
                f"OpenCV cannot write {self.video} (mp4v, {self._size[1]}x{self._size[0]} px, {self._fps:g} fps); "
                "is the folder writable, and does this OpenCV have FFmpeg?"
            )
        return self._writer

    def _write_sheet(self) -> None:
        if len(self._tiles) > _REQUESTS_IN_ROWS:
            tiles = [
                (group.chosen(3)[1 if len(group) > 2 else 0], f"> {caption.request}  -  {caption.answer}")
                for caption, group in self._tiles.items()
            ]
        else:
            tiles = [
                (tile, caption.answer if place else f"> {caption.request}")
                for caption, group in self._tiles.items()
                for place, tile in enumerate(group.chosen(_TILES_PER_REQUEST))
            ]
        if not tiles:
            nothing = np.zeros((_TILE_WIDTH_PX * 3 // 4, _TILE_WIDTH_PX, 3), np.uint8)
            tiles = [(nothing, "nothing was answered")]
        sheet = contact_sheet(tiles, _TILES_PER_REQUEST, _TILE_WIDTH_PX)
        if not cv2.imwrite(str(self.sheet), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise PictureError(f"OpenCV cannot write {self.sheet}; is the folder writable, with room on its disk?")


class _Tiles:
    """Evenly spread pictures of a stretch whose length is not known before it ends."""

    def __init__(self) -> None:
        self._kept: list[Rgb] = []
        self._every = 1
        self._seen = 0

    def add(self, tile: Rgb) -> None:
        if self._seen % self._every == 0:
            self._kept.append(tile)
            if len(self._kept) > _TILES_KEPT:
                self._kept = self._kept[::2]
                self._every *= 2
        self._seen += 1

    def __len__(self) -> int:
        return len(self._kept)

    def chosen(self, wanted: int) -> list[Rgb]:
        return [self._kept[index] for index in evenly_spaced(len(self._kept), wanted)]


def even(picture: Rgb) -> Rgb:
    """The same picture with even sides, as video codecs want them; a row or column of black is added."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0))) if height % 2 or width % 2 else picture


def _small(picture: Rgb) -> Rgb:
    height = round(picture.shape[0] * _TILE_WIDTH_PX / picture.shape[1])
    return np.asarray(cv2.resize(picture, (_TILE_WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)
