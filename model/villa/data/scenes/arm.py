"""A plain robot arm that comes into the picture, pushes one object and draws back.

It is seen by the camera and has no mask: to requests it is no object. It does not touch: what it pushes is guided along
a path, and the arm keeps right behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.objects import ObjectModel
from villa.data.scenes.physics import mujoco
from villa.data.scenes.view import CameraPath

F64 = NDArray[np.float64]
ARM = "arm"
RISE = 0.75  # of a forearm, for each metre back from gripper or palm
REACH_M = 2.2  # length of a forearm on the ground: its end is never seen
_APPROACH_FRAMES = 4
_THICK_M = 0.05  # half of the thickest part, and some air
_PARKED = np.array([0.0, 0.0, -40.0])  # below the floor
_FOOT_M = 0.002  # height of the path of what stands on the table
_FINGERS_M = 0.012  # half the depth of the gripper, and some air
_DIRECTIONS = 12  # tried


def clear_direction(
    objects: Sequence[ObjectModel], places: F64, subject: int, way_m: float, rng: np.random.Generator
) -> F64 | None:
    """A direction [x, y] in which the subject can be pushed `way_m` and the arm behind it stays clear; None: none."""
    others = [index for index in range(len(objects)) if index != subject]
    for angle in rng.permutation(_DIRECTIONS) * 2 * np.pi / _DIRECTIONS + rng.uniform(0, 2 * np.pi):
        direction = np.array([np.cos(angle), np.sin(angle)])
        goal = places[subject] + way_m * direction
        if abs(goal[0]) > 0.42 or abs(goal[1]) > 0.32 or direction[1] < -0.55:  # towards the camera hides too much
            continue
        if all(_clear_of(objects[i], places[i], objects[subject], places[subject], direction, way_m) for i in others):
            return direction
    return None


def _clear_of(other: ObjectModel, place: F64, subject: ObjectModel, start: F64, direction: F64, way_m: float) -> bool:
    gap = place - start
    along, aside = float(gap @ direction), abs(float(gap[0] * direction[1] - gap[1] * direction[0]))
    if -0.02 < along < way_m + subject.radius + other.radius and aside < subject.radius + other.radius:
        return False  # in the way of what is pushed
    back = -along - subject.radius
    under = other.height > 0.02 + RISE * max(0.0, back - other.radius)
    return not (back > -other.radius and aside < other.radius + 0.05 and under)


def way_out(at: F64, direction: F64, camera: CameraPath, frames: range) -> float:
    """How far back, in m on the ground, a gripper at `at` [3] m has to draw to be out of the picture on `frames`.

    The arm draws back along its forearm: a straight line leaves the picture once, and all behind the gripper with it.
    """
    back = np.arange(0.0, REACH_M, 0.02)
    line = at + back[:, None] * np.array([-direction[0], -direction[1], RISE])
    farthest = 0.0
    for frame in frames:
        column, row, depth = camera.project(line, frame).T
        margin = camera.focal_px * _THICK_M / np.maximum(depth, 0.02)
        across, down = np.abs(column - camera.width / 2), np.abs(row - camera.height / 2)
        seen = (depth > 0.02) & (across < camera.width / 2 + margin) & (down < camera.height / 2 + margin)
        farthest = max(farthest, float(back[seen].max(initial=0.0)))
    return farthest + 0.04


def arm_path(path: F64, direction: F64, subject: ObjectModel, first: int, last: int, camera: CameraPath) -> F64:
    """Where the gripper is [N, 3] m while the subject follows `path` [N, 3] m over frames first..last."""
    height = float(np.clip(0.45 * subject.height, 0.015, 0.06))
    return tool_path(path, direction, subject.radius + _FINGERS_M, height, first, last, camera)


def tool_path(
    path: F64, direction: F64, gap_m: float, height_m: float, first: int, last: int, camera: CameraPath
) -> F64:
    """Where a tool is [N, 3] m: `gap_m` behind what follows `path` [N, 3] m, and `height_m` above its foot.

    It comes in from outside the picture before frame `first`, and is outside again when it has drawn back after `last`.
    """
    back = np.array([-direction[0], -direction[1], 0.0])
    rise = np.array([0.0, 0.0, RISE])
    out = np.tile(_PARKED, (len(path), 1))
    nearby = range(max(0, first - _APPROACH_FRAMES), min(len(path), last + _APPROACH_FRAMES + 1))
    before, after = range(nearby.start, first + 1), range(last, nearby.stop)

    def beside(frame: int) -> F64:
        return np.array([*(path[frame] + back * gap_m)[:2], height_m + path[frame, 2] - _FOOT_M])

    for frames, held in ((before, first), (after, last)):
        at = beside(held)
        far = way_out(at, direction, camera, frames)
        for frame in frames:
            out[frame] = at + far * abs(frame - held) / _APPROACH_FRAMES * (back + rise)
    for frame in range(first, last + 1):
        out[frame] = beside(frame)
    return out


def facing(direction: F64) -> F64:
    """Quaternion w x y z that turns the arm's x axis into a direction [x, y]."""
    yaw = float(np.arctan2(direction[1], direction[0]))
    return np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])


def tool_body(spec: Any, name: str, at: F64, quaternion: F64) -> Callable[..., None]:
    """Add a body that is moved from outside and that nothing bumps into.

    Returns what adds a part to it: called with shape, colour [3], size and where it is, in MuJoCo's terms.
    """
    body = spec.worldbody.add_body(name=name, mocap=True)
    body.pos, body.quat = at, quaternion

    def add(shape: Any, colour: Sequence[float] | F64, size: Sequence[float], **place: Sequence[float]) -> None:
        body.add_geom(type=shape, size=size, rgba=[*colour, 1.0], contype=0, conaffinity=0, group=0, **place)

    return add


def add_arm(spec: Any, at: F64, quaternion: F64, rng: np.random.Generator) -> None:
    """Add the arm: its origin is the middle of the gripper, its x axis the direction of the push."""
    add = tool_body(spec, ARM, at, quaternion)
    gray, dark = float(rng.uniform(0.55, 0.8)), float(rng.uniform(0.12, 0.25))

    def part(shape: Any, shade: float, size: Sequence[float], **place: Sequence[float]) -> None:
        add(shape, (shade, shade, shade * 1.03), size, **place)

    capsule, box = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_BOX
    wrist, elbow = (-0.06, 0.0, 0.05), (-REACH_M, 0.0, 0.05 + RISE * (REACH_M - 0.06))
    part(box, dark, (0.006, 0.034, 0.016), pos=(0.0, 0.0, 0.0))  # the plate that pushes
    part(box, dark, (0.016, 0.022, 0.013), pos=(-0.022, 0.0, 0.006))
    part(capsule, gray, (0.02, 0.0, 0.0), fromto=(-0.03, 0.0, 0.01, *wrist))
    part(capsule, dark, (0.027, 0.0, 0.0), fromto=(wrist[0], -0.02, wrist[2], wrist[0], 0.02, wrist[2]))
    part(capsule, gray, (0.03, 0.0, 0.0), fromto=(*wrist, *elbow))
