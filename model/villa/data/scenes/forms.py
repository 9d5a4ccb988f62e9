"""The shapes of household objects from random numbers: meshes in two colours, and what the physics feels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from villa.data.scenes import shapes
from villa.data.scenes.objects import Solid
from villa.data.scenes.palette import PATTERNS, Pattern
from villa.data.scenes.shapes import Mesh

Rng = np.random.Generator


@dataclass(frozen=True)
class Form:
    """A shape before it has a colour: parts in the main colour, parts in the second one, and the collision."""

    main: Mesh
    solids: tuple[Solid, ...]
    radius: float
    height: float
    second: Mesh | None = None
    patterns: tuple[Pattern, ...] = PATTERNS
    window: tuple[float, float] = (0.08, 0.45)  # where on the profile a pattern may lie
    mass: float = 0.25


def _smooth(points: list[tuple[float, float]], count: int = 14) -> NDArray[np.float64]:
    """A curve through the points: monotone cubic in the running length."""
    profile = np.asarray(points, np.float64)
    length = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))))
    where = np.linspace(0.0, length[-1], count)
    tangent = np.gradient(profile, length, axis=0)
    out = np.empty((count, 2))
    for row, at in enumerate(where):
        k = min(int(np.searchsorted(length, at, side="right")) - 1, len(length) - 2)
        h = length[k + 1] - length[k]
        t = (at - length[k]) / h
        out[row] = (
            (2 * t**3 - 3 * t**2 + 1) * profile[k]
            + (t**3 - 2 * t**2 + t) * h * tangent[k]
            + (3 * t**2 - 2 * t**3) * profile[k + 1]
            + (t**3 - t**2) * h * tangent[k + 1]
        )
    out[:, 0] = np.maximum(out[:, 0], 1e-4)
    out[:, 1] = np.maximum(out[:, 1], 0.0)
    return out


def _hollow(outer: NDArray[np.float64], wall: float) -> NDArray[np.float64]:
    """Outside profile, rim, and the inside down to the floor."""
    inner = outer[::-1].copy()
    inner[:, 0] = np.maximum(inner[:, 0] - wall, 1e-4)
    inner[:, 1] = np.maximum(inner[:, 1], wall)
    inner[-1] = (1e-4, wall)
    return np.concatenate([[(1e-4, 0.0)], outer, inner])


def _vessel(rng: Rng, bottom: float, top: float, height: float, belly: float, wall: float) -> Mesh:
    outer = _smooth([(bottom * 0.96, 0.0), (bottom, 0.04 * height), (belly, 0.5 * height), (top, height)], count=12)
    return shapes.revolve(_hollow(outer, wall), segments=int(rng.choice([20, 28, 32])))


def _upright(radius: float, height: float) -> Solid:
    return Solid("cylinder", (radius, height / 2), (0.0, 0.0, height / 2))


def _cup_like(rng: Rng, handle: bool) -> Form:
    height = rng.uniform(0.08, 0.12) if handle else rng.uniform(0.075, 0.14)
    bottom = height * rng.uniform(0.28, 0.46) if handle else height * rng.uniform(0.24, 0.36)
    top = bottom * (rng.uniform(0.95, 1.3) if handle else rng.uniform(1.1, 1.5))
    belly = (bottom + top) / 2 * rng.uniform(0.97, 1.1)
    body = _vessel(rng, bottom, top, height, belly, wall=0.004)
    solids: tuple[Solid, ...] = (_upright(max(bottom, top), height),)
    second = None
    if handle:
        reach, rise = height * rng.uniform(0.28, 0.4), height * rng.uniform(0.26, 0.36)
        path = shapes.arc((belly * 0.93, 0, height * 0.5), reach, rise, -0.5 * np.pi, 0.5 * np.pi)
        grip = shapes.tube(path, np.full(len(path), rng.uniform(0.005, 0.008)), crush=1.3)
        # A handle in the second colour only sometimes: it is part of the mug either way.
        if rng.random() < 0.2:
            second = grip
        else:
            body = shapes.merge(body, Mesh(grip.vertices, grip.faces, grip.uv * 0.02 + np.float32(0.01)))
        solids += (Solid("box", (reach / 2, 0.007, rise), (max(bottom, top) + reach / 2 - 0.006, 0.0, height * 0.5)),)
    return Form(body, solids, max(bottom, top) + (0.03 if handle else 0.0), height, second)


def mug(rng: Rng) -> Form:
    """A mug."""
    return _cup_like(rng, handle=True)


def cup(rng: Rng) -> Form:
    """A cup."""
    return _cup_like(rng, handle=False)


def bowl(rng: Rng) -> Form:
    """A bowl."""
    radius = rng.uniform(0.055, 0.1)
    height = radius * rng.uniform(0.5, 0.9)
    foot = radius * rng.uniform(0.4, 0.6)
    outer = _smooth(
        [
            (foot, 0.0),
            (radius * rng.uniform(0.72, 0.9), 0.35 * height),
            (radius * 0.97, 0.8 * height),
            (radius, height),
        ]
    )
    mesh = shapes.revolve(_hollow(outer, 0.005), segments=32)
    return Form(mesh, (_upright(radius * 0.9, height),), radius, height, window=(0.15, 0.48), mass=0.3)


def plate(rng: Rng) -> Form:
    """A plate."""
    radius = rng.uniform(0.07, 0.12)
    height = rng.uniform(0.014, 0.026)
    flat = radius * rng.uniform(0.55, 0.7)
    outer = np.array([(flat, 0.0), (flat * 1.08, 0.3 * height), (radius * 0.98, 0.85 * height), (radius, height)])
    mesh = shapes.revolve(_hollow(outer, 0.004), segments=36)
    patterns: tuple[Pattern, ...] = ("plain", "plain", "mottled", "bands", "bars")
    return Form(mesh, (_upright(radius, height),), radius, height, None, patterns, (0.5, 0.75), 0.3)


def bottle(rng: Rng) -> Form:
    """A bottle."""
    height, radius = rng.uniform(0.15, 0.25), rng.uniform(0.024, 0.04)
    neck, shoulder = radius * rng.uniform(0.3, 0.5), rng.uniform(0.5, 0.68)
    crush = 1.0 if rng.random() < 0.75 else rng.uniform(0.6, 0.8)
    waist = radius * (1.0 if rng.random() < 0.6 else rng.uniform(0.8, 0.95))
    lower = _smooth(
        [
            (radius * 0.94, 0.0),
            (radius, 0.03 * height),
            (waist, 0.3 * height),
            (radius, shoulder * height),
            (neck, (shoulder + rng.uniform(0.12, 0.22)) * height),
            (neck, 0.92 * height),
        ],
        count=18,
    )
    body = np.concatenate([[(1e-4, 0.0)], lower, [(1e-4, 0.92 * height)]])
    cap = [(neck * 1.15, 0.9 * height), (neck * 1.15, height), (1e-4, height)]
    window = (0.15, 0.6 * shoulder + 0.1)
    main, top = shapes.revolve(body, 26, crush), shapes.revolve(cap, 20, crush)
    patterns: tuple[Pattern, ...] = ("plain", "label", "label", "label", "bands")
    solids = (
        _upright(radius * min(1.0, (1 + crush) / 2), shoulder * height),
        Solid("cylinder", (neck, height * 0.2), (0.0, 0.0, height * 0.8)),
    )
    return Form(main, solids, radius, height, top, patterns, window, 0.35)


def can(rng: Rng) -> Form:
    """A can."""
    radius = rng.uniform(0.03, 0.042)
    height = radius * rng.uniform(2.0, 3.4)
    side = [(1e-4, 0.002), (radius * 0.97, 0.002), (radius, 0.005), (radius, height - 0.005), (radius * 0.97, height)]
    lid = [(radius * 0.97, height), (radius * 0.9, height - 0.003), (1e-4, height - 0.003)]
    patterns: tuple[Pattern, ...] = ("label", "label", "bands", "plain")
    return Form(
        shapes.revolve(side, 28),
        (_upright(radius, height),),
        radius,
        height,
        shapes.revolve(lid, 28),
        patterns,
        (0.35, 0.9),
        0.35,
    )


def jar(rng: Rng) -> Form:
    """A jar."""
    radius = rng.uniform(0.032, 0.05)
    height = radius * rng.uniform(1.7, 2.6)
    neck = radius * rng.uniform(0.72, 0.85)
    lower = _smooth([(radius * 0.93, 0.0), (radius, 0.06 * height), (radius, 0.66 * height), (neck, 0.8 * height)])
    body = np.concatenate([[(1e-4, 0.0)], lower])
    lid = [
        (neck * 1.12, 0.79 * height),
        (neck * 1.14, 0.8 * height),
        (neck * 1.14, 0.97 * height),
        (neck * 1.08, height),
        (1e-4, height),
    ]
    patterns: tuple[Pattern, ...] = ("plain", "label", "label", "mottled")
    return Form(
        shapes.revolve(body, 28),
        (_upright(radius, height),),
        radius,
        height,
        shapes.revolve(lid, 28),
        patterns,
        (0.3, 0.85),
        0.35,
    )


def vase(rng: Rng) -> Form:
    """A vase."""
    height, foot = rng.uniform(0.13, 0.22), rng.uniform(0.022, 0.035)
    belly, neck = foot * rng.uniform(1.4, 2.0), foot * rng.uniform(0.6, 0.95)
    outer = _smooth(
        [
            (foot, 0.0),
            (foot * 1.02, 0.03 * height),
            (belly, rng.uniform(0.3, 0.45) * height),
            (neck, rng.uniform(0.74, 0.82) * height),
            (neck * rng.uniform(1.3, 1.8), height),
        ],
        count=18,
    )
    mesh = shapes.revolve(_hollow(outer, 0.004), segments=28)
    return Form(mesh, (_upright(belly, height * 0.9),), belly, height, window=(0.1, 0.45), mass=0.4)


def pan(rng: Rng) -> Form:
    """A pan."""
    radius, height = rng.uniform(0.075, 0.11), rng.uniform(0.03, 0.045)
    outer = np.array([(radius * 0.82, 0.0), (radius * 0.86, 0.1 * height), (radius, height)])
    body = shapes.revolve(_hollow(outer, 0.004), segments=34)
    length = radius * rng.uniform(1.2, 1.7)
    start = radius * 0.97
    path = [(start, 0, 0.75 * height), (start + 0.3 * length, 0, 1.0 * height), (start + length, 0, 1.15 * height)]
    handle = shapes.tube(path, [0.006, 0.009, 0.01], crush=1.3)
    # Centred on pan and handle together: the footprint's circle is the smallest so.
    middle = (start + length - radius) / 2
    main = shapes.turned(body, 0.0, (-middle, 0.0, 0.0))
    second = shapes.turned(handle, 0.0, (-middle, 0.0, 0.0))
    solids = (
        Solid("cylinder", (radius, height / 2), (-middle, 0.0, height / 2)),
        Solid("box", (length / 2, 0.01, 0.008), (start + length / 2 - middle, 0.0, height)),
    )
    patterns: tuple[Pattern, ...] = ("plain", "plain", "mottled")
    return Form(main, solids, radius + middle, height, second, patterns, mass=0.5)


def pot(rng: Rng) -> Form:
    """A pot."""
    radius = rng.uniform(0.06, 0.09)
    height = radius * rng.uniform(0.9, 1.3)
    outer = np.array([(radius * 0.93, 0.0), (radius, 0.06 * height), (radius, 0.96 * height), (radius * 1.04, height)])
    body = shapes.revolve(_hollow(outer, 0.004), segments=32)
    grip = rng.uniform(0.018, 0.028)
    parts = []
    for angle in (0.0, np.pi):
        path = shapes.arc((0, 0, 0), grip, grip * 1.1, -0.5 * np.pi, 0.5 * np.pi)[:, [0, 2, 1]]
        # The handle lies flat: sweep it upright, then lay it down.
        ring = shapes.tube(path[:, [0, 2, 1]], np.full(len(path), 0.006))
        flat = Mesh(ring.vertices[:, [0, 2, 1]] * np.array([1, -1, 1], np.float32), ring.faces, ring.uv)
        placed = Mesh((flat.vertices + np.array([radius, 0, 0.75 * height])).astype(np.float32), flat.faces, flat.uv)
        parts.append(shapes.turned(placed, angle))
    second = shapes.merge(*parts)
    if rng.random() < 0.6:  # with a lid
        lid = [(radius * 1.04, height), (radius * 0.5, height * 1.12), (1e-4, height * 1.16)]
        knob = [
            (1e-4, height * 1.12),
            (0.008, height * 1.14),
            (0.014, height * 1.22),
            (0.012, height * 1.28),
            (1e-4, height * 1.3),
        ]
        top = shapes.revolve(lid, 32)
        body = shapes.merge(body, Mesh(top.vertices, top.faces, top.uv * 0.02 + np.float32(0.01)))
        second = shapes.merge(second, shapes.revolve(knob, 14))
    solids = (_upright(radius, height), Solid("box", (radius + grip, 0.02, 0.006), (0, 0, 0.75 * height)))
    return Form(body, solids, radius + grip, height * 1.25, second, ("plain", "plain", "mottled", "bands"), mass=0.6)


def moka_pot(rng: Rng) -> Form:
    """A moka pot."""
    radius = rng.uniform(0.038, 0.048)
    height = radius * rng.uniform(3.2, 3.8)
    side = [
        (1e-4, 0.0),
        (radius, 0.0),
        (radius * 0.8, 0.42 * height),
        (radius * 0.72, 0.48 * height),
        (radius * 1.0, 0.86 * height),
        (radius * 0.5, 0.94 * height),
        (1e-4, 0.96 * height),
    ]
    body = shapes.revolve(side, segments=8)
    spout = shapes.tube(
        [(-0.7 * radius, 0, 0.7 * height), (-1.1 * radius, 0, 0.84 * height)], [0.012, 0.006], segments=6
    )
    knob = shapes.revolve([(0.007, 0.94 * height), (0.01, height), (1e-4, height)], 8)
    path = [
        (0.9 * radius, 0, 0.82 * height),
        (1.6 * radius, 0, 0.84 * height),
        (1.75 * radius, 0, 0.75 * height),
        (1.65 * radius, 0, 0.45 * height),
    ]
    handle = shapes.tube(path, [0.006, 0.008, 0.008, 0.006])
    solids = (
        _upright(radius, height),
        Solid("box", (radius * 0.35, 0.008, height * 0.2), (radius * 1.4, 0, 0.65 * height)),
    )
    main = shapes.merge(body, spout)
    return Form(main, solids, radius * 1.5, height, shapes.merge(knob, handle), ("plain",), mass=0.5)


def carton(rng: Rng) -> Form:
    """A carton."""
    width = rng.uniform(0.055, 0.075)
    height = width * rng.uniform(1.8, 2.6)
    body = shapes.merge(shapes.box((width, width, height)), shapes.gable_roof((width, width), height, width * 0.42))
    total = height + width * 0.5
    solid = Solid("box", (width / 2, width / 2, total / 2), (0, 0, total / 2))
    return Form(body, (solid,), width * 0.71, total, None, ("print", "label", "bands", "print"), (0.1, 0.7), 0.4)


def box(rng: Rng) -> Form:
    """A box."""
    if rng.random() < 0.5:
        size = (rng.uniform(0.1, 0.15), rng.uniform(0.035, 0.06), rng.uniform(0.14, 0.2))
    else:
        size = (rng.uniform(0.1, 0.16), rng.uniform(0.08, 0.12), rng.uniform(0.03, 0.06))
    solid = Solid("box", (size[0] / 2, size[1] / 2, size[2] / 2), (0, 0, size[2] / 2))
    patterns: tuple[Pattern, ...] = ("print", "print", "label", "bands")
    radius = float(np.hypot(size[0], size[1])) / 2
    return Form(shapes.box(size), (solid,), radius, size[2], None, patterns, (0.1, 0.8), 0.3)


def book(rng: Rng) -> Form:
    """A book."""
    length, width, thick = rng.uniform(0.14, 0.21), rng.uniform(0.1, 0.14), rng.uniform(0.018, 0.04)
    cover = thick * 0.14
    lower, upper = shapes.box((length, width, cover)), shapes.box((length, width, cover), base=thick - cover)
    spine = shapes.box((length, cover, thick))
    spine = Mesh(spine.vertices + np.array([0, -(width - cover) / 2, 0], np.float32), spine.faces, spine.uv * 0.05)
    lower = Mesh(lower.vertices, lower.faces, lower.uv * 0.05)
    main = shapes.merge(lower, upper, spine)
    pages = shapes.box((length * 0.96, width * 0.95, thick - 2 * cover), base=cover)
    solid = Solid("box", (length / 2, width / 2, thick / 2), (0, 0, thick / 2))
    radius = float(np.hypot(length, width)) / 2
    return Form(main, (solid,), radius, thick, pages, ("print", "print", "plain"), mass=0.3)


def block(rng: Rng) -> Form:
    """A block."""
    edge = rng.uniform(0.035, 0.06)
    size = (edge, edge, edge) if rng.random() < 0.75 else (edge * 1.8, edge, edge)
    solid = Solid("box", (size[0] / 2, size[1] / 2, size[2] / 2), (0, 0, size[2] / 2))
    patterns: tuple[Pattern, ...] = ("plain", "plain", "plain", "mottled")
    return Form(shapes.box(size), (solid,), float(np.hypot(size[0], size[1])) / 2, edge, None, patterns, mass=0.15)


def cylinder(rng: Rng) -> Form:
    """A cylinder."""
    radius = rng.uniform(0.018, 0.032)
    height = radius * rng.uniform(1.6, 3.2)
    mesh = shapes.revolve([(1e-4, 0), (radius, 0), (radius, height), (1e-4, height)], 24)
    return Form(mesh, (_upright(radius, height),), radius, height, None, ("plain",), mass=0.15)


def basket(rng: Rng) -> Form:
    """A basket."""
    size = (rng.uniform(0.13, 0.19), rng.uniform(0.1, 0.14), rng.uniform(0.06, 0.1))
    flare = rng.uniform(1.12, 1.35)
    solid = Solid("box", (size[0] * flare / 2, size[1] * flare / 2, size[2] / 2), (0, 0, size[2] / 2))
    mesh = shapes.open_box(size, 0.006, flare)
    radius = float(np.hypot(size[0], size[1])) / 2 * flare
    return Form(mesh, (solid,), radius, size[2], None, ("weave",), mass=0.3)


def tray(rng: Rng) -> Form:
    """A tray."""
    size = (rng.uniform(0.19, 0.26), rng.uniform(0.13, 0.18), rng.uniform(0.016, 0.028))
    flare = rng.uniform(1.03, 1.1)
    solid = Solid("box", (size[0] * flare / 2, size[1] * flare / 2, size[2] / 2), (0, 0, size[2] / 2))
    radius = float(np.hypot(size[0], size[1])) / 2 * flare
    return Form(shapes.open_box(size, 0.006, flare), (solid,), radius, size[2], None, ("plain", "mottled"), mass=0.4)
