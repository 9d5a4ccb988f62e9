"""Scans as objects of rendered scenes: a light mesh, a solid that the physics knows, and what people call them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from villa.data.composites.colours import Colouring, colouring
from villa.data.scans.facts import ScanFacts, facts_of
from villa.data.scans.lightening import lightened
from villa.data.scans.reading import Scan, ScanError, find_scans, read_scan
from villa.data.scenes.objects import ObjectModel, Solid, Surface, attach_surfaces

SOURCE = "scans"
_FACES, _TEXTURE_PX = 6000, 512
_LARGEST_M = 0.45  # of the longest side; what is larger leaves no room on a table
_MASS_KG = 0.3
_GAIN = 1.25  # of a texture: the lamps of a scene seldom add up to full light, and scans have no light of their own
_SAMPLES = 20_000  # points on a surface that tell its colours
_HANDLED = frozenset({"mug", "pan", "pitcher"})  # what they stand on says where their middle is
_ROUND = frozenset({"can", "bottle", "bowl", "plate", "pan", "mug", "cup", "pitcher"})
# The share of its box up to which a thing may be a ball (a perfect one fills pi / 6) and a cylinder (pi / 4), and the
# least ratio of their sides.
_BALL_FILLS, _BALL_SIDES = 0.68, 0.7
_CYLINDER_FILLS, _CYLINDER_SIDES = 0.86, 0.93


@lru_cache(maxsize=2)
def scanned_models(folder: Path) -> tuple[ObjectModel, ...]:
    """Every whole scan of a folder that has a kind and fits on a table, by name, standing as it was scanned.

    Raises:
        ScanError: no scans, a damaged one, or none of a known kind.
    """
    facts = {files: facts_of(files.name) for files in find_scans(folder)}
    found = [_model(read_scan(files), about) for files, about in facts.items() if about.kind and not about.gaps]
    models = tuple(model for model in found if model is not None)
    if not models:
        raise ScanError(
            f"{folder} holds no scan for a table: wanted folders named for kinds of kinds.yaml, with things of at most "
            f"{_LARGEST_M} m"
        )
    return models


def _model(scan: Scan, facts: ScanFacts) -> ObjectModel | None:
    low, high = scan.vertices.min(axis=0), scan.vertices.max(axis=0)
    if float((high - low).max()) > _LARGEST_M:
        return None
    colours = _colours(scan)
    light = lightened(scan, _FACES, _TEXTURE_PX)
    middle = (low + high) / 2
    if facts.kind in _HANDLED:
        foot = scan.vertices[scan.vertices[:, 2] < low[2] + 0.15 * (high[2] - low[2])]
        middle = (foot.min(axis=0) + foot.max(axis=0)) / 2
    points = light.vertices - np.array([middle[0], middle[1], low[2]], np.float32)
    texture_at = np.stack([light.uv[:, 0], 1 - light.uv[:, 1]], axis=1)  # its first row is at v = 0 there
    texture = np.clip(light.texture * _GAIN, 0, 255).astype(np.uint8)
    surface = Surface(points, light.corners, texture_at, texture, uv_faces=light.uv_corners, specular=0.1)
    return ObjectModel(
        key=f"{SOURCE}/{scan.name}",
        kind=facts.kind,
        colour=colours.main if facts.colour is None else facts.colour,
        material=facts.material,
        source=SOURCE,
        radius=float(np.linalg.norm(points[:, :2], axis=1).max()),
        height=float(high[2] - low[2]),
        attach=attach_surfaces((surface,), (_solid(points, facts.kind),), _MASS_KG),
        nouns=facts.nouns,
        colours=tuple(c for c in colours.shown if c != colours.main) if facts.also is None else facts.also,
    )


def _solid(points: NDArray[np.float32], kind: str) -> Solid:
    """The ball, cylinder or box that a thing [V, 3] is most like; it may be turned about the vertical."""
    low, high = float(points[:, 2].min()), float(points[:, 2].max())
    (x, y), (width, depth), turn = cv2.minAreaRect(np.ascontiguousarray(points[:, :2]))
    half = (width / 2, depth / 2, (high - low) / 2)
    middle = (x, y, (low + high) / 2)
    if kind in _ROUND:
        return Solid("cylinder", (min(half[:2]), half[2]), (0.0, 0.0, middle[2]) if kind in _HANDLED else middle)
    fills = float(ConvexHull(points.astype(np.float64), qhull_options="QJ").volume) / (8 * half[0] * half[1] * half[2])
    turned = (float(np.cos(np.radians(turn) / 2)), 0.0, 0.0, float(np.sin(np.radians(turn) / 2)))
    if fills <= _BALL_FILLS and min(half) > _BALL_SIDES * max(half):
        return Solid("ellipsoid", half, middle, turned)
    if _BALL_FILLS < fills <= _CYLINDER_FILLS and min(half[:2]) > _CYLINDER_SIDES * max(half[:2]):
        return Solid("cylinder", (min(half[:2]), half[2]), middle)
    return Solid("box", half, middle, turned)


def _colours(scan: Scan) -> Colouring:
    """The colours of points spread evenly over the surface."""
    rng = np.random.default_rng(0)
    at = scan.vertices[scan.corners].astype(np.float64)
    area = np.linalg.norm(np.cross(at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]), axis=1)
    face = rng.choice(len(area), _SAMPLES, p=area / area.sum())
    share = rng.dirichlet((1.0, 1.0, 1.0), _SAMPLES)[..., None]
    uv = (scan.uv[scan.uv_corners[face]] * share).sum(axis=1)
    height, width = scan.texture.shape[:2]
    rows = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    columns = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    pixels = scan.texture[rows, columns]
    return colouring(np.dstack([pixels[None], np.full((1, len(pixels), 1), 255, np.uint8)]))
