"""What moves in a clip: pushes, drops, carries, slides behind something, and a panel that passes in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.data.objects import ObjectModel
from villa.data.physics import mujoco
from villa.data.view import CameraPath

F64 = NDArray[np.float64]
KINDS_OF_MOTION = ("pushed", "dropped", "carried", "behind", "occluder")
_ODDS = (0.3, 0.13, 0.15, 0.2, 0.22)


@dataclass(frozen=True)
class Motion:
    """One motion over frames first..last (inclusive).

    `path` [N, 3] m has one point a frame of the clip: where the object's origin or the panel's middle is to be.
    For a drop it is where the object is held until `last`.
    """

    kind: str
    subject: int  # index of the object; -1 for the panel
    first: int
    last: int
    path: F64
    quaternion: F64 = field(default_factory=lambda: np.array([1.0, 0.0, 0.0, 0.0]))
    size: F64 = field(default_factory=lambda: np.zeros(3))


def _ease(frames: int, first: int, last: int) -> F64:
    share = np.clip((np.arange(frames) - first) / max(last - first, 1), 0.0, 1.0)
    return share * share * (3 - 2 * share)


def _span(frames: int, rng: np.random.Generator) -> tuple[int, int]:
    first = int(rng.integers(0, max(1, frames // 4)))
    last = min(frames - 1, first + int(rng.integers(max(2, frames // 2), frames)))
    return first, last


def _on_table(point: F64) -> F64:
    return np.array([np.clip(point[0], -0.42, 0.42), np.clip(point[1], -0.32, 0.32), *point[2:]])


def _panel(camera: CameraPath, frames: int, rng: np.random.Generator) -> Motion:
    first, last = 0, frames - 1
    share = float(rng.uniform(0.45, 0.65))  # of the way from the camera to where it looks
    distance = float(np.linalg.norm(camera.position[0])) * share
    width, height = rng.uniform(0.05, 0.13) * distance / 0.5, rng.uniform(0.15, 0.4) * distance / 0.5
    half_view = distance * camera.width / 2.0 / camera.focal_px + width
    side = float(rng.choice([-1, 1]))
    part = np.clip((np.arange(frames) - frames * 0.08) / (frames * 0.84), 0, 1)
    if rng.random() < 0.4:  # in, and back again
        part = 1.0 - np.abs(2.0 * part - 1.0)
    across = side * half_view * (2.0 * part - 1.0)
    right, up, back = camera.rotation[0].T
    middle = camera.position[0] - back * distance + up * rng.uniform(-0.25, 0.1) * distance
    path = middle + across[:, None] * right
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, camera.rotation[0].reshape(-1))
    return Motion("occluder", -1, first, last, path, quaternion, np.array([width, height, 0.004]))


def _behind(
    objects: Sequence[ObjectModel], places: F64, camera: CameraPath, frames: int, rng: np.random.Generator
) -> Motion | None:
    """A smaller object slides behind a taller one, as the camera sees it."""
    tall = [i for i, item in enumerate(objects) if item.height > 0.07]
    if not tall:
        return None
    screen = int(rng.choice(tall))
    movers = [i for i, item in enumerate(objects) if i != screen and item.height < objects[screen].height]
    if not movers:
        return None
    mover = int(rng.choice(movers))
    away = places[screen] - camera.position[0, :2]
    away /= np.linalg.norm(away)
    across = np.array([-away[1], away[0]]) * rng.choice([-1, 1])
    gap = objects[screen].radius + objects[mover].radius + 0.015
    middle = places[screen] + away * gap
    reach = float(rng.uniform(0.14, 0.24))
    first, last = 0, frames - 1
    part = _ease(frames, first, last - 1)
    ends = (_on_table(middle - across * reach), _on_table(middle + across * reach))
    path = np.zeros((frames, 3))
    path[:, :2] = ends[0] + part[:, None] * (ends[1] - ends[0])
    path[:, 2] = 0.004
    return Motion("behind", mover, first, last, path)


def plan_motions(
    objects: Sequence[ObjectModel], places: F64, camera: CameraPath, frames: int, rng: np.random.Generator
) -> list[Motion]:
    """One or two motions of different objects; with a moving camera sometimes none."""
    count = int(rng.integers(0, 3)) if camera.moves != "still" else int(rng.integers(1, 3))
    chosen = rng.choice(KINDS_OF_MOTION, size=count, replace=False, p=_ODDS)
    motions: list[Motion] = []
    used: set[int] = set()
    for kind in chosen:
        if kind == "occluder":
            motions.append(_panel(camera, frames, rng))
            continue
        if kind == "behind":
            planned = _behind(objects, places, camera, frames, rng)
            if planned is not None and planned.subject not in used:
                motions.append(planned)
                used.add(planned.subject)
            continue
        free = [index for index in range(len(objects)) if index not in used]
        if not free:
            continue
        subject = int(rng.choice(free))
        used.add(subject)
        first, last = _span(frames, rng)
        start = np.array([*places[subject], 0.002])
        turn = rng.uniform(0, 2 * np.pi)
        goal = start.copy()
        goal[:2] = _on_table(start[:2] + rng.uniform(0.1, 0.28) * np.array([np.cos(turn), np.sin(turn)]))
        if kind == "dropped":
            last = int(rng.integers(1, max(2, frames // 2)))
            path = np.tile([*start[:2], rng.uniform(0.12, 0.9)], (frames, 1))
            motions.append(Motion("dropped", subject, 0, last, path))
            continue
        path = start + _ease(frames, first, last)[:, None] * (goal - start)
        if kind == "carried":
            path[:, 2] += rng.uniform(0.05, 0.22) * np.sin(np.pi * _ease(frames, first, last))
        motions.append(Motion(str(kind), subject, first, last, path))
    return motions


class Mover:
    """Drives the physics of one scene along its motions."""

    def __init__(self, model: Any, motions: Sequence[Motion], steps_per_frame: int) -> None:
        self._model = model
        self._motions = motions
        self._steps = steps_per_frame
        self._gain = 1.0 / (0.25 * steps_per_frame * float(model.opt.timestep))

    def _address(self, motion: Motion) -> tuple[int, int]:
        joint = self._model.joint(f"object{motion.subject}_free")
        return int(joint.qposadr[0]), int(joint.dofadr[0])

    def place(self, data: Any) -> None:
        """Put what moves at the start of its path."""
        for motion in self._motions:
            if motion.subject >= 0:
                position, _ = self._address(motion)
                data.qpos[position : position + 3] = motion.path[0]
            else:
                data.mocap_pos[0] = motion.path[0]

    def settle(self, data: Any, steps: int) -> None:
        """Let everything come to rest, with what is moved or held kept at its start."""
        for _ in range(steps):
            self._guide(data, 0, 0.0)
            mujoco.mj_step(self._model, data)
            data.qvel[:] *= 0.97  # a settled table is wanted, not the way to it
        data.qvel[:] = 0.0

    def advance(self, data: Any, frame: int) -> None:
        """Simulate from `frame` to the next one."""
        for step in range(self._steps):
            self._guide(data, frame, (step + 1) / self._steps)
            mujoco.mj_step(self._model, data)

    def _guide(self, data: Any, frame: int, part: float) -> None:
        for motion in self._motions:
            if not motion.first <= frame <= motion.last:
                continue
            following = min(frame + 1, len(motion.path) - 1)
            goal = (1 - part) * motion.path[frame] + part * motion.path[following]
            if motion.subject < 0:
                data.mocap_pos[0] = goal
                continue
            position, velocity = self._address(motion)
            error = goal - data.qpos[position : position + 3]
            if motion.kind in ("dropped", "carried"):
                data.qvel[velocity : velocity + 3] = error * self._gain
                data.qvel[velocity + 3 : velocity + 6] = 0.0
                # Gravity would pull it below the path by the time the step ends.
                data.qvel[velocity + 2] -= self._model.opt.gravity[2] * self._model.opt.timestep
            else:
                data.qvel[velocity : velocity + 2] = np.clip(error[:2] * self._gain, -0.6, 0.6)
                data.qvel[velocity + 3 : velocity + 5] *= 0.5
