"""Measures of expressions, and the means of each protocol, against numbers worked out by hand and published code."""

from __future__ import annotations

from dataclasses import asdict
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from test_davis_jf import blob, box, pairs
from vos_benchmark.evaluator import Evaluator

from villa.evaluation.davis_jf import MetricError, boundary_accuracy, region_similarity
from villa.evaluation.davis_objects import means, merged, semi_supervised, unsupervised
from villa.evaluation.protocols import (
    mean_row,
    mevis_v2_row,
    present_row,
    reason_vos_row,
    ref_davis_row,
    revos_row,
    unscored_row,
)
from villa.evaluation.referring import (
    FrameMasks,
    boundary_accuracies,
    c_iou,
    choice_accuracy,
    g_iou,
    no_target_accuracy,
    pixel_accuracy,
    region_similarities,
    robustness,
    sample_iou,
    score_expression,
    target_accuracy,
)

Mask = NDArray[np.bool_]
SHAPE = (48, 64)
EMPTY, FULL = np.zeros(SHAPE, np.bool_), np.ones(SHAPE, np.bool_)


# -- one expression --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", sorted({pred.shape for _, pred, _ in pairs()}))
def test_stacks_give_what_each_frame_gives(shape: tuple[int, int]) -> None:
    of_shape = [(pred, gt) for _, pred, gt in pairs() if pred.shape == shape]
    preds, gts = np.stack([pred for pred, _ in of_shape]), np.stack([gt for _, gt in of_shape])
    assert region_similarities(preds, gts) == pytest.approx([region_similarity(*pair) for pair in of_shape], abs=1e-12)
    assert boundary_accuracies(preds, gts) == pytest.approx([boundary_accuracy(*pair) for pair in of_shape], abs=1e-12)


def test_stacks_of_different_shape_are_refused() -> None:
    with pytest.raises(MetricError, match=r"\[T, H, W\]"):
        region_similarities(np.zeros((2, 3, 4), np.bool_), np.zeros((3, 3, 4), np.bool_))
    with pytest.raises(MetricError, match=r"\[T, H, W\]"):
        boundary_accuracies(np.zeros((3, 4), np.bool_), np.zeros((3, 4), np.bool_))


def test_an_expression_is_the_mean_of_its_frames() -> None:
    gt = box(SHAPE, 10, 10, 20, 20)
    frames = [FrameMasks(gt, gt, FULL), FrameMasks(EMPTY, gt, FULL), FrameMasks(EMPTY, EMPTY, FULL)]
    score = score_expression(frames, target=True, answered=True)
    assert (score.frames, score.j, score.f) == (3, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert score.jf == pytest.approx(2 / 3)
    assert score.accuracy == pytest.approx(1 - 400 / (3 * 48 * 64))
    assert score.robustness == pytest.approx(1.0)
    assert (score.intersection, score.union) == (400, 800)
    assert score.iou == pytest.approx(2 / 3, abs=1e-6)


def test_an_expression_without_frames_or_with_some_foreground_is_refused() -> None:
    with pytest.raises(MetricError, match="without frames"):
        score_expression([], target=True, answered=True)
    with pytest.raises(MetricError, match="1 of 2 frames"):
        score_expression([FrameMasks(FULL, FULL, FULL), FrameMasks(FULL, FULL)], target=True, answered=True)


def test_robustness_is_lost_to_px_that_are_segmented_wrongly() -> None:
    gt, foreground = box(SHAPE, 0, 0, 10, 10), box(SHAPE, 0, 0, 20, 10)
    assert robustness(gt, gt, foreground) == 1.0
    assert robustness(EMPTY, gt, foreground) == 1.0  # what is missed costs nothing
    assert robustness(box(SHAPE, 5, 0, 10, 10), gt, foreground) == pytest.approx(1 - 50 / 200, abs=1e-6)
    assert robustness(FULL, gt, foreground) == 0.0
    assert robustness(FULL, FULL, EMPTY) == 1.0
    assert robustness(box(SHAPE, 0, 0, 1, 1), EMPTY, EMPTY) == 0.0


def test_accuracy_is_the_share_of_px_that_are_right() -> None:
    assert pixel_accuracy(FULL, FULL) == 1.0
    assert pixel_accuracy(FULL, EMPTY) == 0.0
    assert pixel_accuracy(box(SHAPE, 0, 0, 16, 48), EMPTY) == pytest.approx(0.75)
    with pytest.raises(MetricError, match="one shape"):
        pixel_accuracy(FULL, np.zeros((2, 2), np.bool_))


def test_giou_weighs_frames_and_ciou_weighs_px() -> None:
    small, large = box(SHAPE, 0, 0, 2, 2), box(SHAPE, 0, 0, 40, 40)
    found = score_expression([FrameMasks(large, large)] * 3, target=True, answered=True)
    missed = score_expression([FrameMasks(EMPTY, small)], target=True, answered=False)
    assert g_iou([found, missed]) == pytest.approx(3 / 4, abs=1e-6)
    assert c_iou([found, missed]) == pytest.approx(4800 / 4804, abs=1e-6)
    rows = [asdict(found), asdict(missed)]
    assert g_iou(rows) == g_iou([found, missed])
    assert c_iou(rows) == c_iou([found, missed])


def test_giou_of_two_empty_masks_is_one_and_of_one_px_just_short_of_it() -> None:
    assert sample_iou(0, 0) == 1.0
    assert sample_iou(0, 1) == 0.0
    assert sample_iou(1, 1) == pytest.approx(1 / (1 + 1e-5), abs=1e-12)  # as LISA has it
    with pytest.raises(MetricError, match="wanted at least one"):
        g_iou([])
    with pytest.raises(MetricError, match="wanted at least one"):
        c_iou([])


def test_accuracies_of_expressions_and_questions() -> None:
    assert no_target_accuracy([False, False, True, False]) == 0.75
    assert target_accuracy([True, False]) == 0.5
    assert choice_accuracy([True, True, False, False]) == 0.5
    assert [no_target_accuracy([]), target_accuracy([]), choice_accuracy([])] == [None, None, None]


# -- several objects of a video --------------------------------------------------------------------------------------


def labelled(*objects: Mask) -> NDArray[np.uint8]:
    return merged(list(objects), SHAPE)


def wandering(seed: int, objects: int, frames: int) -> NDArray[np.uint8]:
    """Label images in which every object is in view all the time."""
    rng = np.random.default_rng(seed)
    boxes = [box(SHAPE, 4 + 18 * k, int(rng.integers(4, 20)), 12, 14) for k in range(objects)]
    return np.stack([labelled(*(np.roll(mask, t, axis=1) for mask in boxes)) for t in range(frames)])


def noisy(labels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return np.stack([np.roll(frame, tuple(rng.integers(-2, 3, 2)), axis=(0, 1)) for frame in labels])


def published(preds: NDArray[np.uint8], gts: NDArray[np.uint8]) -> list[tuple[float, float]]:
    evaluator = Evaluator()
    for pred, gt in zip(preds, gts, strict=True):
        evaluator.feed_frame(pred, gt)
    j, f = evaluator.conclude()
    return [(j[label] / 100, f[label] / 100) for label in sorted(j)]


def assert_close(mine: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> None:
    assert np.array(mine) == pytest.approx(np.array(theirs), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_objects_score_as_in_the_published_evaluator(seed: int) -> None:
    gts = wandering(seed, objects=3, frames=6)
    preds = noisy(gts, seed)
    assert_close(unsupervised(preds, gts), published(preds, gts))
    assert_close(semi_supervised(preds, gts), published(preds[1:-1], gts[1:-1]))


def test_unsupervised_objects_are_matched_whatever_their_labels() -> None:
    gts = wandering(5, objects=3, frames=4)
    preds = noisy(gts, 5)
    for order in permutations((1, 2, 3)):
        other = np.array([0, *order], np.uint8)[preds]
        assert_close(unsupervised(other, gts), unsupervised(preds, gts))
    assert means(semi_supervised(np.array([0, 2, 1, 3], np.uint8)[preds], gts))[2] < means(unsupervised(preds, gts))[2]


def test_the_first_and_last_frame_count_in_one_task_and_not_in_the_other() -> None:
    gts = wandering(1, objects=2, frames=4)
    preds = gts.copy()
    preds[0] = preds[-1] = 0
    assert means(unsupervised(preds, gts)) == (0.5, 0.5, 0.5)
    assert means(semi_supervised(preds, gts)) == (1.0, 1.0, 1.0)


def test_an_object_without_a_prediction_scores_nothing_where_it_is_in_view() -> None:
    gts = wandering(1, objects=2, frames=3)
    only = np.where(gts == 2, 1, 0).astype(np.uint8)
    assert unsupervised(only, gts) == [(0.0, 0.0), (1.0, 1.0)]
    assert unsupervised(np.zeros_like(gts), gts) == [(0.0, 0.0), (0.0, 0.0)]


def test_void_px_count_neither_way() -> None:
    gt = labelled(box(SHAPE, 10, 10, 10, 10))
    wide = labelled(box(SHAPE, 10, 10, 20, 10))
    void = gt.copy()
    void[box(SHAPE, 20, 10, 10, 10)] = 255
    assert unsupervised(wide[None], gt[None])[0][0] == pytest.approx(0.5)
    assert unsupervised(wide[None], void[None])[0] == (1.0, 1.0)
    frames = np.stack([void] * 3), np.stack([wide] * 3)
    assert semi_supervised(frames[1], frames[0])[0][0] == pytest.approx(0.5)  # there it is background


def test_a_px_of_two_objects_belongs_to_the_first() -> None:
    labels = merged([box(SHAPE, 0, 0, 10, 10), None, box(SHAPE, 5, 0, 10, 10)], SHAPE)
    assert (labels[0, 5], labels[0, 10], labels[0, 20]) == (1, 3, 0)


def test_label_images_that_cannot_be_compared_are_refused() -> None:
    gts = wandering(1, objects=2, frames=3)
    with pytest.raises(MetricError, match="wanted one shape"):
        unsupervised(gts[:2], gts)
    with pytest.raises(MetricError, match="label 5 is predicted, the video has 2 objects"):
        semi_supervised(np.full_like(gts, 5), gts)
    with pytest.raises(MetricError, match="2 frames, wanted three"):
        semi_supervised(gts[:2], gts[:2])
    with pytest.raises(MetricError, match="no objects"):
        means([])


# -- protocols -------------------------------------------------------------------------------------------------------


def score(video="a", kind="", j=1.0, f=1.0, **more):
    about = {"video": video, "kind": kind, "j": j, "f": f, "jf": (j + f) / 2, "frames": 10, "iou": j}
    about |= {"intersection": 0, "union": 0, "target": True, "answered": True, "choice": None}
    return about | {"accuracy": j, "robustness": f} | more


def test_the_row_of_mevis_is_a_mean_over_expressions_and_counts_what_failed_as_nothing() -> None:
    row = mean_row([score("a", j=0.9, f=0.7), score("a", j=0.5, f=0.3), score("b", j=0.1, f=0.2)])
    assert (row["videos"], row["expressions"]) == (2, 3)
    assert (row["j"], row["f"], row["jf"]) == (pytest.approx(0.5), pytest.approx(0.4), pytest.approx(0.45))
    assert row["jf_low"] <= row["jf"] <= row["jf_high"]
    broken = mean_row([score("a"), score("b", j=0.0, f=0.0, failed=True)])
    assert (broken["jf"], broken["failed"]) == (0.5, 1)
    assert mean_row([]) == {"videos": 0, "expressions": 0}


def test_revos_means_the_two_kinds_and_rounds_each_expression() -> None:
    scores = [
        score(kind="referring", j=0.8, f=0.6),
        score(kind="referring", j=0.6, f=0.4),
        score(kind="referring", j=0.1, f=0.2),
        score(kind="reasoning", j=0.333333, f=0.111111),
        score(kind="hallucination", j=0.0, f=0.0),
    ]
    row = revos_row(scores)
    assert set(row["parts"]) == {"referring", "reasoning"}
    assert row["parts"]["referring"]["jf"] == pytest.approx((0.5 + 0.4) / 2)
    assert row["parts"]["reasoning"]["j"] == pytest.approx(0.3333, abs=1e-12)  # 33.33 points
    assert row["j"] == pytest.approx((0.5 + 0.3333) / 2)
    assert row["f"] == pytest.approx((0.4 + 0.1111) / 2)
    assert row["jf"] == pytest.approx((row["j"] + row["f"]) / 2)
    assert row["robustness"] == row["f"]
    assert row["accuracy"] == row["j"]
    assert row["expressions"] == 5


def test_revos_has_no_overall_number_where_one_kind_was_not_run() -> None:
    row = revos_row([score(kind="reasoning")])
    assert row["jf"] is None
    assert row["parts"]["reasoning"]["jf"] == 1.0


def test_mevis_v2_adds_what_is_said_to_be_there() -> None:
    scores = [
        score(j=0.5, f=0.5),
        score(j=0.0, f=0.0, answered=False),
        score(j=1.0, f=1.0, target=False, answered=False),
        score(j=0.0, f=0.0, target=False, answered=True),
    ]
    row = mevis_v2_row(scores)
    assert row["jf"] == pytest.approx(1.5 / 4)
    assert row["jf_target"] == pytest.approx(0.25)
    assert (row["n_acc"], row["t_acc"]) == (0.5, 0.5)
    assert row["final"] == pytest.approx((1.5 / 4 + 0.5 + 0.5) / 3)
    assert mevis_v2_row(scores[:2])["final"] is None


def test_final_is_what_tables_of_the_challenge_have() -> None:
    # Two rows of a published table of its audio track: N-acc, T-acc, J&F, final.
    for n_acc, t_acc, jf, final in ((41.38, 92.53, 53.09, 62.33), (96.55, 57.83, 46.03, 66.80)):
        assert round((n_acc + t_acc + jf) / 3, 2) == pytest.approx(final, abs=0.006)


def test_reason_vos_leaves_out_what_failed() -> None:
    row = reason_vos_row([score(kind="sentence"), score(kind="phrase", j=0.0, f=0.0, failed=True)])
    assert row["jf"] == 1.0
    assert row["expressions"] == 1
    assert list(row["parts"]) == ["sentence"]


def test_ref_davis_means_its_four_sets_of_expressions() -> None:
    direct = {"j_direct": 1.0, "f_direct": 0.5, "jf_direct": 0.75}
    scores = [score(kind=kind, j=j, f=j, **direct) for kind, js in (("1", (1.0, 0.0)), ("2", (0.5, 0.1))) for j in js]
    row = ref_davis_row(scores)
    assert row["parts"]["1"]["jf"] == pytest.approx(0.5)
    assert row["parts"]["2"]["jf"] == pytest.approx(0.3)
    assert row["jf"] == pytest.approx(0.4)
    assert row["jf_direct"] == pytest.approx(0.75)
    assert ref_davis_row([]) == {"videos": 0, "expressions": 0}


def test_own_sets_are_scored_for_what_is_there_and_by_kind() -> None:
    scores = [
        score(kind="short", j=0.5, f=0.5, choice=True),
        score(kind="long", j=0.1, f=0.1, choice=False),
        score(kind="long", j=0.0, f=0.0, target=False, answered=True),
    ]
    row = present_row(scores)
    assert row["jf"] == pytest.approx(0.3)
    assert (row["n_acc"], row["t_acc"], row["choice"], row["expressions"]) == (0.0, 1.0, 0.5, 3)
    assert row["parts"]["short"]["choice"] == 1.0
    assert row["parts"]["long"]["jf"] == pytest.approx(0.1)


def test_a_split_without_masks_has_counts_alone() -> None:
    row = unscored_row([{"video": "a", "answered": True}, {"video": "b", "answered": False}])
    assert row == {"videos": 2, "expressions": 2, "answered": 0.5}


def test_j_and_f_of_a_random_video_agree_with_the_published_evaluator() -> None:
    rng = np.random.default_rng(3)
    gts = [blob(SHAPE, rng) for _ in range(8)]
    preds = [np.roll(gt, 2, axis=0) for gt in gts[:5]] + [EMPTY, FULL, blob(SHAPE, rng)]
    mine = score_expression(
        [FrameMasks(pred, gt) for pred, gt in zip(preds, gts, strict=True)], target=True, answered=True
    )
    assert_close([(mine.j, mine.f)], published(np.stack(preds).astype(np.uint8), np.stack(gts).astype(np.uint8)))
