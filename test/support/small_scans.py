"""A scan for tests: a box of 24 corners whose six sides have a colour each."""

from __future__ import annotations

import gzip
from pathlib import Path

import cv2
import numpy as np

# Side -> colour; red first.
COLOURS = {
    "-x": (200, 30, 40), "+x": (40, 150, 60), "-y": (40, 70, 200),
    "+y": (240, 220, 40), "-z": (20, 20, 20), "+z": (250, 250, 250),
}  # fmt: skip
_TILE_PX = 32


def write_box_scan(
    folder: Path,
    size_m: tuple[float, float, float] = (0.06, 0.04, 0.1),
    colour: tuple[int, int, int] | None = None,
) -> Path:
    """Write mesh.obj.gz and texture.png of a box that stands on z = 0; `colour`: of all its sides."""
    shades = COLOURS if colour is None else dict.fromkeys(COLOURS, colour)
    lines = []
    uv = []
    for number, side in enumerate(shades):
        axis, sign = "xyz".index(side[1]), 1 if side[0] == "+" else -1
        u, v = ((1, 2), (2, 0), (0, 1))[axis]
        corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        for a, b in corners if sign > 0 else corners[::-1]:  # counter-clockwise from outside
            place = np.zeros(3)
            place[[axis, u, v]] = (sign, a, b)
            x, y, z = place * np.asarray(size_m) / 2 + (0, 0, size_m[2] / 2)
            lines.append(f"v {x:.5f} {y:.5f} {z:.5f}")
        # The tile's middle: no bleeding from its neighbours. OBJ has v = 0 at the bottom of the picture.
        uv += [f"vt {(number + 0.5) / 6 + du:.5f} {0.75 + dv:.5f}" for du, dv in ((-0.03, -0.1), (0.03, -0.1),
               (0.03, 0.1), (-0.03, 0.1))]  # fmt: skip
    faces = ["f " + " ".join(f"{4 * side + k}/{4 * side + k}" for k in range(1, 5)) for side in range(6)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mesh.obj.gz").write_bytes(gzip.compress("\n".join([*lines, *uv, *faces, ""]).encode()))
    texture = np.zeros((2 * _TILE_PX, 6 * _TILE_PX, 3), np.uint8)
    texture[:] = (255, 0, 255)  # the lower half is no side's
    for number, shade in enumerate(shades.values()):
        texture[:_TILE_PX, number * _TILE_PX : (number + 1) * _TILE_PX] = shade
    cv2.imwrite(str(folder / "texture.png"), texture[..., ::-1])
    return folder
