"""One frame of a composite, drawn from the back to the front: room, table, shadows, things, hands, panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.composites.canvas import F32, LEAST_ALPHA, Canvas, window
from villa.data.composites.cutouts import Rgba
from villa.data.composites.hands import HandLook, draw_hand
from villa.data.composites.props import Prop, lit, shrunk
from villa.data.composites.story import Panel, Reach, Story
from villa.data.composites.surfaces import ground
from villa.data.scenes.view import CameraPath
from villa.interface import Rgb

_FAR_M = 2.5  # how far the table goes on


@dataclass(frozen=True)
class Set:
    """What the scene is made of besides its things."""

    camera: CameraPath
    table: Rgb
    tile_m: float
    room: Rgb
    hands: Sequence[Rgba]
    panel: Rgb
    shade: NDArray[np.float64]  # [3] colour of the light
    shadow: float  # how dark shadows are
    shadow_to: tuple[float, float]  # where they fall, in heights of what casts them: right, down


@dataclass(frozen=True)
class Drawn:
    """A frame: picture [H, W, 3], ids [H, W], and how much of each id's thing is inside the picture at all."""

    rgb: Rgb
    ids: NDArray[np.uint8]
    amodal_px: dict[int, int]


def draw(props: Sequence[Prop], story: Story, stage: Set, frame: int, hand_ids: Sequence[tuple[int, int]]) -> Drawn:
    """Thing i has id i + 1; `hand_ids` are those of each reach's hand and arm."""
    canvas = _Canvas(stage, frame)
    depth = [float(stage.camera.project(prop.middle[frame][None], frame)[0, 2]) for prop in props]
    order = sorted(range(len(props)), key=lambda i: (not props[i].lies or props[i].path[frame, 2] > 0.02, -depth[i]))
    for index in order:
        canvas.shadow(props[index])
    held = {reach.subject: number for number, reach in enumerate(story.reaches) if reach.subject is not None}
    for index in order:
        canvas.thing(props[index], index + 1)
        if index in held:
            canvas.reach(story.reaches[held[index]], hand_ids[held[index]])
    for number, reach in enumerate(story.reaches):
        if reach.subject is None:
            canvas.reach(reach, hand_ids[number])
    for panel in story.panels:
        canvas.panel(panel)
    return Drawn(canvas.rgb, canvas.ids, canvas.amodal)


class _Canvas(Canvas):
    def __init__(self, stage: Set, frame: int) -> None:
        self.stage, self.frame = stage, frame
        camera = stage.camera
        size = (camera.width, camera.height)
        origin = camera.project(np.zeros((1, 3)), frame)[0]
        self.px_per_m = camera.focal_px / max(float(origin[2]), 1e-3)
        table, inside = ground(stage.table, _plane(camera, frame), size, stage.tile_m, _FAR_M)
        edge = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.0)[..., None]
        image = (stage.room * (1 - edge) + table * edge * stage.shade).astype(np.float32)
        super().__init__(image, np.zeros((camera.height, camera.width), np.uint8))

    def thing(self, prop: Prop, identity: int) -> None:
        pixels = lit(prop, self.stage.shade)
        placed = self._placed(prop, pixels)
        if placed is None:
            self.amodal[identity] = 0
            return
        self.lay(*placed, identity)

    def shadow(self, prop: Prop) -> None:
        if not self.stage.shadow:
            return
        placed = self._placed(prop, lit(prop, self.stage.shade))
        if placed is None:
            return
        rgba, to_image = placed
        lift = float(prop.path[self.frame, 2])
        reach = (0.04 if prop.lies else 0.25 * prop.height_m) + lift
        right, down = (self.px_per_m * reach * share for share in self.stage.shadow_to)
        if not prop.lies:  # it lies flat behind its foot
            foot = to_image @ np.array([rgba.shape[1] / 2, rgba.shape[0], 1.0])
            flat = np.array([[1, 0, 0], [0, 0.45, 0.55 * foot[1] / foot[2]], [0, 0, 1]])
            to_image = flat @ to_image
        moved = np.array([[1, 0, right], [0, 1, down], [0, 0, 1.0]]) @ to_image
        blur = 2.0 + 0.06 * self.px_per_m * (0.05 + min(lift, 0.5))
        found = window(rgba, moved, self.size, int(3 * blur))
        if found is None:
            return
        part, size, shift = found
        alpha = cv2.warpPerspective(np.ascontiguousarray(rgba[..., 3]), shift @ moved, size)
        soft = cv2.GaussianBlur(alpha, (0, 0), blur)
        self.image[part] *= (1 - self.stage.shadow / (1 + 6 * lift) * (soft / 255)[..., None]).astype(np.float32)

    def reach(self, reach: Reach, identities: tuple[int, int]) -> None:
        at = reach.palm[self.frame]
        if not np.all(np.isfinite(at)):
            return
        column, row, depth = self.stage.camera.project(at[None], self.frame)[0]
        if depth < 0.1:
            return
        look = HandLook(self.stage.hands[reach.hand], reach.size_m, reach.sleeve, reach.flipped)
        per_m = self.stage.camera.focal_px / depth
        draw_hand(self, look, (column, row), per_m, reach.entry, self.stage.shade, identities)

    def panel(self, panel: Panel) -> None:
        width, height = self.size
        x, y = panel.middle[self.frame]
        corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * panel.size
        cos, sin = np.cos(panel.turn), np.sin(panel.turn)
        turned = corners @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
        inside = np.zeros((height, width), np.uint8)
        cv2.fillPoly(inside, [np.round(turned * self.size).astype(np.int32)], 255, cv2.LINE_AA)
        if not inside.any():
            return
        alpha = (inside / 255.0)[..., None]
        rows, columns = self.stage.panel.shape[:2]
        tiled = np.tile(self.stage.panel, (height // rows + 1, width // columns + 1, 1))
        self.image = (self.image * (1 - alpha) + tiled[:height, :width] * self.stage.shade * alpha).astype(np.float32)
        self.ids[inside > LEAST_ALPHA] = 0

    def _placed(self, prop: Prop, pixels: F32) -> tuple[F32, NDArray[np.float64]] | None:
        """Its pixels and the homography from them to the image; None where it is not before the camera."""
        camera, frame = self.stage.camera, self.frame
        at = prop.path[frame]
        if prop.lies:
            half = np.array([[-1, 1], [1, 1], [1, -1], [-1, -1]]) * (prop.width_m / 2, prop.height_m / 2)
            cos, sin = np.cos(prop.turn), np.sin(prop.turn)
            flat = half @ np.array([[cos, sin], [-sin, cos]])
            corners = camera.project(at + np.column_stack([flat, np.zeros(4)]), frame)
            if float(corners[:, 2].min()) < 0.1:
                return None
            edge = float(np.linalg.norm(corners[1, :2] - corners[0, :2]))
            pixels, _ = shrunk(pixels, edge / pixels.shape[1])
            height, width = pixels.shape[:2]
            own = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
            return pixels, cv2.getPerspectiveTransform(own, corners[:, :2].astype(np.float32)).astype(np.float64)
        column, row, depth = camera.project(at[None], frame)[0]
        if depth < 0.1:
            return None
        scale = camera.focal_px / depth * prop.height_m / pixels.shape[0]
        pixels, scale = shrunk(pixels, float(scale))
        height, width = pixels.shape[:2]
        return pixels, np.array([[scale, 0, column - scale * width / 2], [0, scale, row - scale * height], [0, 0, 1]])


def _plane(camera: CameraPath, frame: int) -> NDArray[np.float64]:
    """Homography [3, 3] from metres on the table to px, with a positive weight before the camera."""
    rotation, position = camera.rotation[frame], camera.position[frame]
    local = rotation.T  # rows: right, up, back
    offset = -local @ position
    right, up, back = (np.array([local[i, 0], local[i, 1], offset[i]]) for i in range(3))
    focal, middle = camera.focal_px, (camera.width / 2, camera.height / 2)
    depth = -back
    return np.stack([focal * right + middle[0] * depth, -focal * up + middle[1] * depth, depth])
