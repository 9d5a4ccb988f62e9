"""Pictures for people: masks in the colour of their track, names, the request and its answer.

Everything is drawn with OpenCV's own fonts, which know ASCII: other characters show as "?".
"""

from __future__ import annotations

import colorsys
import textwrap
import zlib
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.masks import Mask, decode
from villa_ros.pipeline.events import TrackedInstance, TrackState

Rgb = NDArray[np.uint8]
Colour = tuple[int, int, int]

FILL = 0.42  # opacity of a mask
FAINT_FILL = 0.22  # ... of one that is not confirmed yet
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK: Colour = (255, 255, 255)
_DARK: Colour = (22, 24, 28)
_ANSWER_INK: Colour = (255, 221, 128)
_REFERENCE_PX = 480  # image height at which a scale of 1 is right
_GOLDEN = 0.618033988749895


@lru_cache(maxsize=1024)
def colour_of(track_id: str) -> Colour:
    """A vivid colour that belongs to this id for good; ids counted up one after the other differ clearly."""
    number = track_id.rpartition("-")[2]
    turn = int(number) if number.isdecimal() and len(number) < 10 else zlib.crc32(track_id.encode())
    red, green, blue = colorsys.hsv_to_rgb((0.58 + turn * _GOLDEN) % 1.0, 0.78, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(rgb: Rgb, instances: Sequence[TrackedInstance], request: str = "", answer: str = "") -> Rgb:
    """Image [H, W, 3] with instances drawn on it, and with `request` and `answer` in a band along its foot.

    The image given stays as it is. Masks of another size than the image are stretched to it. Removed tracks are
    left out; occluded and lost ones, which have no mask, are listed in the upper left corner.
    """
    picture = np.array(rgb, np.uint8)
    scale = max(0.5, min(picture.shape[:2]) / _REFERENCE_PX)
    seen = [entry for entry in instances if entry.mask.area and entry.state != TrackState.REMOVED]
    seen.sort(key=lambda entry: -entry.mask.area)  # small objects on top of large ones
    shapes = [(entry, _fitted(entry, picture)) for entry in seen]
    for entry, mask in shapes:
        _fill(picture, mask, colour_of(entry.track_id), entry.state == TrackState.TENTATIVE)
    for entry, mask in shapes:
        _contour(picture, mask, colour_of(entry.track_id), scale)
    taken: list[tuple[int, int, int, int]] = []
    for entry, mask in shapes:
        _name(picture, entry, mask, scale, taken)
    _absent(picture, [entry for entry in instances if _is_absent(entry)], scale)
    if request or answer:
        _band(picture, request, answer, scale)
    return picture


def contact_sheet(tiles: Sequence[tuple[Rgb, str]], columns: int = 4, tile_width: int = 320) -> Rgb:
    """Images [H, W, 3] of any sizes, each under its caption, in a grid of `columns` -> one image.

    Raises:
        ValueError: no tiles, or a width or number of columns below 1.
    """
    if not tiles or columns < 1 or tile_width < 1:
        raise ValueError(f"{len(tiles)} tiles in {columns} columns of {tile_width} px, wanted at least one of each")
    columns = min(columns, len(tiles))
    scale = max(0.75, tile_width / 320 * 0.9)
    line = round(20 * scale)
    wrapped = [_wrap(caption, tile_width - 12, scale)[:3] for _, caption in tiles]
    resized = []
    for image, _ in tiles:
        height = max(1, round(image.shape[0] * tile_width / image.shape[1]))
        resized.append(np.asarray(cv2.resize(image, (tile_width, height), interpolation=cv2.INTER_AREA), np.uint8))
    gap = max(4, round(6 * scale))
    rows = []
    for start in range(0, len(tiles), columns):
        images, captions = resized[start : start + columns], wrapped[start : start + columns]
        head = line * max(1, *(len(lines) for lines in captions)) + 8
        row = np.full(
            (head + max(image.shape[0] for image in images) + gap, columns * (tile_width + gap) + gap, 3),
            _DARK,
            np.uint8,
        )
        for column, (image, lines) in enumerate(zip(images, captions, strict=True)):
            x = gap + column * (tile_width + gap)
            row[head : head + image.shape[0], x : x + tile_width] = image
            for number, text in enumerate(lines):
                _write(row, text, (x + 4, round(line * (number + 0.8))), scale, _INK)
        rows.append(row)
    return np.vstack([np.full((gap, rows[0].shape[1], 3), _DARK, np.uint8), *rows])


def _fitted(entry: TrackedInstance, picture: Rgb) -> Mask:
    mask = decode(entry.mask)
    height, width = picture.shape[:2]
    if mask.shape == (height, width):
        return mask
    stretched = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(stretched, np.bool_)


def _fill(picture: Rgb, mask: Mask, colour: Colour, faint: bool) -> None:
    opacity = FAINT_FILL if faint else FILL
    blended = picture[mask] * (1 - opacity) + np.array(colour, np.float32) * opacity
    picture[mask] = blended.astype(np.uint8)


def _contour(picture: Rgb, mask: Mask, colour: Colour, scale: float) -> None:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(2 * scale))
    cv2.drawContours(picture, outlines, -1, _DARK, thickness + 2, cv2.LINE_AA)
    cv2.drawContours(picture, outlines, -1, colour, thickness, cv2.LINE_AA)


def _label(entry: TrackedInstance) -> str:
    name = entry.name or entry.track_id
    return name if entry.state == TrackState.TRACKED else f"{name} ({entry.state.name.lower()})"


def _name(
    picture: Rgb, entry: TrackedInstance, mask: Mask, scale: float, taken: list[tuple[int, int, int, int]]
) -> None:
    """A chip over the object, moved down until it covers no other chip and lies inside the image."""
    height, width = picture.shape[:2]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return
    text = _label(entry)
    chip_width, chip_height = _text_width(text, scale) + round(12 * scale), round(22 * scale)
    middle = (int(columns[0]) + int(columns[-1])) // 2
    x = max(0, min(middle - chip_width // 2, width - chip_width))
    y = max(0, int(rows[0]) - chip_height - round(4 * scale))
    while any(_overlap((x, y, chip_width, chip_height), other) for other in taken) and y < height:
        y += chip_height + 1
    y = min(y, max(0, height - chip_height))
    taken.append((x, y, chip_width, chip_height))
    _chip(picture, text, (x, y), (chip_width, chip_height), colour_of(entry.track_id), scale)


def _chip(
    picture: Rgb, text: str, corner: tuple[int, int], size: tuple[int, int], colour: Colour, scale: float
) -> None:
    (x, y), (width, height) = corner, size
    box = picture[y : y + height, x : x + width]
    box[:] = (box * 0.15 + np.array(_DARK, np.float32) * 0.85).astype(np.uint8)
    box[:, : max(2, round(4 * scale))] = colour
    _write(picture, text, (x + round(8 * scale), y + round(height * 0.7)), scale, _INK)


def _is_absent(entry: TrackedInstance) -> bool:
    return not entry.mask.area and entry.state in (TrackState.OCCLUDED, TrackState.LOST)


def _absent(picture: Rgb, entries: list[TrackedInstance], scale: float) -> None:
    step = round(25 * scale)
    for number, entry in enumerate(entries):
        y = round(6 * scale) + number * step
        if y + step > picture.shape[0]:
            return
        text = _label(entry)
        size = (_text_width(text, scale) + round(12 * scale), round(22 * scale))
        _chip(picture, text, (round(6 * scale), y), size, colour_of(entry.track_id), scale)


def _band(picture: Rgb, request: str, answer: str, scale: float) -> None:
    height, width = picture.shape[:2]
    margin, line = round(10 * scale), round(22 * scale)
    lines = [(text, _INK) for text in _wrap(request, width - 2 * margin, scale)[:2]]
    lines += [(text, _ANSWER_INK) for text in _wrap(answer, width - 2 * margin, scale)[:3]]
    band = picture[max(0, height - line * len(lines) - margin) :]
    band[:] = (band * 0.25 + np.array(_DARK, np.float32) * 0.75).astype(np.uint8)
    for number, (text, ink) in enumerate(lines):
        _write(picture, text, (margin, height - line * (len(lines) - number - 1) - round(10 * scale)), scale, ink)


def _wrap(text: str, width: int, scale: float) -> list[str]:
    per_character = _text_width("n" * 20, scale) / 20
    return textwrap.wrap(_ascii(text), max(4, int(width / per_character)))


def _write(picture: Rgb, text: str, origin: tuple[int, int], scale: float, ink: Colour) -> None:
    cv2.putText(picture, _ascii(text), origin, _FONT, 0.5 * scale, ink, max(1, round(scale)), cv2.LINE_AA)


def _text_width(text: str, scale: float) -> int:
    (width, _), _ = cv2.getTextSize(_ascii(text), _FONT, 0.5 * scale, max(1, round(scale)))
    return int(width)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
