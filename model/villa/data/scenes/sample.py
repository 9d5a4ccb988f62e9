"""The sample scene: nine objects on a table, 45 s, and twelve requests with their ground truth.

It is rendered from shapes of robosuite and metaworld under surfaces drawn in `villa.data.scenes.sample_art`; scene,
layout, surfaces and phrasings are kept out of training. World frame: z up, table top at z = 0, metres.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.objects import ObjectModel
from villa.data.scenes.render import open_renderer
from villa.data.scenes.sample_art import add_stage, sample_models
from villa.data.scenes.scene import hidden_groups
from villa.data.scenes.view import CameraPath, look_at

WIDTH_PX, HEIGHT_PX = 640, 480
RATE_HZ = 10.0
DURATION_S = 45.0
FRAMES = round(DURATION_S * RATE_HZ)
SEED = 7
_TIMESTEP_S = 0.002
_FOVY_DEG = 42.0
_CAMERA_MOVES_S = (24.0, 31.0)

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class SampleRequest:
    """One request: when its last word is spoken, what it asks by, and the objects it means."""

    time_s: float
    text: str
    asks_by: str  # "colour", "name", "relation", "use", "several" or "absent"
    targets: tuple[str, ...] = ()

    @property
    def request_id(self) -> str:
        """Readable and stable: the time in tenths of a second, and the first target."""
        return f"sample-{round(self.time_s * 10):03d}-{self.targets[0] if self.targets else 'absent'}"


REQUESTS = (
    SampleRequest(2.05, "My coffee is in the blue mug, keep an eye on it.", "colour", ("blue_mug",)),
    SampleRequest(5.55, "That can over there, don't lose it please.", "name", ("soda_can",)),
    SampleRequest(9.05, "Watch where the ball goes.", "name", ("ball",)),
    SampleRequest(13.55, "Do we have a banana anywhere?", "absent"),
    SampleRequest(17.05, "Something sour just fell down, which one was it?", "use", ("lemon",)),
    SampleRequest(20.55, "I need both mugs for the dishwasher.", "several", ("blue_mug", "red_mug")),
    SampleRequest(24.05, "Whatever I would drive a nail with.", "use", ("hammer",)),
    SampleRequest(27.55, "Grab the milk carton before it gets warm.", "name", ("milk_carton",)),
    SampleRequest(31.05, "Has anyone left a green mug around?", "absent"),
    SampleRequest(34.55, "What stands right beside the milk carton, to its left?", "relation", ("cereal_box",)),
    SampleRequest(38.05, "I feel like reading, so hand me a book.", "absent"),
    SampleRequest(41.55, "Time for a sandwich: get the loaf.", "name", ("bread",)),
)


@dataclass(frozen=True)
class _Place:
    """Where an object stands at the start: x, y in m, turn about z in degrees."""

    x: float
    y: float
    turn_deg: float


_LAYOUT = {
    "cereal_box": _Place(-0.03, 0.15, 5.0),
    "milk_carton": _Place(0.125, 0.10, -12.0),
    "blue_mug": _Place(-0.29, 0.03, 200.0),
    "red_mug": _Place(-0.01, -0.12, -35.0),
    "soda_can": _Place(0.26, -0.01, -15.0),
    "bread": _Place(-0.20, -0.12, -32.0),
    "hammer": _Place(0.22, -0.21, 22.0),
    "ball": _Place(-0.34, 0.27, 0.0),
    "lemon": _Place(-0.08, -0.25, 40.0),
}
_AWAY = np.array([0.0, -3.0, 0.5])  # behind the camera, where the lemon waits
_DROP_S, _DROP_HEIGHT_M = 16.2, 0.62


@dataclass(frozen=True)
class _Guided:
    """An object led along the table: where it is (x, y) at some times, eased between them."""

    name: str
    times_s: tuple[float, ...]
    points: tuple[tuple[float, float], ...]
    rolls_m: float = 0.0  # radius if it rolls

    def at(self, time_s: float) -> F64:
        """Position x, y in m."""
        times, points = self.times_s, np.asarray(self.points)
        index = int(np.clip(np.searchsorted(times, time_s, "right") - 1, 0, len(times) - 2))
        share = np.clip((time_s - times[index]) / (times[index + 1] - times[index]), 0.0, 1.0)
        share = share * share * (3.0 - 2.0 * share)
        place: F64 = points[index] + share * (points[index + 1] - points[index])
        return place

    def active(self, time_s: float) -> bool:
        """Is it being led now?"""
        return self.times_s[0] <= time_s <= self.times_s[-1]


_GUIDED = (
    _Guided("soda_can", (6.6, 8.2), ((0.26, -0.01), (0.36, 0.09))),
    _Guided("ball", (10.2, 11.5, 11.7, 13.1), ((-0.34, 0.27), (-0.02, 0.26), (-0.02, 0.26), (0.3, 0.25)), 0.0374),
    _Guided("blue_mug", (32.0, 33.8), ((-0.29, 0.03), (-0.22, 0.15))),
)


@dataclass(frozen=True)
class SampleFrame:
    """One rendered frame."""

    index: int
    time_s: float
    rgb: NDArray[np.uint8]  # [480, 640, 3]
    instances: NDArray[np.uint8]  # [480, 640], 0 background, i + 1 for object i of `names`
    depth_m: NDArray[np.float32]  # [480, 640] along the optical axis


def names() -> tuple[str, ...]:
    """The objects in the order of their instance ids."""
    return tuple(_LAYOUT)


def focal_px() -> float:
    """Focal length in px, the same for x and y; the principal point is the image's middle."""
    return 0.5 * HEIGHT_PX / float(np.tan(np.radians(_FOVY_DEG) / 2.0))


def camera_path() -> CameraPath:
    """A still camera, then an orbit of a quarter right angle that comes closer, then still again."""
    position, rotation = np.empty((FRAMES, 3)), np.empty((FRAMES, 3, 3))
    begin, end = _CAMERA_MOVES_S
    for frame in range(FRAMES):
        share = float(np.clip((frame / RATE_HZ - begin) / (end - begin), 0.0, 1.0))
        share = share * share * (3.0 - 2.0 * share)
        around, above = np.radians(-4.0 + 27.0 * share), np.radians(32.0 + 5.0 * share)
        aim = np.array([0.0, 0.02, 0.03])
        away = np.array([np.sin(around) * np.cos(above), -np.cos(around) * np.cos(above), np.sin(above)])
        position[frame] = aim + (1.05 - 0.05 * share) * away
        rotation[frame] = look_at(position[frame], aim)
    return CameraPath(position, rotation, _FOVY_DEG, WIDTH_PX, HEIGHT_PX, "orbit")


def compose_sample() -> tuple[Any, tuple[ObjectModel, ...]]:
    """The compiled scene (bodies "object<i>", camera "camera") and its objects, in the order of `names`.

    Raises:
        OpenAssetError: robosuite or metaworld is not installed.
    """
    models = {item.key.removeprefix("sample/"): item for item in sample_models()}
    rng = np.random.default_rng(SEED)
    spec = mujoco.MjSpec()
    spec.option.timestep = _TIMESTEP_S
    spec.visual.global_.offwidth, spec.visual.global_.offheight = WIDTH_PX, HEIGHT_PX
    spec.visual.map.znear, spec.visual.map.zfar = 0.02, 12.0
    add_stage(spec)
    for index, (name, place) in enumerate(_LAYOUT.items()):
        body = models[name].attach(spec, f"object{index}", rng)
        body.pos = [place.x, place.y, 0.002]
        half = np.radians(place.turn_deg) / 2.0
        body.quat = [np.cos(half), 0.0, 0.0, np.sin(half)]
    spec.worldbody.add_camera(name="camera", fovy=_FOVY_DEG)
    return spec.compile(), tuple(models[name] for name in _LAYOUT)


class Choreography:
    """Moves the physics from frame to frame: pushes the can and a mug, rolls the ball, drops the lemon."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._substeps = round(1.0 / (RATE_HZ * _TIMESTEP_S))
        self._joint = {
            name: (int(joint.qposadr[0]), int(joint.dofadr[0]))
            for index, name in enumerate(_LAYOUT)
            for joint in (model.joint(f"object{index}_free"),)
        }

    def start(self, data: Any) -> None:
        """Let the table come to rest, the lemon out of sight."""
        for _ in range(500):
            self._hold_lemon(data)
            mujoco.mj_step(self._model, data)
            data.qvel[:] *= 0.95
        data.qvel[:] = 0.0
        data.time = 0.0
        self._hold_lemon(data)
        mujoco.mj_forward(self._model, data)

    def advance(self, data: Any) -> None:
        """Simulate to the next frame."""
        for _ in range(self._substeps):
            before, now = data.time, data.time + _TIMESTEP_S
            if before < _DROP_S <= now:
                self._release_lemon(data)
            elif now < _DROP_S:
                self._hold_lemon(data)
            for guided in _GUIDED:
                if guided.active(now):
                    self._lead(data, guided, now)
            mujoco.mj_step(self._model, data)

    def _hold_lemon(self, data: Any) -> None:
        position, velocity = self._joint["lemon"]
        data.qpos[position : position + 3] = _AWAY
        data.qvel[velocity : velocity + 6] = 0.0

    def _release_lemon(self, data: Any) -> None:
        position, velocity = self._joint["lemon"]
        place = _LAYOUT["lemon"]
        data.qpos[position : position + 3] = (place.x, place.y, _DROP_HEIGHT_M)
        data.qvel[velocity : velocity + 6] = (0.0, 0.0, 0.0, 0.4, 0.0, 0.0)

    def _lead(self, data: Any, guided: _Guided, time_s: float) -> None:
        position, velocity = self._joint[guided.name]
        error = guided.at(time_s + _TIMESTEP_S) - data.qpos[position : position + 2]
        speed = np.clip(error / (10 * _TIMESTEP_S), -0.8, 0.8)
        data.qvel[velocity : velocity + 2] = speed
        if guided.rolls_m:
            rotation = np.zeros(9)
            mujoco.mju_quat2Mat(rotation, data.qpos[position + 3 : position + 7])
            spin = np.array([-speed[1], speed[0], 0.0]) / guided.rolls_m
            data.qvel[velocity + 3 : velocity + 6] = rotation.reshape(3, 3).T @ spin


def render_sample(first: int = 0, last: int = FRAMES - 1, step: int = 1) -> Iterator[SampleFrame]:
    """Simulate the whole scene and draw the frames first, first + step, ... up to `last`.

    Raises:
        OpenAssetError: robosuite or metaworld is not installed.
        RenderError: the machine cannot draw off-screen.
    """
    model, _ = compose_sample()
    data = mujoco.MjData(model)
    choreography = Choreography(model)
    choreography.start(data)
    path = camera_path()
    camera = model.camera("camera")
    body = {int(model.body(f"object{index}").id): index + 1 for index in range(len(_LAYOUT))}
    owner = np.array([body.get(int(one), 0) for one in model.geom_bodyid], np.uint8)
    option = mujoco.MjvOption()
    option.geomgroup[:] = hidden_groups()
    renderer = open_renderer(model, HEIGHT_PX, WIDTH_PX)
    try:
        for frame in range(last + 1):
            if frame:
                choreography.advance(data)
            if frame < first or (frame - first) % step:
                continue
            camera.pos[:] = path.position[frame]
            mujoco.mju_mat2Quat(camera.quat, path.rotation[frame].reshape(-1))
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, "camera", option)
            rgb = renderer.render().copy()
            renderer.enable_depth_rendering()
            depth = renderer.render().copy()
            renderer.disable_depth_rendering()
            renderer.enable_segmentation_rendering()
            ids = renderer.render()
            renderer.disable_segmentation_rendering()
            is_geom = ids[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
            instances = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
            instances[is_geom] = owner[ids[..., 0][is_geom]]
            yield SampleFrame(frame, frame / RATE_HZ, rgb, instances, depth)
    finally:
        renderer.close()
