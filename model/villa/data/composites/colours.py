"""What colour people would call a thing, by its pixels: one word where that is plain, else none."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.language.vocabulary import COLOURS

_MAIN, _SHOWN = 0.62, 0.1  # shares of a thing's pixels: its colour, a colour that somebody may name
_INSIDE = 200  # alpha


@dataclass(frozen=True)
class Colouring:
    """`main`: its colour, empty where people would differ; `shown`: all that somebody may name."""

    main: str
    shown: tuple[str, ...]


def colouring(rgba: NDArray[np.uint8]) -> Colouring:
    """Pixels [h, w, 4] -> colours."""
    pixels = rgba[rgba[..., 3] > _INSIDE][:, :3]
    if len(pixels) < 30:
        return Colouring("", COLOURS)
    names = named(pixels)
    shares = {colour: float((names == index).mean()) for index, colour in enumerate(COLOURS)}
    unclear = float((names < 0).mean())
    shown = tuple(colour for colour, share in shares.items() if share >= _SHOWN)
    main = max(shares, key=lambda colour: shares[colour])
    plain = shares[main] >= _MAIN and unclear < 0.3
    return Colouring(main if plain else "", tuple(dict.fromkeys((*shown, *_NEAR[main], main))))


def named(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels [N, 3] -> index into COLOURS; -1 between two."""
    hsv = cv2.cvtColor(pixels[None], cv2.COLOR_RGB2HSV_FULL)[0].astype(np.float32)
    hue, saturation, value = hsv[:, 0] * 360 / 255, hsv[:, 1] / 255, hsv[:, 2] / 255
    out = np.full(len(pixels), -1)

    def put(colour: str, where: NDArray[np.bool_]) -> None:
        out[where & (out < 0)] = COLOURS.index(colour)

    put("black", value < 0.18)
    put("white", (saturation < 0.12) & (value > 0.82))
    put("gray", (saturation < 0.14) & (value > 0.25) & (value < 0.72))
    vivid = saturation > 0.32
    put("brown", ((hue < 42) | (hue > 350)) & vivid & (value < 0.55) & (value > 0.18) & (saturation < 0.85) & (hue > 8))
    put("red", ((hue < 12) | (hue > 346)) & (saturation > 0.5) & (value > 0.28))
    put("orange", (hue >= 16) & (hue < 40) & (saturation > 0.55) & (value > 0.65))
    put("yellow", (hue >= 44) & (hue < 66) & vivid & (value > 0.5))
    put("green", (hue >= 72) & (hue < 165) & (saturation > 0.25) & (value > 0.18))
    put("blue", (hue >= 190) & (hue < 255) & (saturation > 0.3) & (value > 0.2))
    put("purple", (hue >= 262) & (hue < 305) & (saturation > 0.22) & (value > 0.2))
    put("pink", ((hue >= 310) | (hue < 8)) & (saturation > 0.14) & (saturation < 0.62) & (value > 0.65))
    return out


# Other names for a shade that is not the best of its kind.
_NEAR = {
    "red": ("orange", "pink", "brown"), "orange": ("red", "yellow", "brown"), "yellow": ("orange", "white", "green"),
    "green": ("yellow", "blue"), "blue": ("purple", "green", "gray"), "purple": ("blue", "pink"),
    "pink": ("red", "purple", "white"), "brown": ("orange", "red", "black", "gray"),
    "black": ("gray", "brown", "blue"), "white": ("gray", "yellow", "pink"), "gray": ("white", "black", "blue"),
}  # fmt: skip
