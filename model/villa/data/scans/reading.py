"""Scans on disk: a folder for each, with a mesh and the picture that covers it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

_MESHES = (".obj", ".obj.gz")
_TEXTURES = (".jpg", ".jpeg", ".png", ".webp")
_SIZES_M = (0.003, 2.0)  # of the longest side: what is outside is in another unit than metres


class ScanError(ValueError):
    """A folder of scans, or a file in it, is not what it should be; the message names it."""


@dataclass(frozen=True)
class ScanFiles:
    """Where a scan is. `name` is the name of its folder."""

    name: str
    mesh: Path
    texture: Path


@dataclass(frozen=True)
class Scan:
    """A closed or open surface with its colours; lengths are metres, z is up as it was scanned.

    `corners` [F, 3] index `vertices` [V, 3], `uv_corners` [F, 3] index `uv` [T, 2]: a vertex on a seam of the texture
    has several places on it. `texture` [h, w, 3] has its first row at v = 1.
    """

    name: str
    vertices: F32
    corners: I32
    uv: F32
    uv_corners: I32
    texture: NDArray[np.uint8]


def find_scans(folder: Path) -> list[ScanFiles]:
    """The scans of a folder by name; sub-folders without a mesh are left out.

    Raises:
        ScanError: there is no scan, or one has several meshes, or not one texture.
    """
    found = [scan for path in sorted(folder.iterdir()) if path.is_dir() for scan in _scan_in(path)]
    if not found:
        raise ScanError(
            f"{folder} holds no scan: wanted a folder for each thing, with one mesh (.obj or .obj.gz) and one texture "
            f"({', '.join(_TEXTURES)})"
        )
    return found


def _scan_in(folder: Path) -> Iterator[ScanFiles]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    meshes = [path for path in files if path.name.lower().endswith(_MESHES)]
    textures = [path for path in files if path.suffix.lower() in _TEXTURES]
    if not meshes:
        return
    for what, there in (("mesh", meshes), ("texture", textures)):
        if len(there) != 1:
            names = ", ".join(str(path.relative_to(folder)) for path in there[:4]) or "none"
            raise ScanError(f"{folder} holds {len(there)} files that may be its {what} ({names}): leave one there")
    yield ScanFiles(folder.name, meshes[0], textures[0])


def read_scan(files: ScanFiles) -> Scan:
    """Mesh and texture of a scan.

    Raises:
        ScanError: a file cannot be decoded, the mesh has no texture coordinates, or its size is not in metres.
    """
    image = cv2.imread(str(files.texture), cv2.IMREAD_COLOR)
    if image is None:
        raise ScanError(f"{files.texture} does not decode as a picture: export the texture again")
    vertices, corners, uv, uv_corners = _read_obj(files.mesh)
    longest = float(np.ptp(vertices, axis=0).max())
    if not _SIZES_M[0] <= longest <= _SIZES_M[1]:
        raise ScanError(
            f"{files.mesh}: its longest side is {longest:g}, wanted metres between {_SIZES_M[0]} and {_SIZES_M[1]}: "
            "scale the mesh"
        )
    texture = np.ascontiguousarray(image[..., ::-1], np.uint8)
    return Scan(files.name, vertices, corners, uv, uv_corners, texture)


def _read_obj(path: Path) -> tuple[F32, I32, F32, I32]:
    """Vertices, their corners, texture coordinates and theirs, of a Wavefront OBJ file; polygons become triangles."""
    places: list[list[float]] = []
    coordinates: list[list[float]] = []
    corners: list[tuple[int, int, int]] = []
    uv_corners: list[tuple[int, int, int]] = []
    try:
        packed = path.read_bytes()
        text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            word, *rest = line.split() or [""]
            if word == "v":
                places.append([float(value) for value in rest[:3]])
            elif word == "vt":
                coordinates.append([float(value) for value in rest[:2]])
            elif word == "f":
                pairs = [corner.split("/")[:2] for corner in rest]
                if any(len(pair) < 2 or not pair[1] for pair in pairs):
                    raise ScanError(f"{path}, line {number}: no texture coordinates: wanted faces as `f 1/1 2/2 3/3`")
                at = [_index(pair[0], len(places)) for pair in pairs]
                on = [_index(pair[1], len(coordinates)) for pair in pairs]
                for last in range(2, len(pairs)):
                    corners.append((at[0], at[last - 1], at[last]))
                    uv_corners.append((on[0], on[last - 1], on[last]))
    except (OSError, EOFError, zlib.error) as error:
        raise ScanError(f"{path} cannot be read ({error}): copy the scan again") from error
    except (ValueError, IndexError) as error:
        if isinstance(error, ScanError):
            raise
        raise ScanError(f"{path}, line {number}: {line[:60]!r} is no Wavefront OBJ ({error})") from error
    if not corners:
        raise ScanError(f"{path} holds no faces: wanted a mesh as Wavefront OBJ")
    vertices, uv = np.asarray(places, np.float32).reshape(-1, 3), np.asarray(coordinates, np.float32).reshape(-1, 2)
    return vertices, np.asarray(corners, np.int32), uv, np.asarray(uv_corners, np.int32)


def _index(text: str, count: int) -> int:
    """The number that an OBJ file gives, from 1 up or backwards from -1, as an index."""
    value = int(text)
    index = value - 1 if value > 0 else count + value
    if not 0 <= index < count:
        raise IndexError(f"{value} of {count}")
    return index
