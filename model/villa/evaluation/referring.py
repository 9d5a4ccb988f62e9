"""What the published evaluations of video segmentation by words measure of one expression, frame by frame.

J and F are those of `villa.evaluation.davis_jf`. What else there is:

- accuracy and robustness R of ReVOS: github.com/cilinyan/VISA, `tools/metrics.py` (`get_r2vos_accuracy`,
  `get_r2vos_robustness`), as run on masks of 0 and 1 by github.com/bytedance/Sa2VA, `tools/eval/eval_revos.py`;
- gIoU and cIoU of LISA: github.com/dvlab-research/LISA, `train_ds.py` (`validate`), the same in VISA's `train_ds.py`:
  every mask is a sample there, so that every frame of every expression is one here;
- N-acc and T-acc of GRES: github.com/henghuiding/ReLA, `gres_model/evaluation/refer_evaluation.py`.

Read, not copied. How each set makes means of them: `villa.evaluation.protocols` and `villa.evaluation.davis_objects`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from villa.evaluation.davis_jf import MetricError, boundary_accuracy, frame_jf, mean_over_frames
from villa.masks import Mask

Masks = NDArray[np.bool_]  # [T, H, W]
_IOU_EPSILON = 1e-5  # LISA adds it to the union of each sample, ...
_SUM_EPSILON = 1e-10  # ... this to the union of all samples, ...
_PX_EPSILON = 1e-6  # ... and ReVOS this to the px of the foreground


@dataclass(frozen=True)
class ExpressionScore:
    """One expression, over the frames of its video that count. Shares are 0..1 and means over these frames."""

    frames: int
    j: float
    f: float
    accuracy: float  # px that are right
    robustness: float | None  # R; None: the set has no foreground masks
    iou: float  # of LISA: see `g_iou`
    intersection: int  # px, over all frames
    union: int  # px, likewise
    target: bool  # something is meant
    answered: bool  # something was segmented

    @property
    def jf(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2


@dataclass(frozen=True)
class FrameMasks:
    """One frame: what was segmented, what is true, and where the set says it all foreground, each [H, W] bool."""

    pred: Mask
    gt: Mask
    foreground: Mask | None = None


def score_expression(frames: Iterable[FrameMasks], *, target: bool, answered: bool) -> ExpressionScore:
    """Frames of one expression -> its scores. Frames are looked at one after the other and not kept.

    Args:
        frames: Masks of the frames that count.
        target: Is something meant? The annotation says it, as an object may be in view on none of these frames.
        answered: Was anything segmented, on whatever frame?

    Raises:
        MetricError: no frames, or masks of different shapes.
    """
    scored, accuracy, robust, iou = [], [], [], []
    intersections = unions = 0
    for frame in frames:
        scored.append(frame_jf(frame.pred, frame.gt))
        accuracy.append(pixel_accuracy(frame.pred, frame.gt))
        if frame.foreground is not None:
            robust.append(robustness(frame.pred, frame.gt, frame.foreground))
        both = int(np.count_nonzero(frame.pred & frame.gt))
        either = int(np.count_nonzero(frame.pred | frame.gt))
        iou.append(sample_iou(both, either))
        intersections, unions = intersections + both, unions + either
    if not scored:
        raise MetricError("an expression without frames, wanted at least one that counts")
    if robust and len(robust) != len(scored):
        raise MetricError(f"foreground masks on {len(robust)} of {len(scored)} frames, wanted them on all or on none")
    means = mean_over_frames(scored)
    return ExpressionScore(
        frames=len(scored),
        j=means.j,
        f=means.f,
        accuracy=float(np.mean(accuracy)),
        robustness=float(np.mean(robust)) if robust else None,
        iou=float(np.mean(iou)),
        intersection=intersections,
        union=unions,
        target=target,
        answered=answered,
    )


def region_similarities(preds: Masks, gts: Masks) -> NDArray[np.float64]:
    """J of each frame [T] of two stacks of masks [T, H, W] bool; 1 where both are empty.

    Raises:
        MetricError: the shapes differ or are not [T, H, W].
    """
    preds, gts = _stacks(preds, gts)
    both, either = np.count_nonzero(preds & gts, axis=(1, 2)), np.count_nonzero(preds | gts, axis=(1, 2))
    similar: NDArray[np.float64] = np.divide(both, either, out=np.ones(len(preds)), where=either > 0)
    return similar


def boundary_accuracies(preds: Masks, gts: Masks) -> NDArray[np.float64]:
    """F of each frame [T] of two stacks of masks [T, H, W] bool; 1 where neither has an outline.

    Raises:
        MetricError: the shapes differ or are not [T, H, W].
    """
    preds, gts = _stacks(preds, gts)
    return np.array([boundary_accuracy(pred, gt) for pred, gt in zip(preds, gts, strict=True)], np.float64)


def pixel_accuracy(pred: Mask, gt: Mask) -> float:
    """Share of px [H, W] that are right: `get_r2vos_accuracy` of VISA for one frame.

    Raises:
        MetricError: the shapes differ.
    """
    _same(pred, gt)
    return int(np.count_nonzero(pred == gt)) / max(1, pred.size)


def robustness(pred: Mask, gt: Mask, foreground: Mask) -> float:
    """R of ReVOS for one frame: 1 less the px segmented wrongly per px of foreground, not below 0.

    `get_r2vos_robustness` of VISA. The foreground is all that the set has masks of in this video. Where true masks of
    an expression overlap, VISA adds them up as bytes, so that a px of two counts as wrong 255 times; here a px that
    belongs to any is right.

    Raises:
        MetricError: the shapes differ.
    """
    _same(pred, gt)
    _same(pred, foreground)
    wrong = int(np.count_nonzero(pred & ~gt))
    return max(0.0, 1 - wrong / (int(np.count_nonzero(foreground)) + _PX_EPSILON))


def sample_iou(intersection: int, union: int) -> float:
    """IoU of one mask as LISA takes it, from px: 1 where both masks are empty."""
    return 1.0 if union == 0 else intersection / (union + _IOU_EPSILON)


def g_iou(scores: Sequence[ExpressionScore | dict[str, Any]]) -> float:
    """gIoU: mean of `sample_iou` over all frames of all expressions; a frame weighs the same in every video.

    Raises:
        MetricError: no expressions with frames.
    """
    frames = np.array([_of(score, "frames") for score in scores], np.float64)
    if not frames.sum():
        raise MetricError("no frames to take gIoU of, wanted at least one")
    return float(np.average([_of(score, "iou") for score in scores], weights=frames))


def c_iou(scores: Sequence[ExpressionScore | dict[str, Any]]) -> float:
    """cIoU: intersection of all frames of all expressions over their union, px; 0 where nothing is true or segmented.

    Raises:
        MetricError: no expressions.
    """
    if not scores:
        raise MetricError("no expressions to take cIoU of, wanted at least one")
    union = sum(_of(score, "union") for score in scores)
    return float(sum(_of(score, "intersection") for score in scores) / (union + _SUM_EPSILON))


def no_target_accuracy(answered: Sequence[bool]) -> float | None:
    """N-acc: of the expressions that mean nothing, the share for which nothing was segmented; None without any."""
    return float(np.mean([not one for one in answered])) if answered else None


def target_accuracy(answered: Sequence[bool]) -> float | None:
    """T-acc: of the expressions that mean something, the share for which anything was segmented; None without any."""
    return float(np.mean(answered)) if answered else None


def choice_accuracy(right: Sequence[bool]) -> float | None:
    """Multiple choice: share of questions whose right answer was chosen; None without any.

    The paper of ViLLa (arXiv 2407.14500) reports it for VideoReasonSeg; no code of it is public.
    """
    return float(np.mean(right)) if right else None


def _of(score: ExpressionScore | dict[str, Any], name: str) -> Any:
    return score[name] if isinstance(score, dict) else getattr(score, name)


def _same(mask: Mask, other: Mask) -> None:
    if mask.shape != other.shape:
        raise MetricError(f"masks of {mask.shape} and {other.shape}, wanted one shape [H, W]: resize the prediction")


def _stacks(preds: Masks, gts: Masks) -> tuple[Masks, Masks]:
    if preds.shape != gts.shape or preds.ndim != 3:
        raise MetricError(f"predicted masks are {preds.shape}, true ones {gts.shape}, wanted one shape [T, H, W]")
    return np.asarray(preds, np.bool_), np.asarray(gts, np.bool_)
