"""Scans with fewer faces: for a picture of 320 px a few thousand show what sixteen thousand do."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from villa.data.scans.reading import Scan

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_CELLS = (24, 34, 48, 68, 96, 136)  # along the longest side; the first that leaves faces enough
_UV_CELLS = 16  # what is further apart on the texture stays apart


def lightened(scan: Scan, faces: int, texture_px: int) -> Scan:
    """The same with at least `faces` faces, where it has as many, and a texture of at most `texture_px` a side."""
    light = scan
    for cells in _CELLS:
        if len(scan.corners) <= faces:
            break
        light = _clustered(scan, cells)
        if len(light.corners) >= faces:
            break
    height, width = scan.texture.shape[:2]
    scale = min(1.0, texture_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(scan.texture, size, interpolation=cv2.INTER_AREA)
    return replace(light, texture=np.ascontiguousarray(small, np.uint8))


def _clustered(scan: Scan, cells: int) -> Scan:
    """Merge the vertices that share a cell of a grid and face the same way: both sides of a thin wall stay."""
    vertices = scan.vertices.astype(np.float64)
    low = vertices.min(axis=0)
    grid = np.floor((vertices - low) / (np.ptp(vertices, axis=0).max() / cells)).astype(np.int64)
    normals = _normals(vertices, scan.corners)
    facing = np.abs(normals).argmax(axis=1)  # of the six directions along an axis the one that it faces most
    away = np.take_along_axis(normals, facing[:, None], axis=1)[:, 0] < 0
    _, node = np.unique(np.column_stack([grid, facing, away]), axis=0, return_inverse=True)
    node = node.reshape(-1)
    uv = scan.uv.astype(np.float64)
    # One vertex has several places on the texture where the texture has a seam: these are no neighbours there.
    owner = np.zeros(len(uv), np.int64)
    owner[scan.uv_corners] = node[scan.corners]
    key = np.column_stack([owner, _charts(scan), np.floor(uv * _UV_CELLS).astype(np.int64)])
    _, place = np.unique(key, axis=0, return_inverse=True)
    place = place.reshape(-1)
    corners, uv_corners = node[scan.corners], place[scan.uv_corners]
    keep = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    both = np.unique(np.hstack([corners[keep], uv_corners[keep]]), axis=0).astype(np.int32)
    return replace(
        scan,
        vertices=_mean(vertices, node).astype(np.float32),
        corners=np.ascontiguousarray(both[:, :3]),
        uv=_mean(uv, place).astype(np.float32),
        uv_corners=np.ascontiguousarray(both[:, 3:]),
    )


def _normals(vertices: F64, corners: NDArray[np.int32]) -> F64:
    """Of each vertex [V, 3], not of unit length."""
    at = vertices[corners]
    face = np.cross(at[:, 1] - at[:, 0], at[:, 2] - at[:, 0])
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, corners[:, corner], face)
    return total


def _charts(scan: Scan) -> I64:
    """For each texture coordinate [T] the connected part of the texture that it belongs to."""
    a, b, c = scan.uv_corners.T
    ends = (np.concatenate([a, b]), np.concatenate([b, c]))
    graph = coo_matrix((np.ones(len(ends[0])), ends), shape=(len(scan.uv), len(scan.uv)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _mean(values: F64, member: I64) -> F64:
    count = np.bincount(member).astype(np.float64)
    columns = [np.bincount(member, values[:, k]) / count for k in range(values.shape[1])]
    return np.stack(columns, axis=1)
