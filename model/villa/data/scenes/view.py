"""Where the camera is during a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class CameraPath:
    """Pose for each of N frames: position [N, 3] m, rotation [N, 3, 3] (columns: right, up, back in the world)."""

    position: F64
    rotation: F64
    fovy_deg: float
    width: int
    height: int
    moves: str  # "still", "orbit", "travel" or "zoom"

    @property
    def focal_px(self) -> float:
        """Focal length, the same for x and y."""
        return 0.5 * self.height / float(np.tan(np.radians(self.fovy_deg) / 2.0))

    def project(self, points: F64, frame: int) -> F64:
        """World points [N, 3] m -> [N, 3]: column px, row px, depth along the optical axis m."""
        local = (np.asarray(points, np.float64) - self.position[frame]) @ self.rotation[frame]
        depth = np.maximum(-local[:, 2], 1e-6)
        column = self.width / 2.0 + self.focal_px * local[:, 0] / depth
        row = self.height / 2.0 - self.focal_px * local[:, 1] / depth
        return np.stack([column, row, -local[:, 2]], axis=1)


def look_at(position: F64, target: F64, roll: float = 0.0) -> F64:
    """Rotation [3, 3] of a camera at `position` that looks at `target`; roll in radians."""
    back = position - target
    back = back / np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    cos, sin = np.cos(roll), np.sin(roll)
    return np.stack([cos * right + sin * up, cos * up - sin * right, back], axis=1)


def plan_camera(frames: int, width: int, height: int, rng: np.random.Generator, *, still: bool = False) -> CameraPath:
    """A random view of the table from a robot's height; unless `still`, it moves in about four of ten clips."""
    fovy = float(rng.uniform(40.0, 62.0))
    # A narrow lens stands further back, so that objects keep their size range.
    reach = 0.52 / np.tan(np.radians(fovy) / 2.0)
    distance = float(np.clip(reach * rng.uniform(0.52, 0.98), 0.5, 1.4))
    azimuth = float(rng.uniform(-0.9, 0.9))
    elevation = float(rng.uniform(np.radians(22), np.radians(62)))
    target = np.array([rng.uniform(-0.05, 0.05), rng.uniform(-0.04, 0.06), rng.uniform(0.0, 0.06)])
    roll = float(rng.normal(0.0, 0.02))
    moves = str(rng.choice(["still", "orbit", "travel", "zoom"], p=[0.58, 0.2, 0.16, 0.06]))
    moves = "still" if still else moves
    start, length = int(rng.integers(0, max(1, frames // 3))), max(1, int(rng.integers(frames // 2, frames + 1)))
    share = np.clip((np.arange(frames) - start) / length, 0.0, 1.0)
    share = share * share * (3 - 2 * share)
    swing = float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.65)) if moves == "orbit" else 0.0
    lift = float(rng.uniform(-0.2, 0.2)) if moves == "orbit" else 0.0
    shift = np.array([rng.choice([-1, 1]) * rng.uniform(0.08, 0.22), rng.uniform(-0.06, 0.06), 0.0])
    shift = shift if moves == "travel" else np.zeros(3)
    closer = float(rng.uniform(-0.28, 0.25)) if moves == "zoom" else 0.0
    shake = rng.normal(0.0, 0.0012 if rng.random() < 0.4 else 0.0, (frames, 3)).cumsum(axis=0)
    position, rotation = np.empty((frames, 3)), np.empty((frames, 3, 3))
    for frame, part in enumerate(share):
        around = azimuth + swing * part
        above = np.clip(elevation + lift * part, np.radians(18), np.radians(68))
        offset = np.array([np.sin(around) * np.cos(above), -np.cos(around) * np.cos(above), np.sin(above)])
        aim = target + shift * part
        position[frame] = aim + offset * distance * (1 + closer * part) + shake[frame]
        rotation[frame] = look_at(position[frame], aim + 0.5 * shake[frame], roll)
    return CameraPath(position, rotation, fovy, width, height, moves)
