"""Pictures of one scan with alpha, as a camera sees it under soft light.

A picture is put together of several passes. One shows the texture without light, one the outline; the others show a
white body, each under a lamp that casts shadows. Lamps from all over the sky and from a patch of it add up to soft
light, in linear intensities.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.composites.cutouts import Rgba
from villa.data.scans.reading import Scan
from villa.data.scenes.physics import mujoco
from villa.data.scenes.render import open_renderer
from villa.data.scenes.view import look_at

F64 = NDArray[np.float64]

_FINER = 2  # of texture and outline: px in a row for one of the picture
_MARGIN = 1.03  # of what is seen, so that no outline touches the edge
_GAMMA = 2.2
_KNEE = 0.7  # linear intensity from which on a camera flattens
_SKY, _PATCH = 14, 6  # lamps
_GOLDEN = np.pi * (3 - np.sqrt(5))  # an angle: points in turn about an axis by it spread evenly
_TEXTURED, _WHITE = 1, 2  # groups of geoms
_NEAR_M, _FAR_M = 0.02, 20.0
_LEAST_WHOLE = 0.93  # of what is seen, in one piece: a scan may lack what was too clear to be scanned
_FULL = 75  # percentile of the light on a thing that a camera exposes for


@dataclass(frozen=True)
class Shot:
    """How a thing lies and where the camera is; angles are radians."""

    pose: F64  # [3, 3] from the scan's axes to the table's
    elevation: float  # of the camera over the table
    roll: float
    distance_m: float  # from the thing's middle


@dataclass(frozen=True)
class Light:
    """Shares of light from everywhere, from the sky and from a lamp; colours are [3] around 1."""

    around: float
    sky: float
    lamp: float
    lamp_at: F64  # [3] direction to it
    lamp_size: float  # radius over distance: the larger, the softer its shadows
    sky_colour: F64
    lamp_colour: F64
    exposure: float  # 1: what is well lit has the colours of its texture


class Studio:
    """One scan, compiled, with its renderers; made by `studio`."""

    def __init__(self, scan: Scan, size_px: int, model: Any, fine: Any, coarse: Any) -> None:
        self._points = scan.vertices.astype(np.float64)
        self._middle = (self._points.max(axis=0) + self._points.min(axis=0)) / 2
        self._radius = float(np.linalg.norm(self._points - self._middle, axis=1).max())
        self._size_px = size_px
        self._model, self._data = model, mujoco.MjData(model)
        self._fine, self._coarse = fine, coarse

    def take(self, shot: Shot, light: Light) -> Rgba | None:
        """A picture [h, w, 4] cropped to the thing, whose longer side is about the studio's size in px.

        None where the thing falls into pieces from there.
        """
        self._aim(shot)
        self._lamp(None)
        outline = self._draw(self._fine, _WHITE, shining=True)[..., 0]
        alpha = _halved(outline)[..., None]
        if not _is_whole(alpha[..., 0]):
            return None
        premultiplied = _halved(self._draw(self._fine, _TEXTURED))
        shade = self._shade(light)
        # What is drawn on black is darker at its edges by its share of them.
        colour = premultiplied / np.maximum(alpha, 1e-3)
        linear = np.clip(colour, 0, 1) ** _GAMMA * shade / np.maximum(alpha, 1e-3)
        return _cropped(_exposed(linear) ** (1 / _GAMMA), alpha)

    def _aim(self, shot: Shot) -> None:
        """Put thing and camera; the camera looks at the middle of what it sees and zooms until the picture is full."""
        model = self._model
        mujoco.mju_mat2Quat(model.body("thing").quat, shot.pose.reshape(-1))
        model.body("thing").pos[:] = -shot.pose @ self._middle
        points = (self._points - self._middle) @ shot.pose.T
        distance = max(shot.distance_m, 2.2 * self._radius)
        eye = distance * np.array([0.0, -np.cos(shot.elevation), np.sin(shot.elevation)])
        target, half = np.zeros(3), 0.0
        for _ in range(3):
            rotation = look_at(eye, target, shot.roll)
            local = (points - eye) @ rotation
            seen = local[:, :2] / -local[:, 2:]
            low, high = seen.min(axis=0), seen.max(axis=0)
            half = float((high - low).max()) / 2
            target = eye + rotation @ np.append((low + high) / 2, -1.0) * distance
        camera = model.camera("camera")
        camera.pos[:] = eye
        mujoco.mju_mat2Quat(camera.quat, rotation.reshape(-1))
        camera.fovy[:] = 2 * np.degrees(np.arctan(half * _MARGIN))

    def _shade(self, light: Light) -> F64:
        """Light that falls on each pixel [size, size, 3], times the share of the pixel that is on the thing."""
        sky = self._mean(_sky(_SKY))
        lamp = self._mean(_patch(light.lamp_at, light.lamp_size, _PATCH)) if light.lamp else np.zeros(1)
        self._lamp(None)
        whole = self._draw(self._coarse, _WHITE, shining=True)[..., :1]
        shade = light.around * whole + light.sky * sky * light.sky_colour + light.lamp * lamp * light.lamp_colour
        full = shade[whole[..., 0] > 0.9].mean(axis=-1)
        level = float(np.percentile(full, _FULL)) if full.size else 1.0
        return np.asarray(shade * light.exposure / max(level, 1e-3), np.float64)

    def _mean(self, directions: F64) -> F64:
        """The white body under lamps [N, 3] in turn, on average."""
        total = np.zeros((self._size_px, self._size_px, 1))
        for direction in directions:
            self._lamp(direction)
            total += self._draw(self._coarse, _WHITE)[..., :1]
        return total / len(directions)

    def _lamp(self, direction: F64 | None) -> None:
        model = self._model
        model.light_active[0] = direction is not None
        if direction is not None:
            model.light_pos[0] = direction * 2 * self._radius
            model.light_dir[0] = -direction

    def _draw(self, renderer: Any, group: int, *, shining: bool = False) -> F64:
        """A pass [h, w, 3] in 0..1."""
        self._model.material("white").emission[:] = float(shining)
        mujoco.mj_forward(self._model, self._data)
        option = mujoco.MjvOption()
        option.geomgroup[:] = 0
        option.geomgroup[group] = 1
        renderer.update_scene(self._data, "camera", option)
        return np.asarray(renderer.render(), np.float64) / 255


@contextmanager
def studio(scan: Scan, size_px: int) -> Iterator[Studio]:
    """A studio for one scan, whose pictures have about `size_px` on their longer side.

    Raises:
        RenderError: no off-screen OpenGL.
    """
    model = _model(scan, size_px)
    fine = open_renderer(model, _FINER * size_px, _FINER * size_px)
    try:
        coarse = open_renderer(model, size_px, size_px)
        try:
            yield Studio(scan, size_px, model, fine, coarse)
        finally:
            coarse.close()
    finally:
        fine.close()


def _model(scan: Scan, size_px: int) -> Any:
    spec = mujoco.MjSpec()
    radius = float(np.linalg.norm(np.ptp(scan.vertices, axis=0))) / 2
    spec.stat.extent = radius  # what shadows and clipping planes go by
    spec.visual.map.znear, spec.visual.map.zfar = _NEAR_M / radius, _FAR_M / radius
    spec.visual.global_.offwidth = spec.visual.global_.offheight = _FINER * size_px
    spec.visual.quality.offsamples = 4
    spec.visual.quality.shadowsize = 1024
    for light in (spec.visual.headlight.ambient, spec.visual.headlight.diffuse, spec.visual.headlight.specular):
        light[:] = 0
    mesh = spec.add_mesh(name="scan")
    mesh.uservert = scan.vertices.reshape(-1)
    mesh.userface = scan.corners.reshape(-1)
    # MuJoCo has the first row of a texture at v = 0.
    mesh.usertexcoord = np.stack([scan.uv[:, 0], 1 - scan.uv[:, 1]], axis=1).reshape(-1)
    mesh.userfacetexcoord = scan.uv_corners.reshape(-1)
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    height, width = scan.texture.shape[:2]
    texture = spec.add_texture(name="scan", type=mujoco.mjtTexture.mjTEXTURE_2D, width=width, height=height, nchannel=3)
    texture.data = scan.texture.tobytes()
    textured = spec.add_material(name="textured", emission=1.0, specular=0.0)
    textured.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "scan"
    spec.add_material(name="white", specular=0.0, rgba=[1.0, 1.0, 1.0, 1.0])
    body = spec.worldbody.add_body(name="thing")
    for name, group in (("textured", _TEXTURED), ("white", _WHITE)):
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname="scan", material=name, group=group, contype=0, conaffinity=0
        )
    spec.worldbody.add_light(
        name="lamp",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        diffuse=[1, 1, 1],
        ambient=[0, 0, 0],
        specular=[0, 0, 0],
        castshadow=True,
    )
    spec.worldbody.add_camera(name="camera")
    return spec.compile()


def _sky(count: int) -> F64:
    """Directions [count, 3] spread evenly over the upper half of a sphere."""
    up = 1 - (np.arange(count) + 0.5) / count
    turn = np.arange(count) * _GOLDEN
    across = np.sqrt(1 - up**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), up], axis=1)


def _patch(middle: F64, radius: float, count: int) -> F64:
    """Directions [count, 3] spread evenly over a round patch of the sky."""
    side = np.cross(middle, [0.0, 0.0, 1.0] if abs(middle[2]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    away = radius * np.sqrt((np.arange(count) + 0.5) / count)[:, None]
    turn = np.arange(count)[:, None] * _GOLDEN
    found = middle + away * (np.cos(turn) * side + np.sin(turn) * np.cross(middle, side))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float64)


def _exposed(linear: F64) -> F64:
    """Intensities in 0..1; what is very bright comes close to white and is not cut off there."""
    over = np.maximum(linear - _KNEE, 0) / (1 - _KNEE)
    return np.asarray(np.where(linear < _KNEE, linear, _KNEE + (1 - _KNEE) * (1 - np.exp(-over))), np.float64)


def _halved(image: F64) -> F64:
    """An image [n * h, n * w, ...] at the size of the picture: each pixel the mean of those that fall on it."""
    size = (image.shape[1] // _FINER, image.shape[0] // _FINER)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float64)


def _is_whole(alpha: F64) -> bool:
    """Is nearly all of what is seen [h, w] in one piece?"""
    inside = (alpha > 0.5).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside)
    area = stats[1:, cv2.CC_STAT_AREA]
    return bool(area.size and area.max() >= _LEAST_WHOLE * area.sum())


def _cropped(rgb: F64, alpha: F64) -> Rgba:
    """8 bits, without the empty border; colours go on a little beyond the outline, for whoever blurs them."""
    inside = alpha[..., 0] > 0
    weight = cv2.GaussianBlur(alpha[..., 0], (0, 0), 2.0)[..., None]
    spread = cv2.GaussianBlur(rgb * alpha, (0, 0), 2.0) / np.maximum(weight, 1e-6)
    rgb = np.where(alpha > 0.5, rgb, spread)
    image = np.dstack([rgb, alpha])
    rows, columns = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
    part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(np.clip(part * 255 + 0.5, 0, 255), np.uint8)
