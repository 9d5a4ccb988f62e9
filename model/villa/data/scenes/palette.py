"""Colours that keep their names, and textures painted from them."""

from __future__ import annotations

import colorsys
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.language.vocabulary import COLOURS

Rgb = NDArray[np.uint8]  # [3] or [h, w, 3]
Pattern = Literal["plain", "bands", "bars", "checks", "dots", "mottled", "label", "weave", "print"]
PATTERNS: tuple[Pattern, ...] = ("plain", "bands", "bars", "checks", "dots", "mottled", "label")
ONE_COLOURED: tuple[Pattern, ...] = ("plain", "mottled", "weave")  # patterns without a second colour

# Hue in degrees, saturation and value: ranges inside which no viewer would give another name.
_RANGES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-6, 6), (0.82, 1.0), (0.6, 0.9)),
    "orange": ((21, 31), (0.88, 1.0), (0.9, 1.0)),
    "yellow": ((49, 58), (0.75, 1.0), (0.88, 1.0)),
    "green": ((98, 150), (0.55, 1.0), (0.35, 0.75)),
    "blue": ((205, 235), (0.68, 1.0), (0.45, 0.9)),
    "purple": ((268, 288), (0.55, 0.9), (0.42, 0.72)),
    "pink": ((328, 345), (0.35, 0.58), (0.92, 1.0)),
    "brown": ((18, 27), (0.62, 0.8), (0.36, 0.48)),
    "black": ((0, 360), (0.0, 0.15), (0.03, 0.1)),
    "white": ((0, 360), (0.0, 0.05), (0.92, 1.0)),
    "gray": ((0, 360), (0.0, 0.07), (0.4, 0.55)),
}


def shade(colour: str, rng: np.random.Generator) -> Rgb:
    """A random shade [3] uint8 of a named colour."""
    hue, saturation, value = (rng.uniform(low, high) for low, high in _RANGES[colour])
    return np.round(255.0 * np.array(colorsys.hsv_to_rgb(hue / 360.0 % 1.0, saturation, value))).astype(np.uint8)


def typical(colour: str) -> NDArray[np.float64]:
    """The middle of a colour's shades [3], 0..255."""
    hue, saturation, value = ((low + high) / 2 for low, high in _RANGES[colour])
    return 255.0 * np.array(colorsys.hsv_to_rgb(hue / 360.0 % 1.0, saturation, value))


def companion(colour: str, rng: np.random.Generator) -> str:
    """A second colour for a pattern on `colour`: most often white, black or gray, never a close neighbour."""
    neighbours = {
        "red": {"pink", "orange", "brown"},
        "orange": {"red", "brown", "yellow"},
        "pink": {"red", "purple", "white"},
        "purple": {"pink", "blue"},
        "blue": {"purple"},
        "brown": {"orange", "red", "black"},
        "gray": {"white", "black"},
        "white": {"gray", "pink"},
        "black": {"gray", "brown"},
    }.get(colour, set())
    neutral = [name for name in ("white", "black", "white") if name != colour and name not in neighbours]
    if neutral and rng.random() < 0.65:
        return str(rng.choice(neutral))
    others = [name for name in COLOURS if name != colour and name not in neighbours]
    return str(rng.choice(others))


def _noise(rng: np.random.Generator, height: int, width: int, cells: int) -> NDArray[np.float32]:
    coarse = rng.normal(size=(cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _pseudo_print(image: NDArray[np.float32], rng: np.random.Generator, ink: Rgb, lines: int) -> None:
    """Draw what looks like print from afar: words as short bars, and one emblem."""
    height, width = image.shape[:2]
    colour = tuple(float(value) for value in ink)
    for line in range(lines):
        y = int(height * (0.2 + 0.6 * (line + 0.5) / lines))
        x = int(width * rng.uniform(0.05, 0.25))
        while x < width * 0.85:
            length = int(width * rng.uniform(0.04, 0.15))
            cv2.rectangle(image, (x, y), (x + length, y + max(1, height // (4 * lines))), colour, -1)
            x += length + max(2, width // 40)


def paint(
    colour: str,
    second: str,
    pattern: Pattern,
    rng: np.random.Generator,
    size: tuple[int, int] = (128, 128),
    window: tuple[float, float] = (0.15, 0.6),
) -> Rgb:
    """A texture [h, w, 3] on which `colour` covers at least about three quarters.

    `window` is the range of v, from the texture's bottom, where a pattern of limited height may lie.
    """
    height, width = size
    main, other = shade(colour, rng).astype(np.float32), shade(second, rng).astype(np.float32)
    image = np.empty((height, width, 3), np.float32)
    image[:] = main
    v = 1.0 - (np.arange(height) + 0.5)[:, None] / height
    u = ((np.arange(width) + 0.5) / width)[None, :]
    low, high = window
    cover: NDArray[np.bool_] | None = None
    if pattern == "bands":
        count, share = int(rng.integers(1, 4)), rng.uniform(0.2, 0.35)
        phase = (v - low) / max(high - low, 1e-6) * count
        cover = np.broadcast_to((phase % 1.0 < share) & (v >= low) & (v <= high), (height, width))
    elif pattern == "bars":
        count, share = int(rng.integers(4, 14)), rng.uniform(0.14, 0.25)
        cover = np.broadcast_to((u * count) % 1.0 < share, (height, width))
    elif pattern == "checks":
        count = int(rng.integers(3, 8))
        cells = ((u * 2 * count) % 1.0 < 0.47) & ((v * 1.6 * count) % 1.0 < 0.47)
        cover = np.broadcast_to(cells, (height, width))
    elif pattern == "dots":
        count = int(rng.integers(4, 9))
        du, dv = (u * count) % 1.0 - 0.5, (v * count) % 1.0 - 0.5
        cover = du**2 + dv**2 < rng.uniform(0.04, 0.07)
    elif pattern == "label":
        bottom, top = low + 0.12 * (high - low), high - 0.12 * (high - low)
        left = rng.uniform(0.0, 0.5)
        around = (u > left) & (u < left + rng.uniform(0.3, 0.5))
        cover = (v > bottom) & (v < top) & around
    elif pattern == "weave":
        count = int(rng.integers(8, 14))
        over = ((np.floor(u * count) + np.floor(v * count)) % 2)[..., None]
        image *= 0.62 + 0.38 * over
    if cover is not None:
        image[cover] = other
        if pattern == "label":
            rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
            if rows.size and columns.size:
                view = np.ascontiguousarray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
                _pseudo_print(view, rng, shade(colour, rng), int(rng.integers(2, 5)))
                image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = view
    if pattern == "print":
        view = np.ascontiguousarray(image[int(0.2 * height) : int(0.85 * height), int(0.1 * width) : int(0.9 * width)])
        _pseudo_print(view, rng, other.astype(np.uint8), int(rng.integers(2, 6)))
        if rng.random() < 0.5:
            centre = (int(view.shape[1] * rng.uniform(0.3, 0.7)), int(view.shape[0] * rng.uniform(0.3, 0.7)))
            radius = int(0.18 * min(view.shape[:2]))
            cv2.circle(view, centre, radius, tuple(float(value) for value in other), -1)
        image[int(0.2 * height) : int(0.85 * height), int(0.1 * width) : int(0.9 * width)] = view
    strength = 0.09 if pattern == "mottled" else 0.02
    grain = 1.0 + strength * _noise(rng, height, width, 12 if pattern == "mottled" else 32)
    return np.clip(image * grain[..., None], 0, 255).astype(np.uint8)


def backdrop(rng: np.random.Generator, size: int = 192) -> tuple[Rgb, str]:
    """A texture [size, size, 3] for a table, a floor or a wall, and a word for it."""
    base = rng.uniform(60, 225) * np.ones(3) + rng.normal(0, 10, 3)
    word = str(rng.choice(["wood", "tile", "plain", "cloth", "stone", "coloured"]))
    image = np.empty((size, size, 3), np.float32)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    if word == "wood":
        base = np.array([rng.uniform(110, 205), rng.uniform(75, 150), rng.uniform(40, 100)])
        grain = np.sin(2 * np.pi * (rng.uniform(6, 18) * rows + 0.8 * _noise(rng, size, size, 5)))
        planks = (rows * rng.integers(2, 6)) % 1.0 < 0.02
        image[:] = base
        image *= (1 + 0.09 * grain + 0.04 * _noise(rng, size, size, 48))[..., None]
        image[planks] *= 0.6
    elif word == "tile":
        count = int(rng.integers(2, 6))
        chequered = rng.random() < 0.4
        image[:] = base
        if chequered:
            odd = (np.floor(rows * 2 * count) + np.floor(columns * 2 * count)) % 2 > 0
            image[odd] *= rng.uniform(0.5, 0.85)
        joint = ((rows * count) % 1.0 < 0.03) | ((columns * count) % 1.0 < 0.03)
        image[joint] *= 0.75
    elif word == "stone":
        image[:] = base
        veins = np.abs(_noise(rng, size, size, 7) + 0.5 * _noise(rng, size, size, 24))
        image *= (0.8 + 0.25 * np.clip(veins, 0, 1.5))[..., None]
    elif word == "cloth":
        image[:] = np.clip(base + rng.normal(0, 35, 3), 20, 240)
        stripes = np.sin(2 * np.pi * rng.integers(4, 20) * (rows if rng.random() < 0.5 else columns))
        image *= (1 + rng.uniform(0.05, 0.2) * np.sign(stripes))[..., None]
    elif word == "coloured":
        image[:] = np.clip(base + rng.normal(0, 55, 3), 15, 245)
    else:
        image[:] = base
    image *= (1 + 0.025 * _noise(rng, size, size, 64))[..., None]
    return np.clip(image, 0, 255).astype(np.uint8), word
