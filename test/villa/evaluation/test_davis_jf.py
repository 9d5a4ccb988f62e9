"""J and F against a published evaluator, and against a slow one written down here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from vos_benchmark.evaluator import Evaluator

from villa.evaluation.davis_jf import (
    JF,
    MetricError,
    boundary_accuracy,
    frame_jf,
    mean_jf,
    mean_over_frames,
    region_similarity,
    score_frames,
)

Mask = NDArray[np.bool_]
SHAPES = [(48, 64), (100, 70), (1, 40), (7, 7)]


def box(shape: tuple[int, int], x: int, y: int, width: int, height: int) -> Mask:
    mask = np.zeros(shape, np.bool_)
    mask[y : y + height, x : x + width] = True
    return mask


def halves(shape: tuple[int, int]) -> tuple[Mask, Mask]:
    left = box(shape, 0, 0, shape[1] // 2, shape[0])
    return left, ~left


def blob(shape: tuple[int, int], rng: np.random.Generator) -> Mask:
    """A few random ellipses, some of them cut by the border."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, np.bool_)
    for _ in range(rng.integers(1, 4)):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        a, b = rng.uniform(1, shape[0] / 3 + 1), rng.uniform(1, shape[1] / 3 + 1)
        mask |= ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1
    return mask


def pairs() -> list[tuple[str, Mask, Mask]]:
    rng = np.random.default_rng(7)
    cases = []
    for shape in SHAPES:
        nothing, everything = np.zeros(shape, np.bool_), np.ones(shape, np.bool_)
        a, b = blob(shape, rng), blob(shape, rng)
        noise = rng.random(shape) < 0.3
        cases += [
            (f"{shape} random blobs", a, b),
            (f"{shape} shifted blob", a, np.roll(a, 2, axis=1)),
            (f"{shape} blob and noise", a, noise),
            (f"{shape} blob and nothing", a, nothing),
            (f"{shape} nothing and blob", nothing, a),
            (f"{shape} nothing twice", nothing, nothing),
            (f"{shape} blob and everything", a, everything),
            (f"{shape} everything twice", everything, everything),
            (f"{shape} nothing and everything", nothing, everything),
            (f"{shape} last px", box(shape, shape[1] - 1, shape[0] - 1, 1, 1), a),
            (f"{shape} first px", box(shape, 0, 0, 1, 1), box(shape, 1, 0, 1, 1)),
            (f"{shape} one px and nothing", box(shape, shape[1] // 2, shape[0] // 2, 1, 1), nothing),
            (f"{shape} one px twice", *[box(shape, shape[1] // 2, shape[0] // 2, 1, 1)] * 2),
            (f"{shape} one px and everything", box(shape, shape[1] // 2, shape[0] // 2, 1, 1), everything),
            (f"{shape} blob with holes", a & ~noise, a),
            (f"{shape} hole in everything", everything & ~b, everything & ~np.roll(b, 1, axis=1)),
            (f"{shape} frame along the border", everything & ~box(shape, 2, 2, shape[1] - 4, shape[0] - 4), everything),
            (f"{shape} left and right half", *halves(shape)),
            (f"{shape} right border", box(shape, shape[1] - 3, 0, 3, shape[0]), box(shape, shape[1] - 2, 0, 2, 2)),
        ]
    return cases


def slow_f(pred: Mask, gt: Mask) -> float:
    """F by its definition, px by px."""
    height, width = pred.shape
    radius = math.ceil(0.008 * math.sqrt(height * height + width * width))

    def outline(mask: Mask) -> list[tuple[int, int]]:
        found = []
        for y in range(height):
            for x in range(width):
                neighbours = {
                    bool(mask[min(y + dy, height - 1), min(x + dx, width - 1)]) for dy in (0, 1) for dx in (0, 1)
                }
                if len(neighbours) == 2:
                    found.append((y, x))
        return found

    def share(these: list[tuple[int, int]], those: list[tuple[int, int]]) -> float:
        near = {
            (y + dy, x + dx)
            for y, x in those
            for dy in range(-radius, radius + 1)
            for dx in range(-radius, radius + 1)
            if dy * dy + dx * dx <= radius * radius
        }
        return sum(pixel in near for pixel in these) / len(these)

    mine, true = outline(pred), outline(gt)
    if not mine or not true:
        return 1.0 if mine == true else 0.0
    precision, recall = share(mine, true), share(true, mine)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("name", "pred", "gt"), pairs(), ids=[case[0] for case in pairs()])
def test_f_is_what_its_definition_says_px_by_px(name: str, pred: Mask, gt: Mask) -> None:
    assert boundary_accuracy(pred, gt) == pytest.approx(slow_f(pred, gt), abs=1e-6)


@pytest.mark.parametrize(("name", "pred", "gt"), pairs(), ids=[case[0] for case in pairs()])
def test_j_and_f_equal_those_of_the_published_evaluator(name: str, pred: Mask, gt: Mask) -> None:
    evaluator = Evaluator()
    everything = np.ones_like(gt)
    for mask, truth in (everything, everything), (pred, gt):  # it scores an object only from its first px on
        evaluator.feed_frame(mask.astype(np.uint8), truth.astype(np.uint8))
    assert region_similarity(pred, gt) == pytest.approx(evaluator.object_iou[1][-1], abs=1e-6)
    assert boundary_accuracy(pred, gt) == pytest.approx(evaluator.boundary_f[1][-1], abs=1e-6)
    theirs = (evaluator.object_iou[1][-1] + evaluator.boundary_f[1][-1]) / 2
    assert frame_jf(pred, gt).jf == pytest.approx(theirs, abs=1e-6)


def test_mean_over_the_frames_of_an_object_equals_that_of_the_published_evaluator() -> None:
    rng = np.random.default_rng(11)
    gts = [blob((48, 64), rng) for _ in range(6)]
    preds = [gts[0], *(np.roll(gt, 3, axis=0) for gt in gts[1:4]), np.zeros((48, 64), np.bool_), blob((48, 64), rng)]
    evaluator = Evaluator()
    for pred, gt in zip(preds, gts, strict=True):
        evaluator.feed_frame(pred.astype(np.uint8), gt.astype(np.uint8))
    j, f = evaluator.conclude()
    assert mean_jf(preds, gts) == pytest.approx((j[1] + f[1]) / 200, abs=1e-6)  # it gives percent
    means = score_frames(preds, gts)
    assert (means.j, means.f) == pytest.approx((j[1] / 100, f[1] / 100), abs=1e-6)
    assert means.jf == pytest.approx(mean_jf(preds, gts), abs=1e-15)


def test_means_over_frames_are_those_of_the_frames_to_the_last_bit() -> None:
    rng = np.random.default_rng(3)
    gts = [blob((48, 64), rng) for _ in range(40)]
    preds = [np.roll(gt, int(rng.integers(0, 9)), axis=1) for gt in gts]
    js = [region_similarity(pred, gt) for pred, gt in zip(preds, gts, strict=True)]
    fs = [boundary_accuracy(pred, gt) for pred, gt in zip(preds, gts, strict=True)]
    assert score_frames(preds, gts) == JF(float(np.mean(js)), float(np.mean(fs)))
    assert mean_jf(preds, gts) == float(np.mean([(j + f) / 2 for j, f in zip(js, fs, strict=True)]))


def test_no_mask_is_an_empty_mask() -> None:
    full, empty = box((48, 64), 10, 10, 20, 20), np.zeros((48, 64), np.bool_)
    assert frame_jf(None, None) == frame_jf(empty, empty) == JF(1.0, 1.0)
    assert frame_jf(None, full) == frame_jf(empty, full) == JF(0.0, 0.0)
    assert frame_jf(full, None) == frame_jf(full, empty) == JF(0.0, 0.0)
    assert score_frames([full, None, None, full], [full, None, full, None]) == JF(0.5, 0.5)


def test_a_mask_compared_with_itself_is_perfect() -> None:
    mask = blob((120, 160), np.random.default_rng(1))
    assert region_similarity(mask, mask) == 1.0
    assert boundary_accuracy(mask, mask) == 1.0


def test_half_overlap_gives_a_third_of_j() -> None:
    assert region_similarity(box((20, 40), 0, 0, 10, 20), box((20, 40), 5, 0, 10, 20)) == pytest.approx(1 / 3)


def test_mean_counts_every_frame_and_one_on_frames_where_both_are_empty() -> None:
    full, empty = box((48, 64), 10, 10, 20, 20), np.zeros((48, 64), np.bool_)
    assert mean_jf([full, empty, empty, full], [full, empty, full, empty]) == pytest.approx(0.5)


def test_masks_of_different_shape_are_refused_with_both_shapes() -> None:
    with pytest.raises(MetricError, match=r"\(4, 5\).*\(5, 4\)"):
        region_similarity(np.zeros((4, 5), np.bool_), np.zeros((5, 4), np.bool_))
    with pytest.raises(MetricError, match="2 predicted masks for 1"):
        mean_jf([np.zeros((4, 4), np.bool_)] * 2, [np.zeros((4, 4), np.bool_)])
    with pytest.raises(MetricError, match="no frames"):
        mean_over_frames([])


def test_a_hundred_masks_take_no_longer_than_in_the_published_evaluator() -> None:
    rng = np.random.default_rng(0)
    gts = [blob((240, 320), rng) for _ in range(100)]
    preds = [np.roll(gt, 3, axis=1) for gt in gts]

    def ours() -> None:
        for pred, gt in zip(preds, gts, strict=True):
            region_similarity(pred, gt)
            boundary_accuracy(pred, gt)

    def theirs() -> None:
        evaluator = Evaluator()
        for pred, gt in zip(preds, gts, strict=True):
            evaluator.feed_frame(pred.astype(np.uint8), gt.astype(np.uint8))

    def taken(work: Callable[[], None]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    # The best of three, one after the other, so that what else the machine does hits both.
    rounds = [(taken(ours), taken(theirs)) for _ in range(3)]
    assert min(own for own, _ in rounds) <= 1.5 * min(published for _, published in rounds)
