from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from villa.masks import MaskError, RleMask, decode, encode, from_logits, of_logits

Mask = NDArray[np.bool_]


def cases() -> dict[str, Mask]:
    rng = np.random.default_rng(3)
    corner = np.zeros((9, 13), np.bool_)
    corner[-1, -1] = True
    ring = np.zeros((30, 40), np.bool_)
    ring[5:20, 8:30] = True
    ring[9:15, 12:25] = False
    return {
        "empty": np.zeros((6, 8), np.bool_),
        "full": np.ones((6, 8), np.bool_),
        "one px": np.ones((1, 1), np.bool_),
        "corner": corner,
        "with a hole": ring,
        "noise": rng.random((47, 61)) < 0.5,
        "chessboard": np.indices((8, 9)).sum(axis=0) % 2 == 0,
    }


@pytest.mark.parametrize("name", cases())
def test_a_mask_survives_coding_exactly(name: str) -> None:
    mask = cases()[name]
    rle = encode(mask)
    assert np.array_equal(decode(rle), mask)
    assert rle.area == mask.sum()
    assert rle.runs.sum() == rle.box_width * rle.box_height


def test_the_box_is_tight_and_runs_begin_with_background() -> None:
    mask = np.zeros((10, 10), np.bool_)
    mask[2:4, 3:6] = True
    rle = encode(mask)
    assert (rle.x, rle.y, rle.box_width, rle.box_height) == (3, 2, 3, 2)
    assert rle.runs.tolist() == [0, 6]


def test_runs_are_row_major_inside_the_box() -> None:
    mask = np.array([[1, 1, 0], [0, 1, 1]], np.bool_)
    assert encode(mask).runs.tolist() == [0, 2, 2, 2]


@pytest.mark.parametrize("size", [(60, 80), (120, 160), (480, 640), (1080, 1920), (100, 170), (61, 83)])
@pytest.mark.parametrize("grid", [(60, 80), (80, 104)], ids=str)  # the second is the default model's
def test_logits_become_the_same_mask_whether_all_or_a_part_is_resized(
    grid: tuple[int, int], size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        noise = cv2.GaussianBlur(rng.normal(size=grid).astype(np.float32), (0, 0), 3.0)
        logits = noise - np.float32(noise.max() * rng.uniform(0.1, 1.1))  # small parts, large ones, and none
        if number % 4 == 0:
            logits[:, 40:] = -1  # only at one side
        whole, part = from_logits(logits, *size), of_logits(logits, *size)
        assert (part.height, part.width) == size
        # Weights of the interpolation are rounded: a pixel right on the edge may fall to either side.
        assert np.count_nonzero(decode(part) != whole) <= 2e-5 * whole.size


def test_the_empty_mask_has_no_box_and_no_runs() -> None:
    rle = encode(np.zeros((5, 7), np.bool_))
    assert rle == RleMask.empty(5, 7)
    assert (rle.box_width, rle.box_height, rle.area, rle.runs.size) == (0, 0, 0, 0)


def test_coded_masks_are_equal_when_their_pixels_are() -> None:
    mask = cases()["noise"]
    assert encode(mask) == encode(mask.copy())
    assert encode(mask) != encode(~mask)


def test_runs_that_do_not_fill_the_box_are_refused_with_both_areas() -> None:
    rle = encode(np.ones((4, 5), np.bool_))
    with pytest.raises(MaskError, match="19 px, the box holds 20 px"):
        decode(replace(rle, runs=np.array([0, 19], np.uint32)))


def test_a_box_that_leaves_the_image_is_refused() -> None:
    rle = encode(np.ones((4, 5), np.bool_))
    with pytest.raises(MaskError, match="leaves the image 5x4"):
        decode(replace(rle, x=1))


def test_logits_are_cut_at_zero_after_resizing_to_the_source() -> None:
    logits = np.full((4, 4), -5.0, np.float32)
    logits[:, :2] = 5.0
    mask = from_logits(logits, 40, 80)
    assert mask.shape == (40, 80)
    assert mask[:, :40].all()
    assert not mask[:, 40:].any()
