"""From a scene to pictures: colour, instance masks, what each object would cover alone, and depth on demand."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.hand import HAND
from villa.data.scenes.motion import Mover
from villa.data.scenes.physics import INSTALL, RenderError, mujoco
from villa.data.scenes.scene import Scene, SceneConfig, hidden_groups

_FAR_AWAY = np.array([0.0, 0.0, -500.0])


@dataclass(frozen=True)
class RenderedFrame:
    """One frame: rgb [H, W, 3], instance [H, W] (0 background, object i is i + 1), depth [H, W] m or None.

    `unlit` [H, W, 3] is the same without light and shade, where that was asked for.
    `amodal_px[i]` counts the pixels that object i would cover with nothing in front of it.
    """

    rgb: NDArray[np.uint8]
    instance: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    amodal_px: tuple[int, ...]
    position: NDArray[np.float64]  # [objects, 3] m in the world, the middle of each object
    upright: NDArray[np.float64]  # [objects] cosine of the tilt of each
    touching: frozenset[tuple[int, int]]  # indices of objects that touched each other since the frame before
    unlit: NDArray[np.uint8] | None = None
    palm: NDArray[np.float64] | None = None  # [3] m in the world, of the hand where the scene has one


def open_renderer(model: Any, height: int, width: int) -> Any:
    """An off-screen renderer for a compiled scene; close it after use.

    Raises:
        RenderError: no OpenGL library for the back end that MUJOCO_GL names.
    """
    backend = os.environ.get("MUJOCO_GL", "(unset)")
    if why := _no_window():
        raise RenderError(f"no off-screen OpenGL with MUJOCO_GL={backend} ({why}): {INSTALL}")
    try:
        return mujoco.Renderer(model, height, width)
    except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
        raise RenderError(f"no off-screen OpenGL with MUJOCO_GL={backend} ({error}): {INSTALL}") from error


def _no_window() -> str:
    """Why GLFW opens no window here, where MuJoCo draws into one; empty where it does, or draws elsewhere.

    MuJoCo does not look whether it got a window. It fails when it first draws without one, and crashes the second time.
    """
    context = getattr(mujoco, "GLContext", None)
    if context is None or context.__module__ != "mujoco.glfw":
        return ""
    import glfw

    with warnings.catch_warnings(record=True) as told:  # how GLFW tells of its errors
        warnings.simplefilter("always")
        if glfw.init():
            return ""
    return "; ".join(str(one.message) for one in told) or "GLFW finds no display"


def _owners(scene: Scene) -> NDArray[np.uint8]:
    """Mask id for each geom [ngeom]."""
    model = scene.model
    body_of_object = {int(model.body(f"object{i}").id): i + 1 for i in range(len(scene.objects))}
    return np.array([body_of_object.get(int(body), 0) for body in model.geom_bodyid], np.uint8)


def render(
    scene: Scene, config: SceneConfig, depth: bool = False, unlit: Collection[int] = ()
) -> Iterator[RenderedFrame]:
    """Simulate the clip and draw each frame; frames `unlit` also without light.

    Raises:
        RenderError: see `open_renderer`.
    """
    model = scene.model
    data = mujoco.MjData(model)
    mover = Mover(model, scene.motions, config.steps_per_frame)
    mover.place(data)
    mover.settle(data)
    camera = model.camera("camera")
    owners = _owners(scene)
    option = mujoco.MjvOption()
    option.geomgroup[:] = hidden_groups()
    touching: frozenset[tuple[int, int]] = frozenset()
    renderer = open_renderer(model, config.height, config.width)
    try:
        for frame in range(config.frames):
            camera.pos[:] = scene.camera.position[frame]
            mujoco.mju_mat2Quat(camera.quat, scene.camera.rotation[frame].reshape(-1))
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, "camera", option)
            rgb = renderer.render().copy()
            distance = None
            if depth:
                renderer.enable_depth_rendering()
                distance = renderer.render().copy()
                renderer.disable_depth_rendering()
            plain = _without_light(renderer, model, data, option) if frame in unlit else None
            position = _middles(scene, data)
            groups = _apart(scene, frame, position)
            instance, amodal = _instances(renderer, owners, len(scene.objects), groups)
            upright = _upright(scene, data)
            yield RenderedFrame(rgb, instance, distance, amodal, position, upright, touching, plain, _palm(scene, data))
            if frame + 1 < config.frames:
                touching = mover.advance(data, frame)
    finally:
        renderer.close()


def _without_light(renderer: Any, model: Any, data: Any, option: Any) -> NDArray[np.uint8]:
    """The frame in the colours of its surfaces alone [H, W, 3]: every lamp is off, and what is left is everywhere."""
    head, lamps = model.vis.headlight, model.light_active.copy()
    kept = head.ambient.copy(), head.diffuse.copy(), head.specular.copy()
    head.ambient[:], head.diffuse[:], head.specular[:] = 1.0, 0.0, 0.0
    model.light_active[:] = 0
    try:
        renderer.update_scene(data, "camera", option)
        return np.array(renderer.render(), np.uint8)
    finally:
        head.ambient[:], head.diffuse[:], head.specular[:] = kept
        model.light_active[:] = lamps


def _apart(scene: Scene, frame: int, middle: NDArray[np.float64]) -> list[list[int]]:
    """Mask ids in groups whose members cannot cover one another, so that one pass draws a whole group."""
    at = scene.camera.project(middle, frame)
    reach = np.array([np.hypot(item.radius, item.height / 2) for item in scene.objects]) * 1.25
    # A sphere's outline grows as it nears the camera; the depth of its near side bounds it.
    near = np.maximum(at[:, 2] - reach, 0.05)
    radius = scene.camera.focal_px * reach / near
    groups: list[list[int]] = []
    for index in range(len(scene.objects)):
        for group in groups:
            others = np.array(group) - 1
            gap = np.hypot(at[others, 0] - at[index, 0], at[others, 1] - at[index, 1])
            if np.all(gap > radius[others] + radius[index]):
                group.append(index + 1)
                break
        else:
            groups.append([index + 1])
    return groups


def _instances(
    renderer: Any, owners: NDArray[np.uint8], count: int, groups: list[list[int]]
) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    renderer.enable_segmentation_rendering()

    def draw() -> NDArray[np.uint8]:
        ids = renderer.render()
        found = np.zeros(ids.shape[:2], np.uint8)
        is_geom = ids[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
        found[is_geom] = owners[ids[..., 0][is_geom]]
        return found

    together = draw()
    geoms = renderer.scene.geoms[: renderer.scene.ngeom]
    home = [geom.pos.copy() for geom in geoms]
    owner = [int(owners[geom.objid]) if geom.objtype == int(mujoco.mjtObj.mjOBJ_GEOM) else 0 for geom in geoms]
    amodal = [0] * count
    for group in groups:
        for geom, place, whose in zip(geoms, home, owner, strict=True):
            geom.pos[:] = place if whose in group else _FAR_AWAY
        alone = np.bincount(draw().reshape(-1), minlength=count + 1)
        for index in group:
            amodal[index - 1] = int(alone[index])
    renderer.disable_segmentation_rendering()
    return together, tuple(amodal)


def _palm(scene: Scene, data: Any) -> NDArray[np.float64] | None:
    if all(motion.body != HAND for motion in scene.motions):
        return None
    return np.array(data.mocap_pos[int(scene.model.body(HAND).mocapid[0])], np.float64)


def _middles(scene: Scene, data: Any) -> NDArray[np.float64]:
    """Middle of each object [objects, 3] m in the world."""
    middle = np.empty((len(scene.objects), 3))
    for index, item in enumerate(scene.objects):
        body = data.body(f"object{index}")
        middle[index] = body.xpos + body.xmat.reshape(3, 3)[:, 2] * item.height / 2.0
    return middle


def _upright(scene: Scene, data: Any) -> NDArray[np.float64]:
    """Cosine of each object's tilt [objects]: 1 as it was made, 0 on its side."""
    return np.array([data.body(f"object{index}").xmat[8] for index in range(len(scene.objects))])
