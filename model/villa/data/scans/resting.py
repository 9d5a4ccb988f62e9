"""How a thing comes to rest on a table: as it was scanned, or on another face of its convex hull."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from villa.data.scans.reading import Scan

F64 = NDArray[np.float64]

_AS_SCANNED = 0.7  # share; scans are made of things as people put them down
_LEAST_UP = -0.5  # cosine between where its top points and up: nothing is left standing on its head
_TRIES = 12


class Resting:
    """The poses in which one thing lies still."""

    def __init__(self, scan: Scan) -> None:
        triangles = scan.vertices[scan.corners].astype(np.float64)
        normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
        area = np.linalg.norm(normals, axis=1)
        # A scan is a shell: where its mass is inside is not known.
        middle = (triangles.mean(axis=1) * area[:, None]).sum(axis=0) / area.sum()
        # Joggled, so that a flat scan has a hull too.
        hull = ConvexHull(scan.vertices.astype(np.float64), qhull_options="QJ")
        self._normals: F64 = hull.equations[:, :3]
        self._height: F64 = -(self._normals @ middle + hull.equations[:, 3])  # of the middle over each face, m
        self._neighbours = hull.neighbors

    def draw(self, rng: np.random.Generator) -> F64:
        """A rotation [3, 3] from the scan's axes to those of a table, z up, with any turn about the vertical."""
        spin = _about_z(float(rng.uniform(0, 2 * np.pi)))
        if rng.random() < _AS_SCANNED:
            return spin
        for _ in range(_TRIES):
            down = rng.normal(size=3)
            pose = _onto_the_table(self._settled(down / np.linalg.norm(down)))
            if pose[2, 2] > _LEAST_UP:
                return spin @ pose
        return spin

    def _settled(self, down: F64) -> F64:
        """The normal of the face that it comes to lie on when `down` points at the table at first.

        It tips from face to face as long as its middle comes down by that.
        """
        face = int(np.argmax(self._normals @ down))
        while True:
            around = self._neighbours[face]
            lowest = int(around[np.argmin(self._height[around])])
            if self._height[lowest] >= self._height[face]:
                return np.asarray(self._normals[face], np.float64)
            face = lowest


def _about_z(angle: float) -> F64:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _onto_the_table(normal: F64) -> F64:
    """The shortest rotation [3, 3] that turns a unit vector straight down."""
    down = np.array([0.0, 0.0, -1.0])
    axis, cos = np.cross(normal, down), float(normal @ down)
    if cos < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + cos), np.float64)
