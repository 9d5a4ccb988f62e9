"""A random table-top: which objects, where, under which light, seen from where, and what moves.

Everything follows from the seed. World frame: z up, the table's top at z = 0, the camera looks towards +y. Metres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.arm import ARM, add_arm, tool_body
from villa.data.scenes.hand import HAND, add_hand
from villa.data.scenes.motion import PANEL, Motion, plan_cover, plan_motions
from villa.data.scenes.objects import COLLISION_GROUP, ObjectModel, add_texture
from villa.data.scenes.palette import backdrop
from villa.data.scenes.physics import mujoco
from villa.data.scenes.view import CameraPath, plan_camera

# "hidden": something is fully covered for a while and comes back into view.
STORIES = ("any", "hidden")
_BROUGHT_ODDS = 0.8  # that a surface is one of those that a user brings, where there are any

Texture = NDArray[np.uint8]  # [h, w, 3]
DrawTexture = Callable[[np.random.Generator], Texture]


@dataclass(frozen=True)
class SceneConfig:
    """What every clip of a set has in common."""

    width: int = 320  # px
    height: int = 240  # px
    frames: int = 16
    fps: float = 5.0  # of simulated time
    objects: tuple[int, int] = (4, 9)  # fewest and most
    timestep_s: float = 0.004
    story: str = "any"  # one of STORIES
    hands: float = 0.0  # share of what moves by itself that a hand moves, at most one in a clip

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.story not in STORIES:
            raise ValueError(f"story {self.story!r}: wanted one of {', '.join(STORIES)}")
        if not 0.0 <= self.hands <= 1.0:
            raise ValueError(f"hands {self.hands}: wanted a share from 0 to 1")

    @property
    def steps_per_frame(self) -> int:
        """Physics steps between two frames."""
        return max(1, round(1.0 / (self.fps * self.timestep_s)))


@dataclass(frozen=True)
class Scene:
    """A compiled scene before its first step. Object `i` of `objects` is body `object{i}`, mask id i + 1."""

    model: Any  # mujoco.MjModel
    objects: tuple[ObjectModel, ...]
    camera: CameraPath
    motions: tuple[Motion, ...]
    table: str
    shadows: bool


def _footprints(
    objects: Sequence[ObjectModel], area: tuple[float, float], rng: np.random.Generator
) -> tuple[list[ObjectModel], list[NDArray[np.float64]]]:
    """Places [x, y] m without overlap; an object that finds none is left out."""
    placed: list[ObjectModel] = []
    where: list[NDArray[np.float64]] = []
    for item in sorted(objects, key=lambda model: -model.radius):
        for _ in range(60):
            at = rng.uniform(-1.0, 1.0, 2) * np.asarray(area)
            gap = float(rng.uniform(0.005, 0.05))
            apart = (
                np.hypot(*(at - other)) - item.radius - model.radius for other, model in zip(where, placed, strict=True)
            )
            if all(distance > gap for distance in apart):
                placed.append(item)
                where.append(at)
                break
    order = rng.permutation(len(placed))
    return [placed[i] for i in order], [where[i] for i in order]


def _tilt(item: ObjectModel, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    """A turn about z, now and then with the object lying on its side -> quaternion, height of the origin m."""
    yaw = rng.uniform(0.0, 2.0 * np.pi)
    turn = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
    if item.kind in ("bottle", "can", "cylinder", "carton") and rng.random() < 0.15:
        lying = np.zeros(4)
        mujoco.mju_mulQuat(lying, turn, np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0]))
        return lying, item.radius + 0.003
    return turn, 0.002


def _add_room(spec: Any, rng: np.random.Generator, textures: Sequence[Texture], brought: DrawTexture | None) -> str:
    """Table, floor and walls; returns a word for the table."""

    def surface(name: str, repeat: float) -> str:
        if brought is not None and rng.random() < _BROUGHT_ODDS:
            image, word = brought(rng), "photographed"
        elif len(textures) and rng.random() < 0.4:
            image, word = textures[int(rng.integers(len(textures)))], "photographed"
        else:
            image, word = backdrop(rng)
        add_texture(spec, name, image)
        material = spec.add_material(
            name=name,
            texrepeat=[repeat, repeat],
            specular=float(rng.uniform(0, 0.3)),
            shininess=float(rng.uniform(0, 0.5)),
            reflectance=0.0,
        )
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
        return word

    word = surface("table", float(rng.uniform(0.8, 2.0)))
    half = [float(rng.uniform(0.55, 0.95)), float(rng.uniform(0.45, 0.75)), 0.02]
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=half, pos=[0, 0, -0.02], material="table", condim=4
    )
    surface("floor", float(rng.uniform(2, 5)))
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[4, 4, 0.1],
        pos=[0, 0, -0.75],
        material="floor",
    )
    surface("wall", float(rng.uniform(1, 3)))
    back = float(rng.uniform(0.85, 2.0))
    for name, position, size in (
        ("wall_back", [0, back, 0.5], [3, 0.02, 1.5]),
        ("wall_left", [-float(rng.uniform(1.2, 2.2)), 0, 0.5], [0.02, 3, 1.5]),
        ("wall_right", [float(rng.uniform(1.2, 2.2)), 0, 0.5], [0.02, 3, 1.5]),
    ):
        spec.worldbody.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            pos=position,
            material="wall",
            contype=0,
            conaffinity=0,
        )
    # Furniture behind the table: far larger than anything on it, and dull, so that it is no unnamed object.
    for index in range(int(rng.integers(0, 3)) if back > 1.1 else 0):
        half_height = float(rng.uniform(0.45, 0.9))
        spec.worldbody.add_geom(
            name=f"furniture{index}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[float(rng.uniform(0.15, 0.4)), 0.1, half_height],
            pos=[float(rng.uniform(-1.1, 1.1)), back - 0.1, half_height - 0.75],
            rgba=[*np.clip(rng.uniform(0.2, 0.7) + rng.normal(0, 0.05, 3), 0, 1), 1.0],
            contype=0,
            conaffinity=0,
        )
    return word


def _add_lights(spec: Any, rng: np.random.Generator) -> bool:
    """One to three lamps; returns whether any casts a shadow."""
    level = float(rng.uniform(0.28, 0.46))
    spec.visual.headlight.ambient = np.full(3, level)
    spec.visual.headlight.diffuse = np.full(3, float(rng.uniform(0.05, 0.3)))
    spec.visual.headlight.specular = np.full(3, float(rng.uniform(0.0, 0.2)))
    count = int(rng.integers(1, 4))
    shadows = bool(rng.random() < 0.65)
    for index in range(count):
        position = np.array([rng.uniform(-1.4, 1.4), rng.uniform(-1.4, 0.7), rng.uniform(1.0, 2.2)])
        aim = np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2), 0.0]) - position
        tint = 1.0 + rng.uniform(-0.08, 0.08, 3)
        spec.worldbody.add_light(
            name=f"lamp{index}",
            pos=position,
            dir=aim / np.linalg.norm(aim),
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL if rng.random() < 0.5 else mujoco.mjtLightType.mjLIGHT_SPOT,
            cutoff=float(rng.uniform(40, 70)),
            exponent=float(rng.uniform(0.5, 4)),
            diffuse=np.clip(tint * rng.uniform(0.45, 0.8) / np.sqrt(count), 0, 1),
            specular=np.full(3, float(rng.uniform(0.05, 0.3))),
            ambient=np.zeros(3),
            castshadow=shadows and index == 0,
        )
    return shadows


def compose(
    objects: Sequence[ObjectModel],
    config: SceneConfig,
    rng: np.random.Generator,
    textures: Sequence[Texture] = (),
    *,
    surfaces: DrawTexture | None = None,
    hands_in_scene: bool = True,
) -> Scene:
    """Lay the objects out on a random table and plan camera and motions.

    Args:
        objects: What should be there; one that finds no free place is left out.
        config: Size, length and rate of the clip.
        rng: All randomness comes from here.
        textures: Images for table, floor and walls beside the painted ones.
        surfaces: Draws further ones, which most of the surfaces then are.
        hands_in_scene: False: a hand has a place on each frame and no body; pictures of hands are laid over instead.
    """
    spec = mujoco.MjSpec()
    spec.option.timestep = config.timestep_s
    spec.visual.global_.offwidth = config.width
    spec.visual.global_.offheight = config.height
    spec.visual.quality.offsamples = int(rng.choice([0, 2, 4]))
    spec.visual.quality.shadowsize = 1024
    spec.visual.map.znear = 0.02
    spec.visual.map.zfar = 12.0
    table = _add_room(spec, rng, textures, surfaces)
    shadows = _add_lights(spec, rng)
    spread = float(rng.uniform(0.75, 1.1))
    kept, places = _footprints(objects, (0.34 * spread, 0.24 * spread), rng)
    for index, place in enumerate(places):
        if (painted := kept[index].painted) is not None:
            kept[index] = painted(rng)
        item = kept[index]
        body = item.attach(spec, f"object{index}", rng)
        quaternion, z = _tilt(item, rng)
        body.pos = [*place, z]
        body.quat = quaternion
    covered = config.story == "hidden"
    camera = plan_camera(config.frames, config.width, config.height, rng, still=covered)
    if covered:
        motions = plan_cover(kept, np.asarray(places), camera, config.frames, rng)
    else:
        motions = plan_motions(kept, np.asarray(places), camera, config.frames, rng, config.fps, config.hands)
    for motion in motions:
        if motion.kind == "occluder":
            _add_panel(spec, motion, rng)
        elif motion.tool is not None:
            # Not where it is parked: the compiler's extent, and with it the near clipping plane, would reach there.
            at = motion.tool[motion.first]
            if motion.body == ARM:
                add_arm(spec, at, motion.quaternion, rng)
            elif not hands_in_scene:
                tool_body(spec, HAND, at, motion.quaternion)
            else:
                add_hand(spec, at, motion.quaternion, kept[motion.subject], rng)
    fixed = spec.worldbody.add_camera(name="camera", fovy=camera.fovy_deg)
    fixed.pos = camera.position[0]
    return Scene(spec.compile(), tuple(kept), camera, tuple(motions), table, shadows)


def _add_panel(spec: Any, motion: Motion, rng: np.random.Generator) -> None:
    image, _ = backdrop(rng)
    add_texture(spec, PANEL, image)
    material = spec.add_material(name=PANEL, specular=0.1)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = PANEL
    panel = spec.worldbody.add_body(name=PANEL, mocap=True)
    panel.pos = motion.path[0]
    panel.quat = motion.quaternion
    panel.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=motion.size,
        material=PANEL,
        contype=0,
        conaffinity=0,
        group=0,
    )


def hidden_groups() -> NDArray[np.uint8]:
    """Which geometry groups [6] the camera sees: all but the collision solids."""
    groups = np.ones(6, np.uint8)
    groups[COLLISION_GROUP] = 0
    return groups
