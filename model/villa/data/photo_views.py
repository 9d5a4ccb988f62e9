"""How a camera that moves sees a flat picture, and what is labelled on it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.coco_folder import CocoFolder, Instance, Picture
from villa.interface import Rgb


def painted(outlines: Sequence[NDArray[np.bool_]], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Masks [H, W] of things -> ids [H, W] in their order, from 1 on, 0: none; of two the smaller one is in front."""
    labels = np.zeros(shape, np.uint8)
    for index in sorted(range(len(outlines)), key=lambda i: -int(outlines[i].sum())):
        labels[outlines[index]] = index + 1
    return labels


def labels_of(data: CocoFolder, picture: Picture, things: Sequence[Instance]) -> NDArray[np.uint8]:
    """The same for what is labelled on a picture."""
    return painted([data.mask(picture, thing) for thing in things], (picture.height, picture.width))


def camera_path(
    picture: tuple[int, int], aim: tuple[float, ...], frames: int, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """How a camera that moves sees a flat picture: for each frame a homography [3, 3] from px to shares of the view.

    `aim`: left, top, width, height px of what is seen in the middle of the path. Half of the paths are mirrored.
    """
    left, top, wide, tall = aim
    still = rng.random() < 0.15
    amount = 0.0 if still else float(rng.choice([0.4, 1.0, 2.0]))
    turn, zoom = rng.normal(0, 0.05, 2) * amount
    shift = rng.normal(0, 0.06, 2) * amount
    tilt = rng.normal(0, 0.04, 2) * amount
    shake = rng.normal(0, 0.008, (frames, 2)) * amount
    roll = float(rng.normal(0, 0.08))
    mirrored = rng.random() < 0.5
    to_view = np.array([[1 / wide, 0, -left / wide], [0, 1 / tall, -top / tall], [0, 0, 1]])
    if mirrored:
        to_view = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]]) @ to_view
    aspect = wide / tall
    views = []
    for t in range(frames):
        at = (t - (frames - 1) / 2) / max(1, frames - 1) * 2  # -1..1
        angle, scale = roll + turn * at, float(np.exp(zoom * at))
        c, s = np.cos(angle) * scale, np.sin(angle) * scale
        x, y = shift * at + shake[t]
        middle = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
        turned = np.array([[c, -s / aspect, x], [s * aspect, c, y], [tilt[0] * at, tilt[1] * at, 1]])
        views.append(np.linalg.inv(middle) @ turned @ middle @ to_view)
    return views


def seen(image: Rgb, view: NDArray[np.float64], size: tuple[int, int]) -> Rgb:
    """A picture through a view of `camera_path` at `size` (w, h); its edge goes on beyond it."""
    whole = np.diag([size[0], size[1], 1.0]) @ view
    small = _shrunk(image, whole)
    if small is not image:
        factor = (small.shape[1] / image.shape[1], small.shape[0] / image.shape[0])
        whole = whole @ np.diag([1 / factor[0], 1 / factor[1], 1.0])
    return np.asarray(
        cv2.warpPerspective(small, whole, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def ids_seen(labels: NDArray[np.uint8], view: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Ids [H, W] through the same view; beyond the edge there is nothing that is known."""
    whole = np.diag([size[0], size[1], 1.0]) @ view
    return np.asarray(cv2.warpPerspective(labels, whole, size, flags=cv2.INTER_NEAREST), np.uint8)


def _shrunk(image: Rgb, whole: NDArray[np.float64]) -> Rgb:
    """The picture as small as it is seen, by areas: a warp alone would let fine patterns flicker."""
    scale = float(np.sqrt(abs(np.linalg.det(whole[:2, :2] / whole[2, 2]))))
    if scale > 0.7:
        return image
    width, height = max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
