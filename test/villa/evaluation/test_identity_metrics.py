"""HOTA, DetA, AssA and identity switches against TrackEval, and against what they have to be in simple videos."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco
from trackeval.metrics import CLEAR, HOTA

from villa.evaluation.davis_jf import MetricError
from villa.evaluation.identity import IdentityScores, combined, identity_scores

Mask = NDArray[np.bool_]
Track = list[Mask | None]
Video = tuple[list[Track], list[Track]]  # true objects, predicted tracklets
SHAPE = (30, 40)


def box(x: int, y: int, width: int, height: int, shape: tuple[int, int] = SHAPE) -> Mask:
    mask = np.zeros(shape, np.bool_)
    mask[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = True
    return mask


def still(*masks: Mask, frames: int = 6) -> list[Track]:
    return [[mask] * frames for mask in masks]


def noisy(seed: int, objects: int, frames: int) -> Video:
    """Drifting ellipses that come and go; tracklets that shift, drop out, swap, are made twice, or follow nothing."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]

    def drifting() -> Track:
        y, x = rng.uniform(0, SHAPE[0]), rng.uniform(0, SHAPE[1])
        dy, dx = rng.uniform(-1.5, 1.5, 2)
        a, b = rng.uniform(2, 9, 2)
        return [
            ((rows - y - dy * t) / a) ** 2 + ((columns - x - dx * t) / b) ** 2 <= 1 if rng.random() < 0.85 else None
            for t in range(frames)
        ]

    gts = [drifting() for _ in range(objects)]
    preds: list[Track] = []
    for gt in gts:
        shift = tuple(rng.integers(-2, 3, 2))
        preds.append([None if m is None or rng.random() < 0.15 else np.roll(m, shift, axis=(0, 1)) for m in gt])
    for _ in range(objects):
        a, b, t = rng.integers(objects), rng.integers(objects), rng.integers(frames)
        preds[a], preds[b] = preds[a][:t] + preds[b][t:], preds[b][:t] + preds[a][t:]
    preds += [drifting(), list(preds[0])]
    return gts, [preds[i] for i in rng.permutation(len(preds))]


def edge_videos() -> dict[str, Video]:
    empty, full = np.zeros(SHAPE, np.bool_), np.ones(SHAPE, np.bool_)
    ring = full.copy()
    ring[5:25, 5:35] = False
    one_px, corner = box(0, 0, 1, 1), box(39, 29, 1, 1)
    left, right = box(0, 0, 20, 30), box(20, 0, 20, 30)
    twentieths = [box(0, 0, k, 30) for k in range(1, 20)]  # each inside a box of 20 columns: IoU k / 20
    a, b = box(2, 2, 10, 10), box(25, 2, 10, 10)
    return {
        "nothing at all": ([], []),
        "objects without a frame": ([[]], [[]]),
        "only None and empty masks": ([[None, empty]], [[empty, None]]),
        "no true masks": ([], still(a, b)),
        "true masks, all of them empty": (still(empty), still(a, b)),
        "no predicted masks": (still(a, b), []),
        "predicted masks, all of them empty": (still(a, b), still(empty)),
        "one px": (still(one_px), still(one_px)),
        "one px elsewhere": (still(one_px), still(corner)),
        "full frame": (still(full), still(full)),
        "full frame and one px": (still(full), still(one_px)),
        "touching the border": (still(left, right), still(box(0, 0, 22, 30), box(22, 0, 18, 30))),
        "holes": (still(ring), still(full)),
        "filled hole beside a ring": (still(ring, ~ring), still(~ring, ring)),
        "IoU exactly at every alpha": ([[box(0, 0, 20, 30)] * 19], [twentieths]),
        "IoU exactly 0.5": (still(box(0, 0, 10, 10)), still(box(0, 0, 10, 5))),
        "the same tracklet twice": (still(a, b), still(a, a, b)),
        "two true objects in one place": (still(a, a), still(a)),
        "one tracklet after another": ([[a] * 6], [[a] * 3 + [None] * 3, [None] * 3 + [a] * 3]),
        "a gap of nothing predicted": (still(a, b), [[a, a, None, None, b, b], [b, b, None, None, a, a]]),
        "a gap of nothing true": ([[a, a, None, None, a, a]], [[a] * 6, [None, None, None, a, a, a]]),
        "found again by another tracklet": ([[a, None, a, a]], [[a, None, None, None], [None, None, a, a]]),
        "staying beats a better overlap": (
            [[a] * 4],
            [[a, box(3, 2, 10, 10), box(4, 2, 10, 10), box(5, 2, 10, 10)], [None, a, a, a]],
        ),
        "staying after a frame of nothing predicted": ([[a] * 3], [[a, None, box(3, 2, 10, 10)], [None, None, a]]),
        "staying after a frame of nothing true": ([[a, None, a]], [[a, a, box(3, 2, 10, 10)], [None, None, a]]),
        "not staying after a frame without a match": (
            still(a, b, frames=3),
            [[a, None, box(3, 2, 10, 10)], [None, None, a], [b, b, b]],
        ),
        "below the threshold for a switch": ([[a] * 4], [[a, a, None, None], [None, None] + [box(7, 2, 10, 10)] * 2]),
    }


def videos() -> dict[str, Video]:
    cases = edge_videos()
    for objects in (1, 3, 10):
        cases |= {f"{objects} objects, seed {seed}": noisy(seed, objects, 12) for seed in range(6)}
    return cases


VIDEOS = videos()


def trackeval_data(gts: list[Track], preds: list[Track]) -> dict[str, object]:
    """What TrackEval's data sets hand to its metrics, with IoU from pycocotools as there."""
    frames = max((len(track) for track in (*gts, *preds)), default=0)

    def ids_and_codes(tracks: list[Track]) -> tuple[list[NDArray[np.int64]], list[list[dict]], int]:
        seen = [track for track in tracks if any(mask is not None and mask.any() for mask in track)]
        ids, codes = [], []
        for t in range(frames):
            now = [(i, track[t]) for i, track in enumerate(seen) if track[t] is not None and track[t].any()]
            ids.append(np.array([i for i, _ in now], int))
            codes.append([coco.encode(np.asfortranarray(mask, np.uint8)) for _, mask in now])
        return ids, codes, len(seen)

    gt_ids, gt_codes, num_gt_ids = ids_and_codes(gts)
    pred_ids, pred_codes, num_pred_ids = ids_and_codes(preds)
    return {
        "num_timesteps": frames,
        "num_gt_ids": num_gt_ids,
        "num_tracker_ids": num_pred_ids,
        "num_gt_dets": sum(map(len, gt_ids)),
        "num_tracker_dets": sum(map(len, pred_ids)),
        "gt_ids": gt_ids,
        "tracker_ids": pred_ids,
        "similarity_scores": [similarity(gt, pred) for gt, pred in zip(gt_codes, pred_codes, strict=True)],
    }


def similarity(gts: list[dict], preds: list[dict]) -> NDArray[np.float64]:
    if not gts or not preds:
        return np.zeros((len(gts), len(preds)))
    return coco.iou(gts, preds, [False] * len(preds))


def published(video: Video) -> tuple[dict, dict]:
    data = trackeval_data(*video)
    return HOTA().eval_sequence(data), CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)


def assert_equal(scores: IdentityScores, hota: dict, clear: dict) -> None:
    assert scores.hota == pytest.approx(np.mean(hota["HOTA"]), abs=1e-6)
    assert scores.det_a == pytest.approx(np.mean(hota["DetA"]), abs=1e-6)
    assert scores.ass_a == pytest.approx(np.mean(hota["AssA"]), abs=1e-6)
    assert scores.matches == tuple(hota["HOTA_TP"])  # at each alpha, so that no two errors can cancel
    assert scores.switches == clear["IDSW"]


@pytest.mark.parametrize("name", VIDEOS)
def test_scores_of_a_video_equal_those_of_trackeval(name: str) -> None:
    assert_equal(identity_scores(*VIDEOS[name]), *published(VIDEOS[name]))


def test_scores_of_all_videos_together_equal_those_of_trackeval() -> None:
    results = {name: published(video) for name, video in VIDEOS.items()}
    hota = HOTA().combine_sequences({name: result[0] for name, result in results.items()})
    clear = CLEAR({"PRINT_CONFIG": False}).combine_sequences({name: result[1] for name, result in results.items()})
    scores = combined(identity_scores(*video) for video in VIDEOS.values())
    assert_equal(scores, hota, clear)
    assert 0 < scores.hota < 1
    assert scores.switches > 0


def test_perfect_tracks_score_one_without_a_switch() -> None:
    gts, _ = noisy(3, objects=4, frames=10)
    scores = identity_scores(gts, gts[::-1])
    assert (scores.hota, scores.det_a, scores.ass_a) == pytest.approx((1.0, 1.0, 1.0), abs=1e-12)
    assert scores.switches == 0


def test_two_identities_that_swap_half_way_are_two_switches_and_halve_the_association() -> None:
    a, b = box(2, 2, 10, 10), box(25, 2, 10, 10)
    scores = identity_scores(still(a, b, frames=8), [[a] * 4 + [b] * 4, [b] * 4 + [a] * 4])
    assert scores.switches == 2
    assert scores.det_a == pytest.approx(1.0)
    assert scores.ass_a == pytest.approx(4 / (8 + 8 - 4))  # 4 shared frames of 8 true and 8 predicted ones


def test_a_switch_is_counted_after_an_object_was_out_of_view() -> None:
    a = box(2, 2, 10, 10)
    gone: Track = [None] * 3
    gts: list[Track] = [[a, *gone, a]]
    assert identity_scores(gts, [[a, *gone, a]]).switches == 0
    assert identity_scores(gts, [[a, *gone, None], [None, *gone, a]]).switches == 1


def test_none_and_an_empty_mask_are_the_same() -> None:
    gts, preds = noisy(5, objects=3, frames=8)
    empty = np.zeros(SHAPE, np.bool_)

    def filled(tracks: list[Track]) -> list[Track]:
        return [[empty if mask is None else mask for mask in track] for track in tracks]

    assert any(mask is None for track in gts for mask in track)
    assert identity_scores(filled(gts), filled(preds)) == identity_scores(gts, preds)


def test_a_false_tracklet_costs_detection_and_nothing_else() -> None:
    a, b = box(2, 2, 10, 10), box(25, 2, 10, 10)
    scores = identity_scores(still(a), still(a, b))
    assert (scores.det_a, scores.ass_a, scores.switches) == (0.5, 1.0, 0)


def test_combined_scores_count_masks_and_not_videos() -> None:
    a, b = box(2, 2, 10, 10), box(25, 2, 10, 10)
    found, missed = identity_scores(still(a, frames=9), still(a, frames=9)), identity_scores(still(a, frames=1), [])
    assert combined([found, missed]).det_a == pytest.approx(0.9)
    assert combined([found, identity_scores([], [])]) == found
    assert combined([found, identity_scores([], still(b, frames=9))]).det_a == pytest.approx(0.5)


def test_nothing_true_and_nothing_predicted_score_zero_each_and_both() -> None:
    a = still(box(2, 2, 10, 10), frames=3)
    for gts, preds, true, predicted in ([], [], 0, 0), (a, [], 3, 0), ([], a, 0, 3):
        scores = identity_scores(gts, preds)
        assert (scores.hota, scores.det_a, scores.ass_a, scores.switches) == (0, 0, 0, 0)
        assert (scores.gt_masks, scores.pred_masks) == (true, predicted)


def test_what_cannot_be_compared_is_refused() -> None:
    a = box(2, 2, 10, 10)
    with pytest.raises(MetricError, match=r"\[2, 3\] frames"):
        identity_scores([[a, a, None]], [[a, a]])
    with pytest.raises(MetricError, match=r"\(15, 20\).*\(30, 40\)"):
        identity_scores([[a]], [[box(2, 2, 5, 5, (15, 20))]])
    with pytest.raises(MetricError, match=r"\[H, W\]"):
        identity_scores([[np.zeros((1, 30, 40), np.bool_)]], [])
    with pytest.raises(MetricError, match="at least one"):
        combined([])
