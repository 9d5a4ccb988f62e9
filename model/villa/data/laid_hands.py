"""Pictures of real hands in rendered scenes, in place of a hand of simple shapes.

The physics moves a palm that has no body; a picture of a hand is laid over each frame where the palm is, with a
forearm to the edge of the picture. What is nearer to the camera than the hand stays before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from villa.data.clip_making import view_of
from villa.data.clips import ObjectFacts, View
from villa.data.composites.canvas import Canvas
from villa.data.composites.cutouts import Rgba
from villa.data.composites.hands import HandLook, draw_hand, hand_facts
from villa.data.scenes.arm import RISE
from villa.data.scenes.hand import HAND
from villa.data.scenes.render import RenderedFrame
from villa.data.scenes.scene import Scene

F64 = NDArray[np.float64]

_SIZES_M = (0.15, 0.2)
_FOREARM_M = 0.1  # back along the arm, to see how its depth goes on
_MARGIN_M = 0.012  # by which something has to be nearer than the hand to be before it
_OVER = 0.6  # share of the hands whose fingers are before what they hold
_WIDEST_M = 0.08  # that fingers reach over
_NEAREST_M = 0.1
_BELOW_M = -1.0  # a palm down there waits and is not seen
_UNSEEN = np.array([0.0, -3.0, 0.0])  # behind the camera, m
_LEVEL = 120.0  # mean of a picture in whose light the hands were photographed


@dataclass(frozen=True)
class LaidHand:
    """The hand of one clip, with the ids of hand and arm."""

    look: HandLook
    number: int  # of its picture
    identities: tuple[int, int]
    back: F64  # [3] from the palm along the forearm
    over_m: float  # how much nearer than the palm it is taken to be
    shade: F64  # [3]

    @property
    def facts(self) -> tuple[ObjectFacts, ...]:
        """Of hand and arm."""
        return tuple(hand_facts(self.number, self.identities))


def choose_hand(scene: Scene, pictures: Sequence[Rgba], rng: np.random.Generator) -> LaidHand | None:
    """A hand for a scene in which one moves something; None where none does, or there are no pictures."""
    motion = next((one for one in scene.motions if one.body == HAND), None)
    if motion is None or not pictures:
        return None
    number = int(rng.integers(len(pictures)))
    red, green, blue = (float(value) for value in rng.uniform(25, 225, 3))
    look = HandLook(pictures[number], float(rng.uniform(*_SIZES_M)), (red, green, blue), bool(rng.random() < 0.5))
    yaw = 2 * float(np.arctan2(motion.quaternion[3], motion.quaternion[0]))
    back = np.array([-np.cos(yaw), -np.sin(yaw), RISE])
    first = len(scene.objects) + 1
    reach = min(scene.objects[motion.subject].radius, _WIDEST_M) + _MARGIN_M
    over_m = reach if rng.random() < _OVER else 0.0
    shade = np.exp(rng.normal(0, 0.1)) * np.exp(rng.normal(0, 0.03, 3))
    return LaidHand(look, number, (first, first + 1), back, over_m, shade)


def lay_hand(hand: LaidHand, scene: Scene, frame: RenderedFrame, index: int) -> tuple[RenderedFrame, tuple[View, ...]]:
    """The frame with the hand over it, and where hand and arm are.

    Masks and depth change with the picture; the pixels that objects would cover alone stay. The frame has to have a
    depth.
    """
    palm = frame.palm
    canvas = Canvas(frame.rgb.astype(np.float32), frame.instance.copy())
    depth = frame.depth
    seen = palm is not None and palm[2] > _BELOW_M
    if palm is not None and depth is not None and seen:
        at, arm = scene.camera.project(np.stack([palm, palm + _FOREARM_M * hand.back]), index)
        if min(at[2], arm[2]) > _NEAREST_M:
            far = _depths(at, arm, depth.shape) - hand.over_m
            canvas.free = depth > far - _MARGIN_M
            pointing = float(np.arctan2(arm[1] - at[1], at[0] - arm[0]))
            light = hand.shade * float(np.clip(frame.rgb.mean() / _LEVEL, 0.5, 1.4))
            per_m = scene.camera.focal_px / float(at[2])
            draw_hand(canvas, hand.look, (float(at[0]), float(at[1])), per_m, pointing, light, hand.identities)
            depth = np.where(canvas.ids >= hand.identities[0], np.minimum(far, depth), depth).astype(np.float32)
    place = palm if palm is not None and seen else _UNSEEN
    views = tuple(
        view_of(
            identity,
            canvas.ids == identity,
            canvas.amodal.get(identity, 0),
            place,
            float(scene.camera.project(place[None], index)[0, 2]),
        )
        for identity in hand.identities
    )
    return replace(frame, rgb=canvas.rgb, instance=canvas.ids, depth=depth), views


def _depths(at: F64, arm: F64, shape: tuple[int, ...]) -> F64:
    """Depth [H, W] m of a line through two points [column, row, depth], for the pixels beside it and beyond its ends.

    Along a line in the world the inverse of the depth is linear in the image.
    """
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    way = arm[:2] - at[:2]
    along = ((columns - at[0]) * way[0] + (rows - at[1]) * way[1]) / max(float(way @ way), 1.0)
    inverse = 1 / at[2] + (1 / arm[2] - 1 / at[2]) * along
    return np.asarray(1 / np.clip(inverse, 1 / (4 * at[2]), 1 / _NEAREST_M), np.float64)
