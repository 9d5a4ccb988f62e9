"""How well identities are kept over a video: HOTA, DetA, AssA and identity switches, as TrackEval computes them.

Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021; Bernardin & Stiefelhagen,
"Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics", JIVP 2008. Two masks are as alike as their
intersection over union.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from villa.evaluation.davis_jf import MetricError
from villa.masks import Mask

# What a match needs of IoU: HOTA is a mean over these. Made as TrackEval makes them, as IoU can equal one to the bit.
ALPHAS: NDArray[np.float64] = np.arange(0.05, 0.99, 0.05)
SWITCH_IOU = 0.5  # what a match needs for identity switches
_SLACK = float(np.finfo(np.float64).eps)  # an IoU that falls short by a rounding error is still a match
_STAY = 1000.0  # more than IoUs can sum to: what was matched a frame ago stays matched while it can

Ids = NDArray[np.intp]


@dataclass(frozen=True)
class IdentityScores:
    """Counts of one video or of several; the scores follow from them. Tuples go over `ALPHAS`."""

    gt_masks: int  # visible, over all frames and objects
    pred_masks: int
    matches: tuple[int, ...]
    association: tuple[float, ...]  # sum over the matches of how far the two identities agree over their video, 0..1
    switches: int  # IDSW

    @property
    def hota(self) -> float:
        """Mean over `ALPHAS` of the root of DetA times AssA, 0..1."""
        return float(np.mean(np.sqrt(self._detection() * self._association())))

    @property
    def det_a(self) -> float:
        """Mean over `ALPHAS` of matches / (matches + misses + false masks), 0..1."""
        return float(np.mean(self._detection()))

    @property
    def ass_a(self) -> float:
        """Mean over `ALPHAS` of how far the identities of a match agree, 0..1."""
        return float(np.mean(self._association()))

    def _detection(self) -> NDArray[np.float64]:
        matches = np.asarray(self.matches, np.float64)
        detection: NDArray[np.float64] = matches / np.maximum(1, self.gt_masks + self.pred_masks - matches)
        return detection

    def _association(self) -> NDArray[np.float64]:
        association: NDArray[np.float64] = np.asarray(self.association, np.float64) / np.maximum(1, self.matches)
        return association


@dataclass(frozen=True)
class _Frame:
    gt_ids: Ids  # [g] of what is visible
    pred_ids: Ids  # [p]
    iou: NDArray[np.float64]  # [g, p]


def identity_scores(gts: Sequence[Sequence[Mask | None]], preds: Sequence[Sequence[Mask | None]]) -> IdentityScores:
    """True objects and predicted tracklets of one video, each a mask [H, W] bool or None a frame -> its counts.

    None and an empty mask both mean not visible; what is never visible does not count. As in TrackEval, a video without
    true masks, without predicted masks, or without either scores 0 in HOTA, DetA and AssA and has 0 switches: an empty
    prediction for an empty video is not rewarded, but takes nothing from `combined` scores either.

    Raises:
        MetricError: numbers of frames or shapes of masks differ, or a mask is not two-dimensional.
    """
    _check([*gts, *preds])
    gt_tracks, pred_tracks = _visible(gts), _visible(preds)
    times = sorted({t for track in (*gt_tracks, *pred_tracks) for t in track})
    frames = [_frame(gt_tracks, pred_tracks, t) for t in times]
    matches, association = _hota(frames, len(gt_tracks), len(pred_tracks))
    return IdentityScores(
        gt_masks=sum(len(track) for track in gt_tracks),
        pred_masks=sum(len(track) for track in pred_tracks),
        matches=tuple(matches.tolist()),
        association=tuple(association.tolist()),
        switches=_switches(frames, len(gt_tracks)),
    )


def combined(videos: Iterable[IdentityScores]) -> IdentityScores:
    """Counts of several videos -> their sums: every mask weighs the same, not every video.

    Raises:
        MetricError: no videos.
    """
    scores = list(videos)
    if not scores:
        raise MetricError("no videos to combine, wanted at least one")
    return IdentityScores(
        gt_masks=sum(score.gt_masks for score in scores),
        pred_masks=sum(score.pred_masks for score in scores),
        matches=tuple(map(sum, zip(*(score.matches for score in scores), strict=True))),
        association=tuple(map(sum, zip(*(score.association for score in scores), strict=True))),
        switches=sum(score.switches for score in scores),
    )


def _visible(objects: Sequence[Sequence[Mask | None]]) -> list[dict[int, Mask]]:
    """Masks by frame of the objects that are seen at all."""
    tracks = [
        {t: np.asarray(mask, np.bool_) for t, mask in enumerate(masks) if mask is not None and np.any(mask)}
        for masks in objects
    ]
    return [track for track in tracks if track]


def _check(objects: Sequence[Sequence[Mask | None]]) -> None:
    lengths = sorted({len(masks) for masks in objects})
    if len(lengths) > 1:
        raise MetricError(f"objects with {lengths} frames, wanted as many for every object: None is not visible")
    shapes = sorted({mask.shape for masks in objects for mask in masks if mask is not None})
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        raise MetricError(f"masks of {shapes}, wanted one shape [H, W]: resize the predictions")


def _frame(gt_tracks: list[dict[int, Mask]], pred_tracks: list[dict[int, Mask]], t: int) -> _Frame:
    gt_ids = [i for i, track in enumerate(gt_tracks) if t in track]
    pred_ids = [i for i, track in enumerate(pred_tracks) if t in track]
    iou = _ious([gt_tracks[i][t] for i in gt_ids], [pred_tracks[i][t] for i in pred_ids])
    return _Frame(np.array(gt_ids, np.intp), np.array(pred_ids, np.intp), iou)


def _ious(gts: list[Mask], preds: list[Mask]) -> NDArray[np.float64]:
    """Masks, none of them empty -> intersection over union [g, p]."""
    if not gts or not preds:
        return np.zeros((len(gts), len(preds)), np.float64)
    gt_px, pred_px = np.stack(gts).reshape(len(gts), -1), np.stack(preds).reshape(len(preds), -1)
    # float, as numpy multiplies matrices of integers slowly; float32 counts exactly to 2**24.
    number = np.float32 if gt_px.shape[1] < 2**24 else np.float64
    both = (gt_px.astype(number) @ pred_px.astype(number).T).astype(np.float64)
    areas = np.count_nonzero(gt_px, axis=1)[:, None] + np.count_nonzero(pred_px, axis=1)
    # Column-major as from pycocotools, which TrackEval takes IoUs from: the order decides how sums of them round, and
    # that which of two identical tracklets is matched.
    return np.asfortranarray(both / (areas - both))


def _hota(frames: list[_Frame], gts: int, preds: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Matches and the sum of their association, both [alphas]."""
    gt_seen, pred_seen = np.zeros((gts, 1)), np.zeros((1, preds))
    together = np.zeros((gts, preds))  # frames that two identities share, each weighted by how alone they are in it
    for frame in frames:
        gt_seen[frame.gt_ids, 0] += 1
        pred_seen[0, frame.pred_ids] += 1
        rivals = frame.iou.sum(axis=0)[None, :] + frame.iou.sum(axis=1)[:, None] - frame.iou
        share = np.divide(frame.iou, rivals, out=np.zeros_like(frame.iou), where=rivals > _SLACK)
        together[np.ix_(frame.gt_ids, frame.pred_ids)] += share
    alignment = together / (gt_seen + pred_seen - together)

    # One assignment a frame serves every alpha: identities that belong together over the video come first.
    pairs = np.zeros((ALPHAS.size, gts, preds))  # frames in which two identities are matched
    for frame in frames:
        score = alignment[np.ix_(frame.gt_ids, frame.pred_ids)] * frame.iou
        rows, columns = linear_sum_assignment(score, maximize=True)
        matched = frame.iou[rows, columns] >= ALPHAS[:, None] - _SLACK  # [alphas, pairs]
        pairs[:, frame.gt_ids[rows], frame.pred_ids[columns]] += matched
    association = (pairs * pairs / (gt_seen + pred_seen - pairs)).sum(axis=(1, 2))
    return pairs.sum(axis=(1, 2)).astype(np.int64), association


def _switches(frames: list[_Frame], gts: int) -> int:
    """How often a true object is matched by another tracklet than the last time it was matched, however long ago."""
    ever, before = np.full(gts, -1, np.intp), np.full(gts, -1, np.intp)  # tracklet of each true object; -1: none
    switches = 0
    for frame in frames:
        # Without a true or without a predicted mask `before` stays: TrackEval goes on as if the frame was not there.
        if not frame.iou.size:
            continue
        kept = frame.pred_ids[None, :] == before[frame.gt_ids][:, None]
        score = np.where(frame.iou < SWITCH_IOU - _SLACK, 0, _STAY * kept + frame.iou)
        rows, columns = linear_sum_assignment(score, maximize=True)
        matched = score[rows, columns] > _SLACK
        gt_ids, pred_ids = frame.gt_ids[rows[matched]], frame.pred_ids[columns[matched]]
        switches += int(np.count_nonzero((ever[gt_ids] >= 0) & (ever[gt_ids] != pred_ids)))
        ever[gt_ids] = pred_ids
        before[:] = -1
        before[gt_ids] = pred_ids
    return switches
