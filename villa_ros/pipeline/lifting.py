"""A mask and registered depth -> an object in metres, in the camera's optical frame (REP-103).

A mask never ends exactly where the object does: along its rim lie pixels of what the object stands on, and depth that
is half the one and half the other. So the rim is left out, what lies far off the rest is left out, and the plane that
the object stands on is found in the pixels round it: nothing of it belongs to the object, and the object's box stands
on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from villa.masks import Mask, RleMask, inside
from villa_ros.pipeline.camera_model import CameraModel
from villa_ros.pipeline.depth import DepthImage

Points = NDArray[np.float64]  # [N, 3] m

_LEAST_POINTS = 12  # fewer tell nothing of a shape
_MOST_POINTS = 20_000  # of an object or its surroundings; more make no better box
_RING_SHARE = 0.15  # width of the ring round an object, of the root of its area
_RING_PX = (4, 40)
_GAP_PX = 2  # between object and ring: half the one and half the other
_FAR_OFF = 4.5  # median absolute deviations in depth
_LEAST_SPREAD_M = 0.01
_TRIALS, _PLANES = 60, 3
_PLANE_SHARE = 0.25  # of the ring that must lie in a plane
_STANDS_WITHIN = 4.0  # tolerances between the plane and the lowest of the object
_TOWER = 2.0  # times as high as wide: what is seen from above only is taken for no higher
_FLAT_SHARE = 0.85  # so much of an object in the plane: it is flat, and not a rim of table
_UP_TO = 99.0  # percentile of heights that is the top: single points above it are noise


@dataclass(frozen=True)
class Lifted:
    """One object in metres. The box's axes are the columns of the rotation that `orientation` is."""

    centroid: tuple[float, float, float]
    centre: tuple[float, float, float]  # of the box
    orientation: tuple[float, float, float, float]  # of the box, quaternion x, y, z, w
    size: tuple[float, float, float]  # of the box, along its own axes
    valid_points: int  # pixels of the mask with a depth
    valid_fraction: float  # of the mask
    on_plane: bool  # was the plane found that it stands on? The box's z axis is that plane's normal then


def points_of(mask: RleMask, depth: DepthImage, camera: CameraModel) -> NDArray[np.float32]:
    """Every pixel of a mask that has a depth -> [N, 3] m.

    Raises:
        ValueError: mask, depth image and camera differ in size.
    """
    _check_sizes(mask, depth, camera)
    rows, columns = slice(mask.y, mask.y + mask.box_height), slice(mask.x, mask.x + mask.box_width)
    cloud = _cloud(rows, columns, depth, camera)
    return cloud[inside(mask) & np.isfinite(cloud[..., 2])]


def lift(mask: RleMask, depth: DepthImage, camera: CameraModel, others: Sequence[RleMask] = ()) -> Lifted | None:
    """Where an object is and how large what is seen of it; None where no depth tells.

    `others`: masks of the other objects, which are not what this one stands on.

    Raises:
        ValueError: mask, depth image and camera differ in size.
    """
    _check_sizes(mask, depth, camera)
    if not mask.area:
        return None
    margin = int(np.clip(_RING_SHARE * np.sqrt(mask.area), *_RING_PX)) + _GAP_PX
    rows = slice(max(0, mask.y - margin), min(mask.height, mask.y + mask.box_height + margin))
    columns = slice(max(0, mask.x - margin), min(mask.width, mask.x + mask.box_width + margin))
    own = _part(mask, rows, columns)
    cloud = _cloud(rows, columns, depth, camera)
    known = np.isfinite(cloud[..., 2])
    valid = int(np.count_nonzero(own & known))
    if valid < _LEAST_POINTS:
        return None
    body = _eroded(own) & known
    points = _thinned(cloud[body if np.count_nonzero(body) >= max(_LEAST_POINTS, valid // 4) else own & known])
    points = points[_near_the_rest(points[:, 2])]
    ring = known & _ring(own, margin)
    for other in others:
        ring &= ~_part(other, rows, columns)
    plane = support_plane(_thinned(cloud[ring]), points)
    if plane is not None:
        above = points @ plane[:3] + plane[3] > _tolerance(points)
        if np.count_nonzero(~above) < _FLAT_SHARE * len(points):
            points = points[above]
    centre, rotation, size = _box(points, plane)
    return Lifted(
        _triple(points.mean(axis=0)),
        _triple(centre),
        tuple(map(float, Rotation.from_matrix(rotation).as_quat())),  # type: ignore[arg-type]  # four of them
        _triple(size),
        valid,
        valid / mask.area,
        plane is not None,
    )


def lift_all(masks: Sequence[RleMask], depth: DepthImage, camera: CameraModel) -> list[Lifted | None]:
    """Where each object of a frame is: `lift`, with all others as those that it does not stand on.

    Raises:
        ValueError: masks, depth image and camera differ in size.
    """
    return [lift(mask, depth, camera, [*masks[:place], *masks[place + 1 :]]) for place, mask in enumerate(masks)]


def labelled_points(
    masks: Sequence[RleMask], labels: Sequence[int], depth: DepthImage, camera: CameraModel
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Every pixel of one or more masks that has a depth -> [N, 3] m, and the label of its mask [N].

    Raises:
        ValueError: masks, depth image and camera differ in size.
    """
    clouds = [points_of(mask, depth, camera) for mask in masks]
    return np.concatenate(clouds), np.repeat(labels, [len(cloud) for cloud in clouds]).astype(np.uint32)


def support_plane(around: Points, body: Points) -> NDArray[np.float64] | None:
    """Points round an object and its own -> the plane it stands on [a, b, c, d], normal of length 1 towards it.

    Of the planes that hold a good share of what is around, the first that the object touches. Seen right from above an
    object shows nothing of its sides and seems to float: then the only plane around it is the one, unless the object
    would be a tower. None without one.
    """
    if len(body) < _LEAST_POINTS:
        return None
    rest, least = around, max(_LEAST_POINTS, round(_PLANE_SHARE * len(around)))
    rng = np.random.default_rng(0)  # the same points give the same plane
    below: list[tuple[NDArray[np.float64], float]] = []  # planes that it does not touch, and how far off they are
    for _ in range(_PLANES):
        if len(rest) < least:
            break
        plane, hit = _fitted(rest, rng)
        if np.count_nonzero(hit) < least:
            break
        height = body @ plane[:3] + plane[3]
        if np.median(height) < 0:
            plane, height = -plane, -height
        # An object above its table has its lowest points there; a wall behind it is far from all of them.
        tolerance = float(np.median(_tolerance(body)))
        lowest = float(np.percentile(height, 5))
        if abs(lowest) < _STANDS_WITHIN * tolerance:
            return plane
        below.append((plane, lowest))
        rest = rest[~hit]
    if len(below) != 1:
        return None
    plane, lowest = below[0]
    across = float(np.linalg.norm(np.ptp(body - np.outer(body @ plane[:3], plane[:3]), axis=0)))
    return plane if 0 < lowest < _TOWER * across else None


def _fitted(points: Points, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The plane that most points lie in (RANSAC, then least squares), and which they are."""
    triples = points[rng.integers(len(points), size=(_TRIALS, 3))]
    normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
    length = np.linalg.norm(normals, axis=1)
    normals = normals[length > 1e-9] / length[length > 1e-9, None]
    if not len(normals):
        return np.array([0.0, 0.0, 1.0, 0.0]), np.zeros(len(points), np.bool_)
    offsets = -np.einsum("td,td->t", normals, triples[length > 1e-9, 0])
    near = np.abs(points @ normals.T + offsets) < _tolerance(points)[:, None]
    hit = near[:, near.sum(axis=0).argmax()]
    middle = points[hit].mean(axis=0)
    normal = np.linalg.svd(points[hit] - middle, full_matrices=False)[2][2]
    plane = np.append(normal, -normal @ middle)
    return plane, np.abs(points @ normal + plane[3]) < _tolerance(points)


def _box(
    points: Points, plane: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Points -> centre, rotation [3, 3] and size of their box: on a plane, or along the camera's axes."""
    if plane is None:
        low, high = points.min(axis=0), points.max(axis=0)
        return (low + high) / 2, np.eye(3), high - low
    up = plane[:3]
    side = np.cross(up, [0.0, 0.0, 1.0] if abs(up[2]) < 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    flat = np.stack((points @ side, points @ np.cross(up, side)), axis=1)
    middle, (length, width), degrees = cv2.minAreaRect(flat.astype(np.float32))
    turn = np.deg2rad(degrees if length >= width else degrees + 90)
    x = np.cos(turn) * side + np.sin(turn) * np.cross(up, side)
    if x[0] < 0:  # both ways are right; the one that points to the right of the image is taken
        x = -x
    top = max(0.0, float(np.percentile(points @ up + plane[3], _UP_TO)))
    # From coordinates in the plane back to space: the plane's own point nearest to the camera is its origin.
    foot = middle[0] * side + middle[1] * np.cross(up, side) - plane[3] * up
    rotation = np.stack((x, np.cross(up, x), up), axis=1)
    return foot + top / 2 * up, rotation, np.array([max(length, width), min(length, width), top])


def _check_sizes(mask: RleMask, depth: DepthImage, camera: CameraModel) -> None:
    sizes = {(mask.width, mask.height), (depth.width, depth.height), (camera.width, camera.height)}
    if len(sizes) > 1:
        raise ValueError(
            f"the image has {mask.width}x{mask.height} px, depth {depth.width}x{depth.height}, camera info "
            f"{camera.width}x{camera.height}: wanted one size; publish depth registered to the image"
        )


def _cloud(rows: slice, columns: slice, depth: DepthImage, camera: CameraModel) -> NDArray[np.float32]:
    z = depth.metres(rows, columns)
    return np.concatenate((camera.rays(rows, columns) * z[..., None], z[..., None]), axis=-1)


def _part(mask: RleMask, rows: slice, columns: slice) -> Mask:
    """A mask [H, W] -> what of it lies in this part of the image [h, w]."""
    part = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    top, bottom = max(rows.start, mask.y), min(rows.stop, mask.y + mask.box_height)
    left, right = max(columns.start, mask.x), min(columns.stop, mask.x + mask.box_width)
    if top < bottom and left < right:
        box = inside(mask)[top - mask.y : bottom - mask.y, left - mask.x : right - mask.x]
        part[top - rows.start : bottom - rows.start, left - columns.start : right - columns.start] = box
    return part


def _eroded(mask: Mask) -> Mask:
    return np.asarray(cv2.erode(mask.view(np.uint8), np.ones((3, 3), np.uint8)), np.bool_)


def _ring(mask: Mask, margin: int) -> Mask:
    def grown(by: int) -> Mask:
        shape = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * by + 1, 2 * by + 1))
        return np.asarray(cv2.dilate(mask.view(np.uint8), shape), np.bool_)

    return grown(margin) & ~grown(_GAP_PX)


def _near_the_rest(depth: NDArray[np.float64]) -> NDArray[np.bool_]:
    middle = np.median(depth)
    spread = max(_LEAST_SPREAD_M, float(np.median(np.abs(depth - middle))))
    return np.abs(depth - middle) <= _FAR_OFF * spread


def _tolerance(points: Points) -> NDArray[np.float64]:
    """How far a point of a plane may be off it, m: a depth camera's noise grows with the square of the distance."""
    return np.maximum(0.005, 0.004 * points[:, 2] ** 2)


def _thinned(points: NDArray[np.float32]) -> Points:
    return points[:: max(1, -(-len(points) // _MOST_POINTS))].astype(np.float64)


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = map(float, values)
    return x, y, z
