"""Triangle meshes from a few numbers: revolved profiles, bent tubes, boxes and open trays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@dataclass(frozen=True)
class Mesh:
    """Vertices [V, 3] m, faces [F, 3] seen from outside counter-clockwise, texture coordinates [V, 2]."""

    vertices: F32
    faces: I32
    uv: F32


def merge(*meshes: Mesh) -> Mesh:
    """One mesh of several that share a texture."""
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]).astype(np.float32),
        np.concatenate([mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=True)]).astype(np.int32),
        np.concatenate([mesh.uv for mesh in meshes]).astype(np.float32),
    )


def _grid_faces(rows: int, columns: int) -> I32:
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)[None, :]).reshape(-1)
    lower = np.stack([first, first + 1, first + columns], axis=1)
    upper = np.stack([first + 1, first + columns + 1, first + columns], axis=1)
    faces: I32 = np.concatenate([lower, upper]).astype(np.int32)
    return faces


def _without_slivers(mesh: Mesh) -> Mesh:
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return Mesh(mesh.vertices, mesh.faces[area > 1e-12], mesh.uv)


def revolve(profile: ArrayLike, segments: int = 28, crush: float = 1.0) -> Mesh:
    """Turn a profile [N, 2] of (radius, height) about z.

    Walk the outside upwards, then the inside downwards: that order faces outwards. `crush` scales y.
    v runs along the profile from 0 to 1, u once around.
    """
    points = np.asarray(profile, np.float64)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    v = np.concatenate(([0.0], np.cumsum(steps))) / max(float(steps.sum()), 1e-9)
    angle = np.linspace(0.0, 2.0 * np.pi, segments + 1)
    x = points[:, :1] * np.cos(angle)
    y = points[:, :1] * np.sin(angle) * crush
    z = np.broadcast_to(points[:, 1:], x.shape)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(np.float32)
    u = np.broadcast_to(angle / (2.0 * np.pi), x.shape)
    uv = np.stack([u, np.broadcast_to(v[:, None], x.shape)], axis=-1).reshape(-1, 2).astype(np.float32)
    return _without_slivers(Mesh(vertices, _grid_faces(len(points), segments + 1), uv))


def tube(path: ArrayLike, radii: ArrayLike, segments: int = 10, crush: float = 1.0) -> Mesh:
    """Sweep a circle of `radii` [N] along a path [N, 3] that lies in a plane y = constant; ends are closed."""
    points = np.asarray(path, np.float64)
    radius = np.asarray(radii, np.float64)
    points = np.concatenate([points[:1], points, points[-1:]])
    radius = np.concatenate([[0.0], radius, [0.0]])
    tangent = np.gradient(points, axis=0)
    tangent[0], tangent[-1] = tangent[1], tangent[-2]
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    across = np.array([0.0, 1.0, 0.0])
    normal = np.cross(tangent, across)
    angle = np.linspace(0.0, 2.0 * np.pi, segments + 1)
    ring = (
        np.cos(angle)[None, :, None] * normal[:, None, :] + np.sin(angle)[None, :, None] * across[None, None, :] * crush
    )
    vertices = (points[:, None, :] + radius[:, None, None] * ring).reshape(-1, 3).astype(np.float32)
    v, u = np.meshgrid(np.linspace(0, 1, len(points)), angle / (2.0 * np.pi), indexing="ij")
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
    faces = _grid_faces(len(points), segments + 1)[:, ::-1]
    return _without_slivers(Mesh(vertices, faces, uv))


def arc(centre: ArrayLike, width: float, height: float, start: float, stop: float, count: int = 9) -> F32:
    """Points [count, 3] of an ellipse in the plane y = 0; angles in radians from +x towards +z."""
    angle = np.linspace(start, stop, count)
    points = np.stack([width * np.cos(angle), np.zeros(count), height * np.sin(angle)], axis=-1)
    path: F32 = (points + np.asarray(centre, np.float64)).astype(np.float32)
    return path


_SIDES = (  # corner signs of each side, counter-clockwise from outside, starting at the texture's lower left
    ((-1, -1, -1), (1, -1, -1), (1, -1, 1), (-1, -1, 1)),
    ((1, 1, -1), (-1, 1, -1), (-1, 1, 1), (1, 1, 1)),
    ((1, -1, -1), (1, 1, -1), (1, 1, 1), (1, -1, 1)),
    ((-1, 1, -1), (-1, -1, -1), (-1, -1, 1), (-1, 1, 1)),
    ((-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)),
    ((-1, 1, -1), (1, 1, -1), (1, -1, -1), (-1, -1, -1)),
)
_QUAD_UV = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)


def quad(corners: ArrayLike, region: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Mesh:
    """A flat quadrilateral [4, 3], counter-clockwise from outside; `region` is its u0, v0, u1, v1."""
    u0, v0, u1, v1 = region
    uv = (_QUAD_UV * np.array([u1 - u0, v1 - v0]) + np.array([u0, v0])).astype(np.float32)
    return Mesh(np.asarray(corners, np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32), uv)


def box(size: ArrayLike, base: float = 0.0, flare: float = 1.0) -> Mesh:
    """A box of full `size` (x, y, z) m standing on z = base; `flare` scales its top against its bottom.

    Each of the four walls and the lid shows the whole texture; the bottom shows its lower left corner.
    """
    half = np.asarray(size, np.float64) / 2.0
    sides = []
    for index, side in enumerate(_SIDES):
        corners = np.array(side, np.float64) * half
        corners[:, :2] *= np.where(corners[:, 2:] > 0, flare, 1.0)
        corners[:, 2] += half[2] + base
        sides.append(quad(corners, (0, 0, 1, 1) if index < 5 else (0, 0, 0.05, 0.05)))
    return merge(*sides)


def open_box(size: ArrayLike, wall: float, flare: float = 1.2) -> Mesh:
    """A tray or basket without a lid: full bottom `size` (x, y, z) m, walls of thickness `wall` m."""
    bottom = np.asarray(size, np.float64)
    sides = list(_SIDES[:4])

    def ring(inset: float, low: float, flip: bool) -> list[Mesh]:
        quads = []
        for side in sides:
            signs = np.array(side, np.float64)
            corners = signs * bottom / 2.0
            corners[:, :2] *= np.where(signs[:, 2:] > 0, flare, 1.0)
            corners[:, :2] -= signs[:, :2] * inset
            corners[:, 2] = np.where(signs[:, 2] > 0, bottom[2], low)
            quads.append(quad(corners[::-1] if flip else corners))
        return quads

    rim = []
    for side in sides:
        signs = np.array(side[2:], np.float64)
        outer = signs * bottom / 2.0 * flare
        inner = outer - signs * wall
        corners = np.array([outer[1], outer[0], inner[0], inner[1]])
        corners[:, 2] = bottom[2]
        rim.append(quad(corners, (0, 0.9, 1, 1)))
    floor = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], np.float64) * bottom / 2.0
    inside = floor.copy()
    inside[:, 2] = wall
    return merge(*ring(0.0, 0.0, False), *ring(wall, wall, True), *rim, quad(inside), quad(floor[::-1]))


def gable_roof(size: ArrayLike, base: float, height: float) -> Mesh:
    """The folded top of a drinks carton over a rectangle `size` (x, y): two slopes, two gables and a fin."""
    x, y = (float(value) / 2.0 for value in np.asarray(size, np.float64)[:2])
    top = base + height
    plain = (0.0, 0.85, 1.0, 1.0)
    slopes = [
        quad([(-x, -y, base), (x, -y, base), (x, 0, top), (-x, 0, top)], plain),
        quad([(x, y, base), (-x, y, base), (-x, 0, top), (x, 0, top)], plain),
    ]
    gables = [
        quad([(x, -y, base), (x, y, base), (x, 0, top), (x, 0, top - 1e-4)], plain),
        quad([(-x, y, base), (-x, -y, base), (-x, 0, top), (-x, 0, top - 1e-4)], plain),
    ]
    fin = box((2 * x, 0.12 * y, 0.35 * height), base=top - 0.02 * height)
    return merge(*slopes, *gables, Mesh(fin.vertices, fin.faces, fin.uv * 0.1 + np.float32(0.88)))


def turned(mesh: Mesh, angle: float, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    """The mesh turned by `angle` radians about z, then moved by `shift` m."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    vertices = (mesh.vertices @ matrix.T + np.asarray(shift)).astype(np.float32)
    return Mesh(vertices, mesh.faces, mesh.uv)
