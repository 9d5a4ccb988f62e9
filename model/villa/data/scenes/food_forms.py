"""Shapes of what is round or grown: balls, fruit and bread."""

from __future__ import annotations

import numpy as np

from villa.data.scenes import shapes
from villa.data.scenes.forms import Form, Rng
from villa.data.scenes.objects import Solid
from villa.data.scenes.palette import Pattern
from villa.data.scenes.shapes import Mesh


def _sphere(radius: float, squash: float = 1.0, dimple: float = 0.0, count: int = 15) -> Mesh:
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, count)
    r = radius * np.maximum(np.cos(angle), 1e-3)
    z = radius * squash * np.sin(angle)
    z = z - dimple * radius * np.exp(-((r / (0.35 * radius)) ** 2)) * np.sign(angle)
    return shapes.revolve(np.stack([r, z - z.min()], axis=1), segments=24)


def ball(rng: Rng) -> Form:
    """A ball."""
    radius = rng.uniform(0.028, 0.055)
    patterns: tuple[Pattern, ...] = ("plain", "plain", "bands", "bars", "dots")
    solid = Solid("sphere", (radius,), (0, 0, radius))
    return Form(_sphere(radius), (solid,), radius, 2 * radius, None, patterns, (0.3, 0.7), 0.1)


def _stem(top: float) -> Mesh:
    return shapes.tube(
        [(0, 0, top - 0.006), (0.002, 0, top + 0.006), (0.005, 0, top + 0.014)], [0.002, 0.002, 0.0025], 6
    )


def apple(rng: Rng) -> Form:
    """An apple."""
    radius = rng.uniform(0.033, 0.043)
    squash = rng.uniform(0.86, 0.98)
    mesh = _sphere(radius, squash, dimple=0.28, count=19)
    top = float(mesh.vertices[:, 2].max())
    solid = Solid("sphere", (radius * squash,), (0, 0, radius * squash))
    return Form(mesh, (solid,), radius, top, _stem(top - 0.004), ("mottled", "plain"), mass=0.15)


def orange(rng: Rng) -> Form:
    """An orange."""
    radius = rng.uniform(0.034, 0.044)
    mesh = _sphere(radius, rng.uniform(0.92, 1.0), dimple=0.06)
    top = float(mesh.vertices[:, 2].max())
    navel = shapes.revolve([(0.006, top - 0.002), (0.004, top + 0.002), (1e-4, top + 0.002)], 8)
    return Form(mesh, (Solid("sphere", (top / 2,), (0, 0, top / 2)),), radius, top, navel, ("mottled",), mass=0.15)


def lemon(rng: Rng) -> Form:
    """A lemon."""
    radius = rng.uniform(0.024, 0.031)
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 19)
    r = radius * np.maximum(np.cos(angle), 1e-3) ** 1.1
    length = radius * (1.3 * np.sin(angle) + 0.22 * np.sin(angle) ** 9)
    upright = shapes.revolve(np.stack([r, length], axis=1), segments=20)
    lying = upright.vertices[:, [2, 0, 1]] + np.array([0, 0, radius], np.float32)
    mesh = Mesh(lying.astype(np.float32), upright.faces, upright.uv)
    solid = Solid("ellipsoid", (radius * 1.35, radius, radius), (0, 0, radius))
    return Form(mesh, (solid,), radius * 1.5, 2 * radius, None, ("mottled",), mass=0.1)


def banana(rng: Rng) -> Form:
    """A banana."""
    bend, thick = rng.uniform(0.08, 0.11), rng.uniform(0.014, 0.018)
    half = rng.uniform(0.75, 0.95)
    path = shapes.arc((0, 0, 0), bend, bend, -half, half, count=13)
    along = np.linspace(-1, 1, 13)
    radii = thick * (1 - 0.72 * np.abs(along) ** 4)
    upright = shapes.tube(path, radii, segments=10, crush=1.0)
    # Lay the bend flat on the table: y takes the height's place.
    middle = np.array([bend * 0.85, 0, 0], np.float32)
    lying = (upright.vertices - middle)[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32)
    lying[:, 2] += thick
    mesh = Mesh(lying.astype(np.float32), upright.faces, upright.uv)
    tip = shapes.tube(path[-2:] + (path[-1:] - path[-2:-1]) * 0.75, radii[-2:] * 1.1, segments=8)
    end = (tip.vertices - middle)[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32)
    end[:, 2] += thick
    reach = bend * float(np.sin(half))
    solids = tuple(
        Solid("sphere", (thick * 0.95,), (float(x) - bend * 0.85, -float(z), thick))
        for x, _, z in path[[1, 4, 6, 8, 11]]
    )
    second = Mesh(end.astype(np.float32), tip.faces, tip.uv)
    return Form(mesh, solids, reach, 2 * thick, second, ("plain", "mottled"), mass=0.12)


def bread(rng: Rng) -> Form:
    """A bread."""
    length, width, height = rng.uniform(0.12, 0.17), rng.uniform(0.06, 0.08), rng.uniform(0.05, 0.065)
    steps = np.linspace(-1, 1, 13)
    path = np.stack([steps * length / 2 * 0.97, np.zeros(13), np.full(13, height / 2)], axis=1)
    radii = height / 2 * (1 - np.abs(steps) ** 6 * 0.45)
    mesh = shapes.tube(path, radii, segments=16, crush=width / height)
    solid = Solid("box", (length / 2, width * 0.4, height / 2), (0, 0, height / 2))
    return Form(mesh, (solid,), length / 2, height, None, ("mottled",), mass=0.2)
