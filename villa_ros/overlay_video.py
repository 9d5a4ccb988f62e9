"""Pictures of a run: an overlay video and a contact sheet, each frame under a bar with request and answer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from villa_ros.pipeline.events import TrackedInstance, TrackState
from villa_ros.pipeline.image_view import ImageError
from villa_ros.pipeline.overlay import draw
from villa_ros.recording import Run, spread

if TYPE_CHECKING:
    from villa_ros.pipeline.frame import Frame

Rgb = NDArray[np.uint8]

SHEET_COLUMNS = 4
_TILE_WIDTH_PX = 320
_TILES_PER_REQUEST = 4
_TILES_KEPT = 64  # of one request while its number of frames is still unknown
_LINE_PX = 18
_LINES = 2
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.45
_CHAR_PX = 8  # of that font and scale, generously
_BACKGROUND = (24, 24, 24)
_REQUEST_COLOUR = (255, 255, 255)
_ANSWER_COLOUR = (255, 214, 110)


class PictureError(RuntimeError):
    """A picture or video cannot be written."""


@dataclass(frozen=True)
class Caption:
    """What stands in the bar: the request now in force and its answer so far."""

    request: str = ""
    answer: str = ""


class OverlayWriter:
    """Writes `overlay.mp4` and `contact_sheet.png` into a folder, frame by frame; a context manager.

    The sheet shows a few frames of each request, from its first mask on.

    Raises:
        PictureError: OpenCV cannot write here.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        self.video = folder / "overlay.mp4"
        self.sheet = folder / "contact_sheet.png"
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._tiles: dict[Caption, _Tiles] = {}

    def __enter__(self) -> OverlayWriter:
        self.video.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        if error is None:
            self._write_sheet()

    def add(self, rgb: Rgb, instances: Sequence[TrackedInstance], caption: Caption) -> None:
        """Draw one frame [H, W, 3]."""
        shown = [instance for instance in instances if instance.state != TrackState.REMOVED]
        picture = captioned(draw(rgb, shown), caption)
        self._open(picture)
        assert self._writer is not None
        height, width = self._size
        if picture.shape[:2] != (height, width):  # the stream changed its size; a video cannot
            picture = np.asarray(cv2.resize(picture, (width, height)), np.uint8)
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if caption.answer or any(instance.mask.area for instance in shown):
            self._tiles.setdefault(caption, _Tiles()).add(_tile(picture))

    def _open(self, picture: Rgb) -> None:
        if self._writer is not None:
            return
        self._size = (picture.shape[0], picture.shape[1])
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self.video), fourcc, self._fps, self._size[::-1])
        if not self._writer.isOpened():
            raise PictureError(
                f"OpenCV cannot write {self.video} (mp4v, {self._size[1]}x{self._size[0]} px, {self._fps:g} fps); "
                "is the folder writable, and does this OpenCV have FFmpeg?"
            )

    def _write_sheet(self) -> None:
        tiles = [tile for group in self._tiles.values() for tile in group.chosen(_TILES_PER_REQUEST)]
        if not tiles:
            note = np.full((_TILE_WIDTH_PX * 3 // 4, _TILE_WIDTH_PX, 3), _BACKGROUND, np.uint8)
            tiles = [captioned(note, Caption("no request was answered"))]
        height = max(tile.shape[0] for tile in tiles)
        cells = [_padded(tile, height) for tile in tiles]
        columns = min(SHEET_COLUMNS, len(cells))
        cells += [np.full_like(cells[0], _BACKGROUND[0])] * (-len(cells) % columns)
        rows = [np.hstack(cells[at : at + columns]) for at in range(0, len(cells), columns)]
        if not cv2.imwrite(str(self.sheet), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)):
            raise PictureError(f"OpenCV cannot write {self.sheet}; is the folder writable?")


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

    def chosen(self, wanted: int) -> list[Rgb]:
        return [self._kept[index] for index in spread(len(self._kept), wanted)]


def captioned(rgb: Rgb, caption: Caption) -> Rgb:
    """A bar with request and answer above the picture; sides are made even, as video codecs want them."""
    height, width = rgb.shape[:2]
    columns = max(10, width // _CHAR_PX)
    request = textwrap.wrap(f"> {caption.request}", columns, max_lines=_LINES) if caption.request else []
    answer = textwrap.wrap(caption.answer, columns, max_lines=_LINES)
    bar_px = 2 * _LINES * _LINE_PX + 6
    result = np.full((height + bar_px + (height + bar_px) % 2, width + width % 2, 3), _BACKGROUND, np.uint8)
    result[bar_px : bar_px + height, :width] = rgb
    lines = [(line, _REQUEST_COLOUR) for line in request] + [(line, _ANSWER_COLOUR) for line in answer]
    for place, (line, colour) in enumerate(lines, 1):
        at = (4, place * _LINE_PX - 4)
        cv2.putText(result, line, at, _FONT, _FONT_SCALE, colour, 1, cv2.LINE_AA)
    return result


def _tile(picture: Rgb) -> Rgb:
    height = round(picture.shape[0] * _TILE_WIDTH_PX / picture.shape[1])
    return np.asarray(cv2.resize(picture, (_TILE_WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)


def _padded(tile: Rgb, height: int) -> Rgb:
    missing = height - tile.shape[0]
    return np.pad(tile, ((0, missing), (0, 0), (0, 0)), constant_values=_BACKGROUND[0]) if missing else tile


def draw_run(frames: Iterable[Frame], run: Run, writer: OverlayWriter) -> Iterator[Frame]:
    """Draw what a run published on the frames it was published for, yielding each frame when it is drawn."""
    tracks: dict[int, tuple[TrackedInstance, ...]] = {}
    for timed in run.tracks:
        instances = tuple(i for i in timed.value.instances if i.state != TrackState.REMOVED)
        if instances or timed.value.header.stamp_ns not in tracks:
            tracks[timed.value.header.stamp_ns] = instances
    captions = _captions(run)
    for frame in frames:
        caption = Caption()
        for since_ns, entry in captions:
            if since_ns > frame.header.stamp_ns:
                break
            caption = entry
        try:
            rgb = frame.rgb()
        except ImageError:  # the run dropped it too, and said so
            continue
        writer.add(rgb, tracks.get(frame.header.stamp_ns, ()), caption)
        yield frame


def _captions(run: Run) -> list[tuple[int, Caption]]:
    """(stamp in ns, caption from then on): a request from its own stamp, its answer from its newest frame."""
    changes = []
    for request_id, timed in run.commands.items():
        request = timed.value
        changes.append((request.stamp_ns, Caption(request.text)))
        if request_id in run.answers:
            answer = run.answers[request_id].value
            since_ns = max(request.stamp_ns, answer.header.stamp_ns)
            changes.append((since_ns, Caption(request.text, answer.text)))
    return sorted(changes, key=lambda change: change[0])
