"""The one scorer of requests, on runs whose right answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_bags import stamp
from told_runs import ANSWERS, answered, box, run_of, scored, shown, write_truth_bag

from villa.evaluation.davis_jf import boundary_accuracy, region_similarity
from villa.masks import RleMask, decode
from villa_ros.bags.run import Run
from villa_ros.evaluation.request_scores import first_mask_s
from villa_ros.evaluation.results import Asked
from villa_ros.pipeline.events import TrackState


@pytest.fixture
def truth_bag(tmp_path: Path) -> Path:
    return write_truth_bag(tmp_path / "truth")


def red_of(bag: Path, run: Run) -> Asked:
    return scored(bag, run)[1][0]


def banana_of(bag: Path, run: Run) -> Asked:
    return scored(bag, run)[1][1]


def published(asked: Asked) -> list[int]:
    return [moment.stamp_ns for moment in asked.moments if moment.published]


def test_masks_that_are_the_truth_score_one(truth_bag: Path) -> None:
    run = run_of([shown(index, box(2 + index)) for index in range(7, 13)], ANSWERS)
    _, (red, banana) = scored(truth_bag, run)
    assert (red.j, red.f, red.jf, red.hota, red.switches) == (1.0, 1.0, 1.0, 1.0, 0)
    assert (red.frames, len(published(red)), red.coverage) == (8, 6, 1.0)
    assert (red.present, red.answered, red.right, red.named) == (True, True, True, 1)
    assert red.frames_per_s == pytest.approx(8.0)
    assert first_mask_s(run, "red") == pytest.approx(0.375)
    assert (banana.present, banana.jf, banana.right, banana.frames) == (False, None, True, 7)


def test_dropped_frames_lower_the_coverage_and_not_the_score(truth_bag: Path) -> None:
    red = red_of(truth_bag, run_of([shown(index, box(2 + index)) for index in (7, 9, 12)], ANSWERS))
    assert red.jf == 1.0
    assert red.coverage == 0.5
    assert red.frames_per_s == pytest.approx(3.2)


def test_where_no_frame_is_dropped_one_without_masks_counts_as_an_empty_one(truth_bag: Path) -> None:
    run = run_of([shown(index, box(2 + index)) for index in (7, 9, 12)], ANSWERS)
    red = scored(truth_bag, run, live=False)[1][0]
    assert red.jf == 3 / 8
    assert red.frames_per_s is None, "no time passed"


def test_half_overlap_scores_what_davis_scores(truth_bag: Path) -> None:
    red = red_of(truth_bag, run_of([shown(8, box(10 + 6))], ANSWERS))
    assert red.j == pytest.approx(1 / 3)
    mine, true = decode(box(16)), decode(box(10))
    assert red.jf == (region_similarity(mine, true) + boundary_accuracy(mine, true)) / 2


def test_tracks_of_another_request_and_outside_the_window_do_not_count(truth_bag: Path) -> None:
    tracks = [
        shown(3, box(5)),
        shown(7, box(9)),
        shown(8, box(40), request_id="other"),
        shown(15, box(17)),
        shown(9, RleMask.empty(48, 64), TrackState.REMOVED),
    ]
    red = red_of(truth_bag, run_of(tracks, ANSWERS))
    assert published(red) == [stamp(7)]
    assert red.jf == 1.0
    assert red.frames_per_s is None, "one frame has no rate"


def test_a_lost_object_counts_as_an_empty_mask(truth_bag: Path) -> None:
    tracks = [shown(7, box(9)), shown(8, RleMask.empty(48, 64), TrackState.LOST)]
    red = red_of(truth_bag, run_of(tracks, ANSWERS))
    assert red.jf == 0.5
    assert red.coverage == pytest.approx(2 / 6)


def test_a_present_request_that_got_nothing_scores_zero(truth_bag: Path) -> None:
    red = red_of(truth_bag, run_of([], {}))
    assert red.jf == 0.0
    assert (red.right, red.coverage, red.frames_per_s) == (False, None, None)


def test_silence_is_no_answer(truth_bag: Path) -> None:
    assert banana_of(truth_bag, run_of([], {})).right is False
    assert banana_of(truth_bag, run_of([], {"banana": answered("banana", "", 14)})).right is False
    assert banana_of(truth_bag, run_of([], ANSWERS)).right is True


def test_naming_or_marking_what_is_absent_is_wrong(truth_bag: Path) -> None:
    named = ANSWERS | {"banana": answered("banana", "The banana.", 14, "t-2")}
    assert banana_of(truth_bag, run_of([], named)).right is False
    marked = run_of([shown(15, box(3), request_id="banana")], ANSWERS)
    assert banana_of(truth_bag, marked).right is False
