"""Region similarity J, boundary accuracy F and their mean, as the DAVIS 2017 evaluation computes them.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016;
Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation", arXiv 1704.00675.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.masks import Mask

BOUND = 0.008  # tolerance of F as a share of the image diagonal, rounded up to whole px


class MetricError(ValueError):
    """Masks that cannot be compared."""


def region_similarity(pred: Mask, gt: Mask) -> float:
    """J: intersection over union of two masks [H, W] bool; 1 when both are empty.

    Raises:
        MetricError: the shapes differ or are not two-dimensional.
    """
    pred, gt = _pair(pred, gt)
    union = int(np.count_nonzero(pred | gt))
    return 1.0 if union == 0 else int(np.count_nonzero(pred & gt)) / union


def boundary_accuracy(pred: Mask, gt: Mask) -> float:
    """F: harmonic mean of precision and recall of the outlines of two masks [H, W] bool; 1 when neither has one.

    An outline px counts as found when an outline px of the other mask lies within `BOUND` of the diagonal.

    Raises:
        MetricError: the shapes differ or are not two-dimensional.
    """
    pred, gt = _pair(pred, gt)
    radius = math.ceil(BOUND * math.hypot(*pred.shape))
    pred_outline, gt_outline = _outline(pred), _outline(gt)
    pred_px, gt_px = int(np.count_nonzero(pred_outline)), int(np.count_nonzero(gt_outline))
    if pred_px == 0 or gt_px == 0:
        return 1.0 if pred_px == gt_px else 0.0
    window = _window(pred_outline | gt_outline, radius)
    pred_outline, gt_outline = pred_outline[window], gt_outline[window]
    precision = np.count_nonzero(pred_outline & _grown(gt_outline, radius)) / pred_px
    recall = np.count_nonzero(gt_outline & _grown(pred_outline, radius)) / gt_px
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


@dataclass(frozen=True)
class JF:
    """J and F, each 0..1: of one frame, or means over frames."""

    j: float
    f: float

    @property
    def jf(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2


def frame_jf(pred: Mask | None, gt: Mask | None) -> JF:
    """J and F of one frame, of two masks [H, W] bool; None is an empty mask.

    Two empty masks are alike: J and F are 1. Where only one is empty J is 0.

    Raises:
        MetricError: the shapes differ or are not two-dimensional.
    """
    if pred is None and gt is None:
        return JF(1.0, 1.0)
    if pred is None:
        assert gt is not None
        pred = np.zeros_like(gt)
    if gt is None:
        gt = np.zeros_like(pred)
    return JF(region_similarity(pred, gt), boundary_accuracy(pred, gt))


def mean_over_frames(frames: Sequence[JF]) -> JF:
    """Mean J and mean F; every frame weighs the same.

    Raises:
        MetricError: no frames.
    """
    if not frames:
        raise MetricError("no frames to take J and F over, wanted at least one")
    return JF(float(np.mean([frame.j for frame in frames])), float(np.mean([frame.f for frame in frames])))


def score_frames(preds: Sequence[Mask | None], gts: Sequence[Mask | None]) -> JF:
    """Mean J and mean F of two sequences of masks, frame by frame as `frame_jf` has them.

    Every frame counts, the first and the last as well.

    Raises:
        MetricError: no frames, not as many predictions as ground truths, or masks of different shapes.
    """
    return mean_over_frames(_frame_by_frame(preds, gts))


def mean_jf(preds: Sequence[Mask | None], gts: Sequence[Mask | None]) -> float:
    """Mean over frames of J&F: `score_frames(...).jf`, added up frame by frame, so that its last bit may differ.

    Raises:
        MetricError: as `score_frames`.
    """
    return float(np.mean([frame.jf for frame in _frame_by_frame(preds, gts)]))


def _frame_by_frame(preds: Sequence[Mask | None], gts: Sequence[Mask | None]) -> list[JF]:
    if len(preds) != len(gts) or not preds:
        raise MetricError(
            f"{len(preds)} predicted masks for {len(gts)} true ones, wanted equally many and at least one"
        )
    return [frame_jf(pred, gt) for pred, gt in zip(preds, gts, strict=True)]


def _pair(pred: Mask, gt: Mask) -> tuple[Mask, Mask]:
    if pred.shape != gt.shape or pred.ndim != 2:
        raise MetricError(
            f"predicted mask is {pred.shape}, true mask {gt.shape}, wanted one shape [H, W]: resize the prediction"
        )
    return np.asarray(pred, np.bool_), np.asarray(gt, np.bool_)


def _outline(mask: Mask) -> Mask:
    """Px that differ from the neighbour to the right, below, or both; beyond the border the mask goes on."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    outline: Mask = (mask != right) | (mask != below) | (mask != diagonal)
    return outline


def _window(outlines: Mask, radius: int) -> tuple[slice, slice]:
    """The part of the image in which growing by `radius` can matter."""
    rows, columns = np.flatnonzero(outlines.any(axis=1)), np.flatnonzero(outlines.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - radius), int(rows[-1]) + radius + 1),
        slice(max(0, int(columns[0]) - radius), int(columns[-1]) + radius + 1),
    )


def _grown(outline: Mask, radius: int) -> Mask:
    return np.asarray(cv2.dilate(outline.astype(np.uint8), _disk(radius)), np.bool_)


@lru_cache(maxsize=16)
def _disk(radius: int) -> NDArray[np.uint8]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk: NDArray[np.uint8] = (x * x + y * y <= radius * radius).astype(np.uint8)
    return disk
