"""Object models from the meshes of robosuite and metaworld (both MIT), found as installed packages.

Their shapes may occur in training, always freshly painted. The surfaces of the sample scene are
drawn in `villa.data.scenes.sample_art` and are never used for training. The textures that the packages carry are not
used at all: some of them are scans of branded goods.
"""

from __future__ import annotations

import importlib.util
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from villa.data.language.vocabulary import COLOURS
from villa.data.scenes.objects import Attach, ObjectModel, Solid, Surface, attach_surfaces
from villa.data.scenes.palette import ONE_COLOURED, PATTERNS, Pattern, companion, paint
from villa.data.scenes.shapes import Mesh

_ROBOSUITE = "robosuite/models/assets/objects/meshes"
_METAWORLD = "metaworld/assets/objects/meshes"

Painter = Callable[[str, np.random.Generator], tuple[Surface, ...]]
UvMode = Literal["wrap", "wrap_at_handle", "walls", "loaf"]


class OpenAssetError(RuntimeError):
    """A package that carries the meshes, or a file in it, is missing or unreadable."""


@dataclass(frozen=True)
class Part:
    """One visible mesh of a shape. `accent` parts take the second colour."""

    name: str
    mesh: Mesh
    accent: bool = False


@dataclass(frozen=True)
class Shape:
    """An object without its surface: parts in the body frame (z up, on z = 0) and collision solids."""

    key: str
    kind: str
    source: str
    parts: tuple[Part, ...]
    solids: tuple[Solid, ...]
    mass: float  # kg
    material: str
    nouns: tuple[str, ...] = ()
    extra_uses: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()  # those it is painted in for training; empty: any

    @property
    def extent(self) -> tuple[float, float]:
        """Footprint radius and height in m."""
        points = np.concatenate([part.mesh.vertices for part in self.parts])
        return float(np.linalg.norm(points[:, :2], axis=1).max()), float(points[:, 2].max())


def package_file(relative: str) -> Path:
    """A file of an installed package: "robosuite/models/..."; the package itself is not imported.

    Raises:
        OpenAssetError: the package or the file is not there.
    """
    package, _, inside = relative.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise OpenAssetError(
            f"package {package!r} is not installed, its meshes are needed to render: "
            "pip install --no-deps robosuite==1.5.2 metaworld==3.1.1"
        )
    path = Path(next(iter(found.submodule_search_locations))) / inside
    if not path.is_file():
        raise OpenAssetError(f"{path} is missing: wanted robosuite 1.5.2 and metaworld 3.1.1, reinstall {package!r}")
    return path


def load_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices [V, 3] and triangles [F, 3] of a Wavefront OBJ; polygons become fans.

    Raises:
        OpenAssetError: the file holds no face.
    """
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[:1] == ["v"]:
            vertices.append([float(value) for value in fields[1:4]])
        elif fields[:1] == ["f"]:
            corners = [int(field.split("/")[0]) - 1 for field in fields[1:]]
            faces.extend([corners[0], a, b] for a, b in itertools.pairwise(corners[1:]))
    if not faces:
        raise OpenAssetError(f"{path} holds no face: wanted a triangle mesh, reinstall the package")
    return np.array(vertices), np.array(faces)


def load_stl(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices [V, 3] and triangles [F, 3] of a binary STL, equal corners merged.

    Raises:
        OpenAssetError: the length does not fit the count of triangles in the header.
    """
    data = path.read_bytes()
    count = struct.unpack_from("<I", data, 80)[0] if len(data) >= 84 else -1
    if len(data) != 84 + 50 * count:
        raise OpenAssetError(f"{path} has {len(data)} bytes, its header wants {84 + 50 * count}: reinstall the package")
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    corners = np.frombuffer(data, record, count, 84)["corners"].reshape(-1, 3)
    vertices, index = np.unique(np.round(corners, 6), axis=0, return_inverse=True)
    return vertices.astype(np.float64), index.reshape(-1, 3).astype(np.int64)


def _rotation(axis: str, degrees: float) -> NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix


def wrapped(vertices: NDArray[np.float64], faces: NDArray[np.int64], seam_deg: float = 90.0) -> Mesh:
    """Texture coordinates round z: u once around from the seam (degrees from +x), v from the bottom to the top.

    Faces across the seam get corners of their own, so that no triangle runs back over the whole texture.
    """
    low, high = vertices[:, 2].min(), vertices[:, 2].max()
    u = (np.arctan2(vertices[:, 1], vertices[:, 0]) / (2.0 * np.pi) - seam_deg / 360.0) % 1.0
    v = (vertices[:, 2] - low) / max(high - low, 1e-9)
    corner_u = u[faces]
    crossing = (corner_u.max(axis=1) - corner_u.min(axis=1) > 0.5)[:, None] & (corner_u < 0.5)
    moved = np.unique(faces[crossing])
    twin = np.full(len(vertices), -1, np.int64)
    twin[moved] = len(vertices) + np.arange(len(moved))
    points = np.concatenate([vertices, vertices[moved]])
    uv = np.stack([np.concatenate([u, u[moved] + 1.0]), np.concatenate([v, v[moved]])], axis=1)
    return Mesh(
        points.astype(np.float32),
        np.where(crossing, twin[faces], faces).astype(np.int32),
        uv.astype(np.float32),
    )


def walled(vertices: NDArray[np.float64], faces: NDArray[np.int64], lid: bool = False) -> Mesh:
    """Texture coordinates of a box: front and back show the left three quarters, the sides the rest.

    Faces that look up or down show the lower left corner or, with `lid`, what the front shows.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    span = np.maximum(high - low, 1e-9)
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.argmax(np.abs(normal) * np.array([1.0, 1.0, 0.7]), axis=1)
    sign = np.sign(np.take_along_axis(normal, axis[:, None], axis=1))[:, :, None]
    unit = (corners - low) / span  # [F, 3, 3] in 0..1
    across_x = np.where(sign[..., 0] < 0, unit[..., 0], 1.0 - unit[..., 0])
    across_y = np.where(sign[..., 0] > 0, unit[..., 1], 1.0 - unit[..., 1])
    across_lid = 0.75 * unit[..., 0] if lid else 0.01 + 0.01 * unit[..., 0]
    along_lid = unit[..., 1] if lid else 0.01 + 0.01 * unit[..., 1]
    u = np.select(
        [(axis == 1)[:, None], (axis == 0)[:, None]],
        [0.75 * across_x, 0.75 + 0.25 * across_y],
        across_lid,
    )
    v = np.where((axis == 2)[:, None], along_lid, unit[..., 2])
    keys = np.stack([faces, np.broadcast_to((axis * 2 + (sign[:, 0, 0] > 0))[:, None], faces.shape)], -1).reshape(-1, 2)
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    uv = np.stack([u, v], axis=-1).reshape(-1, 2)[first]
    points = corners.reshape(-1, 3)[first]
    return Mesh(points.astype(np.float32), index.reshape(-1, 3).astype(np.int32), uv.astype(np.float32))


@dataclass(frozen=True)
class _File:
    """Where a part comes from, and how it is placed before the whole is scaled and stood on the table."""

    name: str
    path: str
    turn: tuple[str, float] = ("z", 0.0)  # axis, degrees
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)  # m, in the file's own scale
    accent: bool = False


def _parts(files: tuple[_File, ...], scale: tuple[float, float, float], mode: UvMode) -> tuple[Part, ...]:
    placed = []
    for file in files:
        path = package_file(file.path)
        vertices, faces = load_stl(path) if path.suffix == ".stl" else load_obj(path)
        vertices = (vertices @ _rotation(*file.turn).T + np.array(file.shift)) * np.array(scale)
        placed.append((vertices, faces))
    body = placed[0][0]
    middle = (body.min(axis=0) + body.max(axis=0)) / 2.0
    middle[2] = min(float(vertices[:, 2].min()) for vertices, _ in placed)
    return tuple(
        Part(file.name, _unwrap(vertices - middle, faces, mode), file.accent)
        for file, (vertices, faces) in zip(files, placed, strict=True)
    )


def _unwrap(vertices: NDArray[np.float64], faces: NDArray[np.int64], mode: UvMode) -> Mesh:
    if mode in ("wrap", "wrap_at_handle"):
        return wrapped(vertices, faces, 90.0 if mode == "wrap" else 0.0)
    return walled(vertices, faces, lid=mode == "loaf")


def _even(scale: float) -> tuple[float, float, float]:
    return (scale, scale, scale)


def _mug() -> Shape:
    files = (
        _File("body", f"{_METAWORLD}/coffeemachine/mug.stl", shift=(0.0, 0.0, 0.034)),
        _File("handle", f"{_METAWORLD}/coffeemachine/handle.stl", ("x", 90.0), (0.039, 0.0, 0.047)),
    )
    parts = _parts(files, _even(1.45), "wrap_at_handle")
    solids = (
        Solid("cylinder", (0.039, 0.0475), (0, 0, 0.0475)),
        Solid("box", (0.014, 0.006, 0.026), (0.055, 0, 0.05)),
    )
    return Shape("metaworld/mug", "mug", "metaworld", parts, solids, 0.3, "ceramic")


def _can() -> Shape:
    parts = _parts((_File("body", f"{_ROBOSUITE}/can.obj"),), (1.25, 1.25, 1.4), "wrap")
    solids = (Solid("cylinder", (0.031, 0.056), (0, 0, 0.056)),)
    return Shape("robosuite/can", "can", "robosuite", parts, solids, 0.25, "metal", ("drinks can", "soda can"))


def _carton() -> Shape:
    parts = _parts((_File("body", f"{_ROBOSUITE}/milk.obj"),), (1.25, 1.25, 1.05), "walls")
    solids = (Solid("box", (0.0276, 0.0276, 0.08), (0, 0, 0.08)),)
    return Shape("robosuite/carton", "carton", "robosuite", parts, solids, 0.4, "cardboard", ("milk carton",))


def _box() -> Shape:
    parts = _parts((_File("body", f"{_ROBOSUITE}/cereal.obj"),), (1.3, 1.5, 1.25), "walls")
    solids = (Solid("box", (0.065, 0.0225, 0.0937), (0, 0, 0.0937)),)
    return Shape("robosuite/box", "box", "robosuite", parts, solids, 0.35, "cardboard", ("cereal box",))


def _bread() -> Shape:
    files = (_File("body", f"{_ROBOSUITE}/bread.obj", ("z", 90.0)),)
    parts = _parts(files, (2.9, 1.35, 1.25), "loaf")
    solids = (Solid("box", (0.0725, 0.0405, 0.0375), (0, 0, 0.0375)),)
    colours = ("brown",)
    return Shape("robosuite/bread", "bread", "robosuite", parts, solids, 0.3, "food", colours=colours)


def _bottle() -> Shape:
    parts = _parts((_File("body", f"{_ROBOSUITE}/bottle.obj"),), _even(1.25), "wrap")
    solids = (
        Solid("cylinder", (0.035, 0.05), (0, 0, 0.05)),
        Solid("cylinder", (0.02, 0.05), (0, 0, 0.15)),
    )
    return Shape("robosuite/bottle", "bottle", "robosuite", parts, solids, 0.3, "glass")


def _lemon() -> Shape:
    parts = _parts((_File("body", f"{_ROBOSUITE}/lemon.obj"),), (1.9, 1.45, 1.45), "wrap")
    solids = (Solid("ellipsoid", (0.042, 0.029, 0.029), (0, 0, 0.029)),)
    return Shape("robosuite/lemon", "lemon", "robosuite", parts, solids, 0.1, "food", colours=("yellow",))


def _ball() -> Shape:
    files = (
        _File("panels", f"{_METAWORLD}/basketball/basketballouter.stl"),
        _File("seams", f"{_METAWORLD}/basketball/basketballinner.stl", accent=True),
    )
    parts = _parts(files, _even(1.25), "wrap")
    solids = (Solid("sphere", (0.0374,), (0, 0, 0.0374)),)
    return Shape("metaworld/ball", "ball", "metaworld", parts, solids, 0.12, "rubber", ("basketball",))


def _hammer() -> Shape:
    files = (
        _File("handle", f"{_METAWORLD}/hammer/hammerhandle.stl", ("y", 90.0)),
        _File("head", f"{_METAWORLD}/hammer/hammerhead.stl", shift=(0.16, 0.0, 0.0), accent=True),
    )
    parts = _parts(files, _even(0.62), "wrap")
    solids = (
        Solid("box", (0.087, 0.0124, 0.0124), (0, 0, 0.0236)),
        Solid("box", (0.0236, 0.0446, 0.0236), (0.0992, 0, 0.0236)),
    )
    return Shape("metaworld/hammer", "hammer", "metaworld", parts, solids, 0.4, "metal")


SHAPES: dict[str, Callable[[], Shape]] = {
    "mug": _mug,
    "can": _can,
    "carton": _carton,
    "box": _box,
    "bread": _bread,
    "bottle": _bottle,
    "lemon": _lemon,
    "ball": _ball,
    "hammer": _hammer,
}


def _painted(shape: Shape, colour: str, rng: np.random.Generator) -> tuple[tuple[Surface, ...], tuple[str, ...]]:
    """A new surface in a named colour for each call, and the other colours on it."""
    natural = bool(shape.colours)
    pattern: Pattern = "mottled" if natural else PATTERNS[int(rng.integers(len(PATTERNS)))]
    second = companion(colour, rng)
    textures = {
        False: paint(colour, second, pattern, rng, window=(0.1, 0.9)),
        True: paint(second, second, "plain", rng),
    }
    specular, shininess = float(rng.uniform(0.05, 0.5)), float(rng.uniform(0.1, 0.7))
    surfaces = tuple(
        Surface(
            part.mesh.vertices,
            part.mesh.faces,
            part.mesh.uv,
            textures[part.accent],
            specular=specular,
            shininess=shininess,
        )
        for part in shape.parts
    )
    shows_second = pattern not in ONE_COLOURED or any(part.accent for part in shape.parts)
    return surfaces, (second,) if shows_second else ()


def model(shape: Shape, colour: str, key: str, attach: Attach, colours: tuple[str, ...] = ()) -> ObjectModel:
    """The object model of a shape under some surface."""
    radius, height = shape.extent
    return ObjectModel(
        key=key,
        kind=shape.kind,
        colour=colour,
        material=shape.material,
        source=shape.source,
        radius=radius,
        height=height,
        attach=attach,
        nouns=shape.nouns,
        extra_uses=shape.extra_uses,
        colours=colours,
        rivals=colours,
    )


def _training_model(shape: Shape, colour: str) -> ObjectModel:
    key = f"{shape.key}/{colour}"

    def painted(rng: np.random.Generator) -> ObjectModel:
        surfaces, others = _painted(shape, colour, rng)
        return model(shape, colour, key, attach_surfaces(surfaces, shape.solids, shape.mass), others)

    def attach(spec: Any, name: str, rng: np.random.Generator) -> Any:
        return painted(rng).attach(spec, name, rng)

    return replace(model(shape, colour, key, attach), painted=painted)


def training_models() -> tuple[ObjectModel, ...]:
    """Every shape in many colours, under surfaces that the sample scene never shows.

    Raises:
        OpenAssetError: robosuite or metaworld is not installed.
    """
    shapes = [build() for build in SHAPES.values()]
    return tuple(_training_model(shape, colour) for shape in shapes for colour in shape.colours or COLOURS)
