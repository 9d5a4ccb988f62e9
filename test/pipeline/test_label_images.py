from __future__ import annotations

import numpy as np

from villa.masks import RleMask, encode
from villa_ros.pipeline.events import TrackedInstance, TrackState
from villa_ros.pipeline.label_images import label_image, target_mask

SHAPE = (40, 60)


def instance(
    number: int, box: tuple[int, int, int, int] | None, score: float = 0.9, request: str = "r", removed: bool = False
) -> TrackedInstance:
    mask = np.zeros(SHAPE, np.bool_)
    if box:
        x, y, width, height = box
        mask[y : y + height, x : x + width] = True
    rle = encode(mask) if box else RleMask.empty(*SHAPE)
    state = TrackState.REMOVED if removed else TrackState.TRACKED if box else TrackState.OCCLUDED
    return TrackedInstance(f"nonce-{number}", request, number, state, "mug", score, 0.9, rle)


def test_where_masks_overlap_the_higher_score_is_shown() -> None:
    sure, unsure = instance(7, (10, 5, 20, 20), 0.9), instance(9, (20, 10, 20, 20), 0.6)
    for order in ([sure, unsure], [unsure, sure]):
        image = label_image(order, *SHAPE)
        assert image.dtype == np.uint16
        assert image[12, 25] == 7  # both
        assert image[25, 35] == 9
        assert image[0, 0] == 0
        assert sorted(np.unique(image)) == [0, 7, 9]


def test_a_small_object_before_a_large_one_is_not_painted_over() -> None:
    large, small = instance(3, (0, 0, 50, 30)), instance(4, (10, 10, 5, 5))
    for order in ([large, small], [small, large]):
        assert label_image(order, *SHAPE)[12, 12] == 4


def test_every_label_that_a_track_may_have_fits() -> None:
    image = label_image([instance(65534, (0, 0, 5, 5))], *SHAPE)
    assert image[0, 0] == 65534


def test_what_is_not_seen_is_on_no_picture() -> None:
    hidden, gone = instance(1, None), instance(2, (0, 0, 5, 5), removed=True)
    assert not label_image([hidden, gone], *SHAPE).any()
    assert target_mask([hidden, gone], *SHAPE) is None
    assert target_mask([], *SHAPE) is None


def test_the_target_is_all_that_the_newest_request_means() -> None:
    older = instance(9, (0, 0, 10, 10), request="older")
    newer = [instance(10, (20, 0, 10, 10), request="newer"), instance(11, (40, 0, 10, 10), request="newer")]
    mask = target_mask([*newer, older], *SHAPE)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}
    assert mask[5, 25] == mask[5, 45] == 255
    assert mask[5, 5] == 0


def test_the_target_out_of_sight_is_not_replaced_by_another_request() -> None:
    older, hidden = instance(9, (0, 0, 10, 10), request="older"), instance(10, None, request="newer")
    assert target_mask([older, hidden], *SHAPE) is None
