"""What things lie on and stand before: tiles of real surfaces, and rooms out of focus."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.palette import backdrop
from villa.interface import Rgb

_WHITE = 248  # what lies between the tiles of a contact sheet
_LEAST_PX = 64  # side of a tile
_EDGE_PX = 7  # of a tile that is left out: compression mixes it with what is around


class Surfaces:
    """Pictures of surfaces in a folder, or contact sheets of tiles on white; without a folder painted ones alone."""

    def __init__(self, folder: Path | None) -> None:
        self.files = [] if folder is None else sorted(folder.glob("*.webp")) + sorted(folder.glob("*.png"))
        self._sheets: dict[Path, list[Rgb]] = {}

    def draw(self, rng: np.random.Generator) -> Rgb:
        """A texture [h, w, 3] that repeats without a seam that would stand out."""
        if not self.files or rng.random() < 0.15:
            return backdrop(rng, 256)[0]
        tiles = self._tiles(self.files[int(rng.integers(len(self.files)))])
        if not tiles:
            return backdrop(rng, 256)[0]
        tile = tiles[int(rng.integers(len(tiles)))]
        tile = np.rot90(tile, int(rng.integers(4)))
        # Mirrored at its edges it goes on for ever; as people see a table, a tile is far larger than a hand.
        whole = np.block([[[tile], [tile[:, ::-1]]], [[tile[::-1]], [tile[::-1, ::-1]]]])
        gain = float(np.exp(rng.normal(0, 0.15)))
        return np.asarray(np.clip(whole.astype(np.float32) * gain, 0, 255), np.uint8)

    def _tiles(self, path: Path) -> list[Rgb]:
        if path not in self._sheets:
            sheet = cv2.imread(str(path), cv2.IMREAD_COLOR)
            self._sheets[path] = [] if sheet is None else tiles_of(np.ascontiguousarray(sheet[..., ::-1]))
        return self._sheets[path]


def tiles_of(sheet: Rgb) -> list[Rgb]:
    """The square tiles [n, n, 3] of a contact sheet; a picture that is no sheet is one tile."""
    dark = (sheet.min(axis=2) < _WHITE).astype(np.uint8)
    dark = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(dark)
    found = []
    for left, top, width, height, area in stats[1:].tolist():
        side = min(width, height) - 2 * _EDGE_PX
        if side < _LEAST_PX or max(width, height) > 1.12 * min(width, height) or area < 0.8 * width * height:
            continue
        x, y = left + _EDGE_PX, top + _EDGE_PX
        found.append(np.ascontiguousarray(sheet[y : y + side, x : x + side]))
    side = min(sheet.shape[:2])
    return found or [np.ascontiguousarray(sheet[:side, :side])]


def ground(
    texture: Rgb, to_image: NDArray[np.float64], size: tuple[int, int], tile_m: float, far_m: float
) -> tuple[Rgb, NDArray[np.bool_]]:
    """A plane tiled with a texture as a camera sees it, [h, w, 3], and where it is [h, w].

    `to_image` [3, 3]: metres on the plane, with a weight that is more than 0 before the camera -> px. `tile_m`: the
    side of one tile; the plane ends at `far_m` from its origin.
    """
    width, height = size
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    points = np.linalg.inv(to_image) @ np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)])
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = points[0] / points[2], points[1] / points[2]
    before = (to_image[2, 0] * x + to_image[2, 1] * y + to_image[2, 2]) > 0
    inside = before & np.isfinite(x) & np.isfinite(y) & (np.hypot(x, y) < far_m)
    side = texture.shape[0]
    u = np.where(inside, x, 0.0) / tile_m * side % side
    v = np.where(inside, y, 0.0) / tile_m * side % side
    shape = (height, width)
    seen = cv2.remap(
        texture,
        u.reshape(shape).astype(np.float32),
        v.reshape(shape).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.asarray(seen, np.uint8), inside.reshape(shape)


def room(photo: Rgb | None, size: tuple[int, int], rng: np.random.Generator) -> Rgb:
    """What is behind a table, out of focus: a part of a photo, or two areas of colour."""
    width, height = size
    if photo is None:
        low, high = rng.uniform(40, 210, 3), rng.uniform(40, 210, 3)
        share = np.linspace(0, 1, height)[:, None, None]
        return np.broadcast_to(low + (high - low) * share, (height, width, 3)).astype(np.uint8)
    wide = int(rng.integers(photo.shape[1] // 2, photo.shape[1] + 1))
    tall = min(photo.shape[0], max(8, wide * height // width))
    left = int(rng.integers(photo.shape[1] - wide + 1))
    top = int(rng.integers(photo.shape[0] - tall + 1))
    part = cv2.resize(photo[top : top + tall, left : left + wide], size, interpolation=cv2.INTER_AREA)
    # So far out of focus that nothing on it has an outline: what is not labelled shall not be learnt as empty.
    return np.asarray(cv2.GaussianBlur(part, (0, 0), float(rng.uniform(9, 18))), np.uint8)
