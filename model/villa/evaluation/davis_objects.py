"""Several objects of one video, as DAVIS 2017 scores them, and so Ref-DAVIS17.

Read from github.com/davisvideochallenge/davis2017-evaluation, `davis2017/evaluation.py` and `davis2017/davis.py`, and
from github.com/wjn922/ReferFormer, `eval_davis.py` and `inference_davis.py`. ReferFormer's evaluation of Ref-DAVIS17 is
that of the unsupervised task: all frames count, the first and the last as well, void px count nowhere, and objects are
matched one to one by their mean J&F. The semi-supervised task drops the first and the last frame and matches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from villa.evaluation.davis_jf import MetricError
from villa.evaluation.referring import boundary_accuracies, region_similarities
from villa.masks import Mask

Labels = NDArray[np.uint8]  # 0: background, 1..K: objects
VOID = 255  # px of a true label image that count neither way

ObjectScores = list[tuple[float, float]]  # J and F of each true object, 1..K


def unsupervised(preds: Labels, gts: Labels) -> ObjectScores:
    """Label images of one video, predicted and true [T, H, W] -> J and F of each object, means over all frames.

    There are as many objects as the first true frame's highest label says. Each gets the prediction that serves all of
    them best together; an object for which none is left is compared with empty masks.

    Raises:
        MetricError: the shapes differ or are not [T, H, W], or there are no frames.
    """
    _check(preds, gts)
    seen = gts != VOID
    true = [(gts == label) & seen for label in range(1, _objects(gts[0]) + 1)]
    mine = [(preds == label) & seen for label in range(1, max(int(preds.max()), len(true)) + 1)]
    j, f = np.zeros((len(mine), len(true))), np.zeros((len(mine), len(true)))
    for row, pred in enumerate(mine):
        for column, gt in enumerate(true):
            j[row, column] = region_similarities(pred, gt).mean()
            f[row, column] = boundary_accuracies(pred, gt).mean()
    rows, columns = linear_sum_assignment((j + f) / 2, maximize=True)
    chosen = dict(zip(columns.tolist(), rows.tolist(), strict=True))
    return [(float(j[chosen[k], k]), float(f[chosen[k], k])) for k in range(len(true))]


def semi_supervised(preds: Labels, gts: Labels) -> ObjectScores:
    """The same for the semi-supervised task: label for label, without the first and the last frame.

    Void px count as background there.

    Raises:
        MetricError: as `unsupervised`; fewer than three frames, or a label that no true object has.
    """
    _check(preds, gts)
    if len(gts) < 3:
        raise MetricError(f"a video of {len(gts)} frames, wanted three or more: the first and the last do not count")
    objects = _objects(gts[0])
    if int(preds.max()) > objects:
        raise MetricError(f"label {int(preds.max())} is predicted, the video has {objects} objects")
    scores: ObjectScores = []
    for label in range(1, objects + 1):
        pred, gt = preds[1:-1] == label, gts[1:-1] == label
        scores.append((float(region_similarities(pred, gt).mean()), float(boundary_accuracies(pred, gt).mean())))
    return scores


def merged(objects: Sequence[Mask | None], shape: tuple[int, int]) -> Labels:
    """Masks of objects 1..K on one frame [H, W] bool, None for an empty one -> label image [H, W].

    A px of several belongs to the first of them: `inference_davis.py` takes the likeliest, and the first of equals,
    which is what binary masks come to (github.com/showlab/VideoLISA, `evaluation/refdavis/post_process_davis.py`).
    """
    labels = np.zeros(shape, np.uint8)
    for label, mask in reversed(list(enumerate(objects, start=1))):
        if mask is not None:
            labels[mask] = label
    return labels


def means(scores: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """J and F of all objects of all videos -> mean J, mean F, J&F; every object weighs the same.

    Raises:
        MetricError: no objects.
    """
    if not scores:
        raise MetricError("no objects to take means of, wanted at least one")
    j, f = (float(value) for value in np.mean(scores, axis=0))
    return j, f, (j + f) / 2


def _objects(first: Labels) -> int:
    return int(np.where(first == VOID, 0, first).max())


def _check(preds: Labels, gts: Labels) -> None:
    if preds.shape != gts.shape or preds.ndim != 3 or not len(preds):
        raise MetricError(f"label images are {preds.shape} and {gts.shape}, wanted one shape [T, H, W] with T > 0")
