"""Cut-outs of scans: every thing from many directions, as pictures with alpha that composites are made of."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from villa.data.composites.cutouts import VIEW_MARK, Rgba
from villa.data.language.vocabulary import KIND
from villa.data.scans.facts import facts_of
from villa.data.scans.reading import ScanFiles, find_scans, read_scan
from villa.data.scans.resting import Resting
from villa.data.scans.studio import Light, Shot, studio

_QUALITY = 95  # WebP
_TRIES = 6  # for a view in which the thing is in one piece
_SMALLEST_PX, _LARGEST_PX = 32, 1024
_DISTANCE_M = (0.4, 1.2)
# Of the camera over the table, degrees: mean, deviation, lowest, highest. Composites lay what lies flat on the table
# and look at it from there, so its pictures are from above.
_STANDS, _LIES = (40, 16, 8, 80), (75, 9, 50, 86)
_ROLLED = 0.2  # share of the pictures by a camera that is held askew
_ROLL, _LEVEL = 0.5, 0.04  # radians: most, and how level it is held else


@dataclass(frozen=True)
class CutoutReport:
    """What a call of `build` did."""

    folder: Path
    made: int
    kept: int  # pictures that were there before
    scans: int
    skipped: dict[str, str] = field(default_factory=dict)  # scan -> why


def build(
    scans: Path,
    out: Path,
    views: int = 24,
    size_px: int = 256,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> CutoutReport:
    """Write `views` pictures of every scan to `out/<scan>/<kind>@<view>.webp`, leaving those that are there.

    A picture follows from the seed, the name of its scan and its number alone; a view in which the scan falls into
    pieces is left out. `progress` is told the scans that are done, and how many there are.

    Raises:
        ScanError: no scans in the folder, or one is damaged.
        RenderError: no off-screen OpenGL.
        ValueError: fewer than 1 view, or a size that is too small or too large.
    """
    if views < 1:
        raise ValueError(f"views {views}: wanted at least 1 of each scan")
    if not _SMALLEST_PX <= size_px <= _LARGEST_PX:
        raise ValueError(f"size {size_px} px: wanted {_SMALLEST_PX} to {_LARGEST_PX}")
    files = find_scans(scans)
    skipped = {one.name: facts_of(one.name).skip for one in files if not facts_of(one.name).kind}
    wanted = [one for one in files if one.name not in skipped]
    made = kept = 0
    for number, one in enumerate(wanted):
        new, old = _build_one(one, out / one.name, views, size_px, seed)
        made, kept = made + new, kept + old
        if progress is not None:
            progress(number + 1, len(wanted))
    return CutoutReport(out, made, kept, len(wanted), skipped)


def _build_one(files: ScanFiles, folder: Path, views: int, size_px: int, seed: int) -> tuple[int, int]:
    kind = KIND[facts_of(files.name).kind]
    name = kind.name.replace(" ", "_")
    paths = {view: folder / f"{name}{VIEW_MARK}{view:03d}.webp" for view in range(views)}
    missing = {view: path for view, path in paths.items() if not path.is_file()}
    made = 0
    if missing:
        scan = read_scan(files)
        resting = Resting(scan)
        folder.mkdir(parents=True, exist_ok=True)
        with studio(scan, size_px) as room:
            for view, path in missing.items():
                rng = np.random.default_rng([seed, zlib.crc32(files.name.encode()), view])
                tries = (room.take(draw_shot(resting, kind.lies, rng), draw_light(rng)) for _ in range(_TRIES))
                picture = next((one for one in tries if one is not None), None)
                if picture is not None:
                    _write(path, picture)
                    made += 1
    return made, views - len(missing)


def draw_shot(resting: Resting, lies: bool, rng: np.random.Generator) -> Shot:
    """A pose of the thing, and a view of it from a robot's height; `lies`: from above."""
    mean, deviation, low, high = _LIES if lies else _STANDS
    elevation = float(np.clip(rng.normal(mean, deviation), low, high))
    rolled = rng.random() < _ROLLED
    roll = float(rng.uniform(-_ROLL, _ROLL) if rolled else rng.normal(0.0, _LEVEL))
    return Shot(resting.draw(rng), np.radians(elevation), roll, float(rng.uniform(*_DISTANCE_M)))


def draw_light(rng: np.random.Generator) -> Light:
    """Light as rooms have it: colours keep their names under it."""
    turn, height = rng.uniform(0, 2 * np.pi), rng.uniform(np.radians(25), np.radians(85))
    at = np.array([np.cos(turn) * np.cos(height), np.sin(turn) * np.cos(height), np.sin(height)])
    warmth = float(rng.normal(0.0, 0.05))
    return Light(
        around=float(rng.uniform(0.08, 0.35)),
        sky=float(rng.uniform(0.3, 1.0)),
        lamp=float(rng.choice([0.0, rng.uniform(0.2, 1.0)], p=[0.2, 0.8])),
        lamp_at=at,
        lamp_size=float(rng.uniform(0.08, 0.5)),
        sky_colour=1 + np.array([-1, 0, 1]) * float(rng.normal(0.0, 0.03)),
        lamp_colour=1 + np.array([1, 0, -1]) * warmth,
        exposure=float(np.exp(np.clip(rng.normal(0.3, 0.25), -0.3, 0.8))),
    )


def _write(path: Path, rgba: Rgba) -> None:
    """The whole file or none: an interrupted build leaves no half of one."""
    partial = path.with_name(f".{path.name}.partial")
    written, packed = cv2.imencode(
        ".webp", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]
    )
    if not written:
        raise OSError(f"cannot encode {path.name} of shape {rgba.shape}")
    partial.write_bytes(packed.tobytes())
    partial.rename(path)
