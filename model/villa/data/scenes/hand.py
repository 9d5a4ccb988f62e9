"""A bare hand that comes into the picture, takes hold of one object, moves it and draws back, as people do.

As the arm it is seen by the camera, has no mask and touches nothing: what it holds is guided along a path, and the hand
keeps with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.arm import REACH_M, RISE, tool_body, tool_path
from villa.data.scenes.objects import ObjectModel
from villa.data.scenes.physics import mujoco
from villa.data.scenes.view import CameraPath

F64 = NDArray[np.float64]
HAND = "hand"
HELD = ("pushed", "dropped", "carried", "behind")  # kinds of motion that a hand may do
_PALM_M = 0.018  # half its thickness
_WIDEST_M = 0.05  # half of the widest thing that fingers go round; a larger one is held by what is near
_SKINS = (
    (0.96, 0.80, 0.69), (0.89, 0.69, 0.55), (0.80, 0.58, 0.43),
    (0.66, 0.45, 0.31), (0.47, 0.31, 0.22), (0.30, 0.20, 0.15),
)  # fmt: skip


def hold(
    subject: ObjectModel, path: F64, first: int, last: int, camera: CameraPath, rng: np.random.Generator
) -> tuple[F64, F64]:
    """Where the palm is [N, 3] m while the subject follows `path` [N, 3] m, and the direction [x, y] it points in.

    It comes from where people sit: from the sides, or from the camera's own, seldom from across the table.
    """
    angle = float(np.clip(rng.normal(0.0, 1.0), -2.6, 2.6)) + np.pi / 2  # 90 degrees: away from the camera
    direction = np.array([np.cos(angle), np.sin(angle)])
    height = float(rng.uniform(0.4, 0.8)) * subject.height
    return tool_path(path, direction, _grip(subject) + _PALM_M, max(height, 0.02), first, last, camera), direction


def _grip(subject: ObjectModel) -> float:
    return min(subject.radius, _WIDEST_M)


def add_hand(spec: Any, at: F64, quaternion: F64, subject: ObjectModel, rng: np.random.Generator) -> None:
    """Add the hand: its origin is the middle of the palm, its x axis points at the middle of what it holds."""
    part = tool_body(spec, HAND, at, quaternion)
    skin = np.clip(np.asarray(_SKINS[int(rng.integers(len(_SKINS)))]) * rng.uniform(0.9, 1.08, 3), 0, 1)
    capsule, ellipsoid = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_ELLIPSOID
    radius, side = _grip(subject), float(rng.choice([-1.0, 1.0]))  # a left or a right one

    def bent(joints: Sequence[tuple[float, float, float]], thick: float) -> None:
        for begin, end in pairwise(joints):
            part(capsule, skin, (thick, 0.0, 0.0), fromto=(*begin, *end))

    part(ellipsoid, skin, (_PALM_M + 0.004, 0.042, 0.044), pos=(-0.006, 0.0, 0.0))
    for finger in range(4):
        z, length = 0.03 - 0.019 * finger, (1.0, 1.1, 1.05, 0.85)[finger]
        around = [(0.0, 0.028), (0.012 + 0.6 * radius, radius + 0.012), (0.012 + length * 1.6 * radius, 0.75 * radius)]
        bent([(x, side * y, z) for x, y in around], 0.009)
    around = [(-0.004, -0.03), (0.012 + 0.5 * radius, -radius - 0.012), (0.012 + 1.3 * radius, -0.7 * radius)]
    bent([(x, side * y, 0.018) for x, y in around], 0.011)
    wrist = (-0.07, 0.0, 0.045)
    elbow = (-REACH_M, 0.0, wrist[2] + RISE * (REACH_M - 0.07))
    cuff = float(rng.uniform(0.1, 0.35))
    sleeve = (-cuff, 0.0, wrist[2] + RISE * (cuff - 0.07))
    part(capsule, skin, (0.027, 0.0, 0.0), fromto=(-0.02, 0.0, 0.0, *wrist))
    part(capsule, skin, (0.03, 0.0, 0.0), fromto=(*wrist, *sleeve))
    part(capsule, rng.uniform(0.08, 0.85, 3), (0.043, 0.0, 0.0), fromto=(*sleeve, *elbow))
