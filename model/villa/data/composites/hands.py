"""Pictures of hands, laid over a picture with a forearm that goes on to its edge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.clips import ObjectFacts
from villa.data.composites.canvas import F32, LEAST_ALPHA, Canvas
from villa.data.composites.cutouts import Rgba, read_rgba
from villa.data.composites.props import shrunk
from villa.data.language.vocabulary import COLOURS, KIND


@dataclass(frozen=True)
class HandLook:
    """What one hand looks like for a whole clip."""

    picture: Rgba  # fingers up
    size_m: float  # its height
    sleeve: tuple[float, float, float]
    flipped: bool


def read_hands(folder: Path) -> list[Rgba]:
    """The pictures with alpha of a folder, in the order of their names; others are left out."""
    return [rgba for rgba in map(read_rgba, sorted(folder.iterdir())) if rgba is not None]


def hand_facts(number: int, identities: tuple[int, int]) -> Iterator[ObjectFacts]:
    """Facts of the hand with a picture's number, and of its arm."""
    for name, identity in zip(("hand", "arm"), identities, strict=True):
        kind = KIND[name]
        yield ObjectFacts(identity, f"{name}/{number}", name, name, kind.nouns, "", COLOURS, "", kind.uses, "hands")


def draw_hand(
    canvas: Canvas,
    look: HandLook,
    at: tuple[float, float],
    px_per_m: float,
    pointing: float,
    shade: NDArray[np.float64],
    identities: tuple[int, int],
) -> None:
    """Draw a hand and its arm.

    Args:
        canvas: What they are laid on.
        look: What they look like.
        at: The palm's middle, column and row px.
        px_per_m: Size of what is as far away as the palm.
        pointing: The direction in the image to which the fingers point, radians from the right towards the top.
        shade: Colour of the light [3].
        identities: The ids of hand and arm.
    """
    hand = look.picture.astype(np.float32)
    hand = hand[:, ::-1] if look.flipped else hand
    hand[..., :3] *= shade.astype(np.float32)
    scale = px_per_m * look.size_m / hand.shape[0]
    small, scale = shrunk(np.ascontiguousarray(hand), scale)
    height, width = small.shape[:2]
    # Fingers are up in the picture of a hand; they point where it goes. The palm is its middle.
    angle = np.pi / 2 - pointing
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    to_image = np.array([[cos, -sin, at[0]], [sin, cos, at[1]], [0, 0, 1]])
    to_image = to_image @ np.array([[1, 0, -width / 2], [0, 1, -0.42 * height], [0, 0, 1.0]])
    _draw_arm(canvas, small, to_image, np.asarray(look.sleeve) * shade, identities[1])
    canvas.lay(small, to_image, identities[0])


def _draw_arm(
    canvas: Canvas, hand: F32, to_image: NDArray[np.float64], sleeve_colour: NDArray[np.float64], identity: int
) -> None:
    """From the wrist to the picture's edge: a strip of skin, then a sleeve."""
    height = hand.shape[0]
    wrist = np.nonzero(hand[-max(2, height // 12) :, :, 3].max(axis=0) > LEAST_ALPHA)[0]
    if not wrist.size:
        return
    middle, half = (wrist[0] + wrist[-1]) / 2, (wrist[-1] - wrist[0]) / 2
    far = 40.0 * height
    strip = [[middle - half, height - 2], [middle + half, height - 2]]
    strip += [[middle + 1.5 * half, far], [middle - 1.5 * half, far]]
    cuff = height * 1.25
    sleeve = [[middle - 1.35 * half, cuff], [middle + 1.35 * half, cuff]]
    sleeve += [[middle + 2.2 * half, far], [middle - 2.2 * half, far]]
    skin = hand[-max(2, height // 6) :][hand[-max(2, height // 6) :, :, 3] > 200]
    tone = skin[:, :3].mean(axis=0) if len(skin) else np.array([200.0, 160, 140])
    for points, colour in ((strip, tone), (sleeve, sleeve_colour)):
        corners = to_image @ np.array([[x, y, 1.0] for x, y in points]).T
        drawn = np.zeros((canvas.size[1], canvas.size[0]), np.uint8)
        cv2.fillPoly(drawn, [np.round(corners[:2].T).astype(np.int32)], 255, cv2.LINE_AA)
        canvas.cover(drawn, np.broadcast_to(colour.astype(np.float32), (*drawn.shape, 3)), identity)
