"""What moves in a clip: pushes, by an arm or by themselves, drops, carries, slides behind something, passing panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.arm import ARM, arm_path, clear_direction, facing
from villa.data.scenes.hand import HAND, HELD, hold
from villa.data.scenes.objects import ObjectModel
from villa.data.scenes.physics import mujoco
from villa.data.scenes.view import CameraPath

F64 = NDArray[np.float64]
KINDS_OF_MOTION = ("pushed", "dropped", "carried", "behind", "occluder", ARM)
_ODDS = (0.2, 0.15, 0.15, 0.17, 0.18, 0.15)
PANEL = "panel"
LONGEST_S = 3.2  # a motion takes no longer, however long the clip is
_PACE_S = 4.0  # a long clip has about one motion in so many
_ORDERED = 0.5  # of the clips with several motions of objects: they begin clearly one after the other
_APART_FRAMES = 4
_FEWEST_FRAMES = 12  # of a clip in which motions can have an order
_ABOVE_M = 3.5  # out of every picture: where a thing waits that is dropped later in a clip
_LOST_M = -0.1  # height of what fell off the table, which nothing moves any more
_LOWERED_FRAMES = 2  # that it takes to come down into the picture
_SHOWN = 0.5  # of what a hand carries
_SETTLING_STEPS = (120, 1200, 20)  # of the physics before a clip: fewest, most, and after how many it looks again
_AT_REST_M_S = 0.003  # while it settles; slower than that, nothing is seen to move
_SPIN = (0.4, 0.4, 1.0)  # rad/s, mostly about the vertical


@dataclass(frozen=True)
class Motion:
    """One motion over frames first..last (inclusive).

    `path` [N, 3] m has one point a frame of the clip: where the object's origin or the panel's middle is to be.
    For a drop it is where the object is held until `last`, above the picture before `first`. `tool` is the path of the
    arm or the hand that does it, where one is seen.
    """

    kind: str
    subject: int  # index of the object; -1 for the panel
    first: int
    last: int
    path: F64
    quaternion: F64 = field(default_factory=lambda: np.array([1.0, 0.0, 0.0, 0.0]))
    size: F64 = field(default_factory=lambda: np.zeros(3))
    tool: F64 | None = None
    spin: F64 = field(default_factory=lambda: np.zeros(3))  # rad/s about its own axes, of what is carried

    @property
    def body(self) -> str | None:
        """What is moved beside the object, or alone: the panel, the arm, a hand; None: the object moves by itself."""
        if self.subject < 0:
            return PANEL
        if self.tool is None:
            return None
        return ARM if self.kind == ARM else HAND

    @property
    def begins(self) -> int:
        """Frame on which it is seen to move: what is dropped hangs still until it is let go."""
        return self.last if self.kind == "dropped" and self.first == 0 else self.first


def _ease(frames: int, first: int, last: int) -> F64:
    share = np.clip((np.arange(frames) - first) / max(last - first, 1), 0.0, 1.0)
    return share * share * (3 - 2 * share)


def _span(begin: int, frames: int, rng: np.random.Generator) -> tuple[int, int]:
    """First and last frame of a motion within `frames` frames from `begin` on."""
    first = int(rng.integers(0, max(1, frames // 4)))
    last = min(frames - 1, first + int(rng.integers(max(2, frames // 2), max(3, frames))))
    return begin + first, begin + last


def _on_table(point: F64) -> F64:
    return np.array([np.clip(point[0], -0.42, 0.42), np.clip(point[1], -0.32, 0.32), *point[2:]])


def _panel(camera: CameraPath, frames: int, begin: int, span: int, rng: np.random.Generator) -> Motion:
    """A panel that passes in front of the camera over `span` frames, and in one of three clips comes back."""
    share = float(rng.uniform(0.45, 0.65))  # of the way from the camera to where it looks
    distance = float(np.linalg.norm(camera.position[0])) * share
    width, height = rng.uniform(0.05, 0.13) * distance / 0.5, rng.uniform(0.15, 0.4) * distance / 0.5
    half_view = distance * camera.width / 2.0 / camera.focal_px + width
    side = float(rng.choice([-1, 1]))
    part = np.clip((np.arange(frames) - begin - span * 0.08) / (span * 0.84), 0, 1)
    if rng.random() < 0.4:  # in, and back again
        part = 1.0 - np.abs(2.0 * part - 1.0)
    across = side * half_view * (2.0 * part - 1.0)
    right, up, back = camera.rotation[begin].T
    middle = camera.position[begin] - back * distance + up * rng.uniform(-0.25, 0.1) * distance
    path = middle + across[:, None] * right
    return Motion("occluder", -1, 0, frames - 1, path, _turned(camera, begin), np.array([width, height, 0.004]))


def _turned(camera: CameraPath, frame: int) -> F64:
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, camera.rotation[frame].reshape(-1))
    return quaternion


def _behind(
    objects: Sequence[ObjectModel],
    places: F64,
    camera: CameraPath,
    frames: int,
    span: tuple[int, int],
    used: set[int],
    rng: np.random.Generator,
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
    if mover in used:
        return None
    away = places[screen] - camera.position[span[0], :2]
    away /= np.linalg.norm(away)
    across = np.array([-away[1], away[0]]) * rng.choice([-1, 1])
    gap = objects[screen].radius + objects[mover].radius + 0.015
    middle = places[screen] + away * gap
    reach = float(rng.uniform(0.14, 0.24))
    part = _ease(frames, span[0], span[1] - 1)
    ends = (_on_table(middle - across * reach), _on_table(middle + across * reach))
    path = np.zeros((frames, 3))
    path[:, :2] = ends[0] + part[:, None] * (ends[1] - ends[0])
    path[:, 2] = 0.004
    return Motion("behind", mover, *span, path)


def plan_motions(
    objects: Sequence[ObjectModel],
    places: F64,
    camera: CameraPath,
    frames: int,
    rng: np.random.Generator,
    fps: float = 5.0,
    hands: float = 0.0,
) -> list[Motion]:
    """Up to three motions of different objects, in long clips one for every few seconds and at most two for an object.

    At most one arm, one panel and one hand, which does a motion that it can with the odds of `hands`.

    With a moving camera there are sometimes none.
    """
    span = min(frames, max(2, round(LONGEST_S * fps)))
    slots = max(1, round(frames / fps / _PACE_S)) if frames > span else 1
    ordered = frames >= _FEWEST_FRAMES and bool(rng.random() < _ORDERED)
    motions: list[Motion] = []
    used: set[int] = set()
    places = np.array(places, np.float64)  # where things are to be by then
    for slot in range(slots):
        # Several in one short clip; one after the other in a long one.
        low = int(camera.moves == "still")
        count = int(rng.integers(low, low + 3)) if slots == 1 else 1
        begin = 0 if slots == 1 else min(round(slot * frames / slots), frames - span)
        done = {motion.kind for motion in motions if motion.kind in ("occluder", ARM)}
        odds = np.array([0.0 if kind in done else share for kind, share in zip(KINDS_OF_MOTION, _ODDS, strict=True)])
        # In a long clip the others stand by for a kind that finds no room.
        drawn = count if slots == 1 else int(np.count_nonzero(odds))
        for kind in rng.choice(KINDS_OF_MOTION, size=drawn, replace=False, p=odds / odds.sum()):
            window = (begin, span)
            movers = [motion for motion in motions if motion.subject >= 0 and motion.first >= begin]
            if ordered and movers:
                late = movers[-1].begins + _APART_FRAMES - begin
                window = (begin + late, span - late) if span - late >= _APART_FRAMES else window
            # What waits above the picture cannot have moved before, so that nothing is dropped that did.
            busy = {motion.subject for motion in motions} if kind == "dropped" else used
            motion = _planned(str(kind), objects, places, camera, frames, window, busy, rng)
            if motion is None:
                continue
            free = hands > 0 and all(other.body != HAND for other in motions)
            if free and motion.kind in HELD and rng.random() < hands:
                motion = _by_hand(motion, objects[motion.subject], camera, rng)
            motions.append(motion)
            if motion.subject >= 0:
                if slots == 1 or any(motion.subject == other.subject for other in motions[:-1]):
                    used.add(motion.subject)
                places[motion.subject] = motion.path[motion.last, :2]
            if slots > 1:
                break
    return motions


def _planned(
    kind: str,
    objects: Sequence[ObjectModel],
    places: F64,
    camera: CameraPath,
    frames: int,
    window: tuple[int, int],
    used: set[int],
    rng: np.random.Generator,
) -> Motion | None:
    """A motion of a kind that begins and ends within `window`, (begin, length); None where it finds no room."""
    begin, length = window
    if kind == "occluder":
        return _panel(camera, frames, begin, length, rng)
    first, last = _span(begin, length, rng)
    if kind == "behind":
        whole = (begin, begin + length - 1)
        return _behind(objects, places, camera, frames, whole, used, rng)
    free = [index for index in range(len(objects)) if index not in used]
    if not free:
        return None
    subject = int(rng.choice(free))
    start = np.array([*places[subject], 0.002])
    if kind == "dropped":
        last = begin + int(rng.integers(1, max(2, length // 2)))
        path = np.tile([*start[:2], rng.uniform(0.12, 0.9)], (frames, 1))
        if begin == 0:
            return Motion("dropped", subject, 0, last, path)
        path[: begin - _LOWERED_FRAMES, 2] = _ABOVE_M
        path[begin - _LOWERED_FRAMES : begin, 2] = np.linspace(1.4, path[begin, 2], _LOWERED_FRAMES + 1)[:-1]
        return Motion("dropped", subject, begin - _LOWERED_FRAMES, last, path)
    way = float(rng.uniform(0.1, 0.28))
    if kind == ARM:
        direction = clear_direction(objects, places, subject, way, rng)
        if direction is None:
            return None
        goal = start + way * np.array([*direction, 0.0])
        path = start + _ease(frames, first, last)[:, None] * (goal - start)
        tool = arm_path(path, direction, objects[subject], first, last, camera)
        return Motion(ARM, subject, first, last, path, facing(direction), tool=tool)
    turn = rng.uniform(0, 2 * np.pi)
    goal = start.copy()
    goal[:2] = _on_table(start[:2] + way * np.array([np.cos(turn), np.sin(turn)]))
    path = start + _ease(frames, first, last)[:, None] * (goal - start)
    if kind == "carried":
        path[:, 2] += rng.uniform(0.05, 0.22) * np.sin(np.pi * _ease(frames, first, last))
    return Motion(kind, subject, first, last, path)


def _by_hand(motion: Motion, subject: ObjectModel, camera: CameraPath, rng: np.random.Generator) -> Motion:
    """The same motion, of what a hand holds; half of what is carried is held before the camera and turned."""
    if motion.kind == "carried" and rng.random() < _SHOWN:
        motion = replace(motion, path=brought_near(motion, camera, rng), spin=rng.normal(0.0, _SPIN, 3))
    tool, direction = hold(subject, motion.path, motion.first, motion.last, camera, rng)
    return replace(motion, tool=tool, quaternion=facing(direction))


def brought_near(motion: Motion, camera: CameraPath, rng: np.random.Generator) -> F64:
    """A path [N, 3] m with the ends of the motion's that comes near the camera in between."""
    frames = len(motion.path)
    share = rng.uniform(0.2, 0.6) * np.sin(np.pi * _ease(frames, motion.first, motion.last))
    return motion.path + share[:, None] * (camera.position[:frames] - motion.path)


def plan_cover(
    objects: Sequence[ObjectModel], places: F64, camera: CameraPath, frames: int, rng: np.random.Generator
) -> list[Motion]:
    """A panel comes before one object, stays so long that it is lost from sight, and leaves; the object may slide.

    For a camera that stands still, and clips of at least 40 frames.
    """
    subject = int(rng.choice([i for i, item in enumerate(objects) if item.height < 0.2] or range(len(objects))))
    item = objects[subject]
    come, stay, leave = int(rng.integers(10, 16)), int(rng.integers(6, 12)), int(rng.integers(3, 6))
    slides = bool(rng.random() < 0.4)
    way = float(rng.uniform(0.05, 0.1)) if slides else 0.0
    share = float(rng.uniform(0.55, 0.7))
    eye = camera.position[0]
    target = np.array([*places[subject], item.height / 2])
    right = camera.rotation[0][:, 0]
    at = eye + share * (target - eye)
    half = np.array([item.radius + way + 0.03, 0.5 * item.height + 0.5 * item.radius + 0.03]) * share * 1.2
    out = float(np.linalg.norm(at - eye)) * camera.width / camera.focal_px + 2 * half[0]
    side = float(rng.choice([-1, 1]))
    frame = np.arange(frames)
    share_in = np.clip((frame - (come - 4)) / 4, 0, 1)
    share_out = np.clip((frame - (come + stay)) / leave, 0, 1)
    across = side * out * (1 - share_in) - float(rng.choice([-1, 1])) * side * out * share_out
    path = at + across[:, None] * right
    panel = Motion("occluder", -1, 0, frames - 1, path, _turned(camera, 0), np.array([half[0], half[1], 0.004]))
    if not slides:
        return [panel]
    start = np.array([*places[subject], 0.002])
    level = np.array([right[0], right[1]]) / np.linalg.norm(right[:2])
    goal = start.copy()
    goal[:2] = _on_table(start[:2] + way * float(rng.choice([-1, 1])) * level)
    move = start + _ease(frames, come + 1, come + stay - 1)[:, None] * (goal - start)
    return [panel, Motion("pushed", subject, come + 1, come + stay - 1, move)]


def _number(body: str) -> int:
    """Index of the object whose body this is, -1 where it is none."""
    return int(body.removeprefix("object")) if body.startswith("object") else -1


class Mover:
    """Drives the physics of one scene along its motions."""

    def __init__(self, model: Any, motions: Sequence[Motion], steps_per_frame: int) -> None:
        self._model = model
        self._motions = motions
        self._steps = steps_per_frame
        self._gain = 1.0 / (0.25 * steps_per_frame * float(model.opt.timestep))
        bodies = [_number(model.body(body).name) for body in range(model.nbody)]
        self._object_of_geom = np.array([bodies[int(body)] for body in model.geom_bodyid], np.int64)
        held = {motion.subject for motion in motions if motion.first == 0 or motion.kind == "dropped"}
        self._free = [body for body, number in enumerate(bodies) if number >= 0 and number not in held]
        # How far from its path's start a thing is by then [3] m: something may have knocked it, or moved it before.
        self._aside = [np.zeros(3) for _ in motions]

    def _address(self, motion: Motion) -> tuple[int, int]:
        joint = self._model.joint(f"object{motion.subject}_free")
        return int(joint.qposadr[0]), int(joint.dofadr[0])

    def place(self, data: Any) -> None:
        """Put what moves at the start of its first path."""
        for number, motion in reversed(list(enumerate(self._motions))):
            if motion.subject >= 0:
                position, _ = self._address(motion)
                data.qpos[position : position + 3] = motion.path[0]
            self._show(data, number, 0, 0.0)

    def _show(self, data: Any, number: int, frame: int, part: float) -> None:
        """Put panel, arm or hand where it is `part` of the way from a frame to the next one."""
        motion = self._motions[number]
        path = motion.path if motion.subject < 0 else motion.tool
        if path is not None:
            following = path[min(frame + 1, len(path) - 1)]
            place = (1 - part) * path[frame] + part * following + self._aside[number]
            data.mocap_pos[int(self._model.body(motion.body).mocapid[0])] = place

    def settle(self, data: Any) -> None:
        """Let everything come to rest, with what is moved or held kept at its start."""
        fewest, most, every = _SETTLING_STEPS
        last = np.inf
        for step in range(most):
            if step >= fewest - every and not step % every:
                speed = self._fastest(data)
                # What turns back in falling over is slow for a moment.
                if step >= fewest and (speed < _AT_REST_M_S / 3 or max(speed, last) < _AT_REST_M_S):
                    break
                last = speed
            self._guide(data, 0, 0.0)
            mujoco.mj_step(self._model, data)
            data.qvel[:] *= 0.97  # a settled table is wanted, not the way to it
        data.qvel[:] = 0.0

    def _fastest(self, data: Any) -> float:
        """Speed in m/s of the middle of mass of the fastest thing that is free to move."""
        return float(np.linalg.norm(data.cvel[self._free, 3:], axis=1).max(initial=0.0))

    def advance(self, data: Any, frame: int) -> frozenset[tuple[int, int]]:
        """Simulate from `frame` to the next one; returns the pairs of objects that touch each other on the way."""
        touching: set[tuple[int, int]] = set()
        for step in range(self._steps):
            self._guide(data, frame, (step + 1) / self._steps)
            mujoco.mj_step(self._model, data)
            pairs = np.sort(self._object_of_geom[data.contact.geom[: data.ncon]], axis=1)
            touching.update((int(one), int(other)) for one, other in pairs if 0 <= one < other)
        return frozenset(touching)

    def _guide(self, data: Any, frame: int, part: float) -> None:
        for number, motion in enumerate(self._motions):
            held = motion.kind == "dropped"
            if motion.subject >= 0:
                position, velocity = self._address(motion)
                if frame < motion.first and not held:
                    self._aside[number][:2] = data.qpos[position : position + 2] - motion.path[motion.first, :2]
            self._show(data, number, frame, part)
            if motion.subject < 0 or frame > motion.last or (frame < motion.first and not held):
                continue
            if not held and data.qpos[position + 2] < _LOST_M:
                continue
            following = min(frame + 1, len(motion.path) - 1)
            goal = (1 - part) * motion.path[frame] + part * motion.path[following] + self._aside[number]
            error = goal - data.qpos[position : position + 3]
            if motion.kind in ("dropped", "carried"):
                data.qvel[velocity : velocity + 3] = error * self._gain
                data.qvel[velocity + 3 : velocity + 6] = motion.spin
                # Gravity would pull it below the path by the time the step ends.
                data.qvel[velocity + 2] -= self._model.opt.gravity[2] * self._model.opt.timestep
            else:
                data.qvel[velocity : velocity + 2] = np.clip(error[:2] * self._gain, -0.6, 0.6)
                data.qvel[velocity + 3 : velocity + 5] *= 0.5
