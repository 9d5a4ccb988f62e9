"""The demonstration's table, from runs whose right answer is known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import BlobModel
from rich.console import Console
from small_bags import stamp, tracklets, write_bag

from villa.masks import RleMask, encode
from villa_ros.bags.reader import BagError
from villa_ros.bags.run import Run, Timed
from villa_ros.cli.demo_table import table
from villa_ros.evaluation.demo import demo_offline
from villa_ros.evaluation.demo_report import Report, evaluate, read_truth
from villa_ros.pipeline.events import (
    AnswerEvent,
    FinishReason,
    JournalEvent,
    TrackedInstance,
    TracksEvent,
    TrackState,
)
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.request import Request

RECEIVED_NS = 5_000_000_000  # the recorder's clock has nothing to do with the bag's


def box(x: int, y: int = 10, width: int = 12, height: int = 12) -> RleMask:
    mask = np.zeros((48, 64), np.bool_)
    mask[y : y + height, x : x + width] = True
    return encode(mask)


@pytest.fixture
def truth_bag(tmp_path: Path) -> Path:
    """The red box is asked for at 0.45 s, a banana at 1.25 s; the blue box is the larger one."""
    commands = [
        Request("red", "the red box", stamp_ns=stamp(4.5)),
        Request("banana", "a banana", stamp_ns=stamp(12.5)),
    ]
    red = [box(2 + index) for index in range(20)]
    blue = [box(30, 25, 20, 20)] * 20
    topic = "/ground_truth/tracklets"
    extra = [
        (topic, stamp(12), tracklets("red", [stamp(i) for i in range(5, 13)], [red[5:13]])),
        (topic, stamp(19), tracklets("banana", [stamp(i) for i in range(13, 20)], [])),
        (topic, stamp(19), tracklets("", [stamp(i) for i in range(20)], [red, blue])),
    ]
    return write_bag(tmp_path / "truth", commands=commands, extra=extra)


def shown(index: int, mask: RleMask, state: TrackState = TrackState.TRACKED, request_id: str = "red") -> Timed:
    instance = TrackedInstance("t-1", request_id, 1, state, "red box", 0.9, 0.9, mask)
    event = TracksEvent(FrameHeader(stamp(index), "optical"), "camera", index, (instance,), 0)
    return Timed(RECEIVED_NS + index * 125_000_000, event)


def answered(request_id: str, text: str, index: int, *track_ids: str) -> Timed:
    header = FrameHeader(stamp(index), "optical")
    offsets = (0,) * len(track_ids)
    event = AnswerEvent(header, request_id, "", text, text, offsets, track_ids, 0, True, FinishReason.STOP)
    return Timed(RECEIVED_NS + index * 125_000_000, event)


def run_of(tracks: list[Timed], answers: dict[str, Timed]) -> Run:
    commands = {name: Timed(RECEIVED_NS + 500_000_000, Request(name, name, stamp_ns=0)) for name in ("red", "banana")}
    journal = [(JournalEvent(i, "ingest", "camera", stamp(i)), None) for i in range(18)]
    return Run(commands=commands, tracks=tracks, answers=answers, journal=journal)


ANSWERS = {"red": answered("red", "The red box.", 6, "t-1"), "banana": answered("banana", "There is no banana.", 14)}


def test_masks_that_are_the_truth_score_one(truth_bag: Path) -> None:
    run = run_of([shown(index, box(2 + index)) for index in range(7, 13)], ANSWERS)
    report = evaluate(run, read_truth(truth_bag, "/command", "camera"), live=True)
    red, banana = report.rows
    assert red.scores is not None
    assert (red.scores.j, red.scores.f, red.scores.jf, red.scores.frames) == (1.0, 1.0, 1.0, 6)
    assert red.coverage == 1.0
    assert (red.frames_in, red.frames_used, red.frames_dropped) == (8, 6, 0)
    assert red.first_mask_s == pytest.approx(0.375)
    assert red.frames_per_s == pytest.approx(8.0)
    assert banana.scores is None
    assert banana.correct
    assert (report.mean_jf, report.absent_correct) == (1.0, 1)
    assert report.problem() == ""


def test_dropped_frames_lower_the_coverage_and_not_the_score(truth_bag: Path) -> None:
    run = run_of([shown(index, box(2 + index)) for index in (7, 9, 12)], ANSWERS)
    (red, _) = evaluate(run, read_truth(truth_bag, "/command", "camera"), live=True).rows
    assert red.scores is not None
    assert red.scores.jf == 1.0
    assert red.coverage == 0.5
    assert red.frames_dropped == 3


def test_half_overlap_scores_what_davis_scores(truth_bag: Path) -> None:
    from villa.evaluation.davis_jf import boundary_accuracy, region_similarity
    from villa.masks import decode

    run = run_of([shown(8, box(10 + 6))], ANSWERS)
    (red, _) = evaluate(run, read_truth(truth_bag, "/command", "camera"), live=True).rows
    assert red.scores is not None
    assert red.scores.j == pytest.approx(1 / 3)
    mine, true = decode(box(16)), decode(box(10))
    assert red.scores.jf == (region_similarity(mine, true) + boundary_accuracy(mine, true)) / 2


def test_tracks_of_another_request_and_outside_the_window_do_not_count(truth_bag: Path) -> None:
    tracks = [
        shown(3, box(5)),
        shown(7, box(9)),
        shown(8, box(40), request_id="other"),
        shown(15, box(17)),
        shown(9, RleMask.empty(48, 64), TrackState.REMOVED),
    ]
    (red, _) = evaluate(run_of(tracks, ANSWERS), read_truth(truth_bag, "/command", "camera"), live=True).rows
    assert red.scores is not None
    assert red.scores.frames == 1
    assert red.scores.jf == 1.0


def test_a_lost_object_counts_as_an_empty_mask(truth_bag: Path) -> None:
    tracks = [shown(7, box(9)), shown(8, RleMask.empty(48, 64), TrackState.LOST)]
    (red, _) = evaluate(run_of(tracks, ANSWERS), read_truth(truth_bag, "/command", "camera"), live=True).rows
    assert red.scores is not None
    assert red.scores.jf == 0.5


def test_a_present_request_that_got_nothing_scores_zero(truth_bag: Path) -> None:
    report = evaluate(run_of([], {}), read_truth(truth_bag, "/command", "camera"), live=True)
    (red, banana) = report.rows
    assert red.scores is not None
    assert red.scores.jf == 0.0
    assert not red.correct
    assert not banana.correct, "silence is no answer"
    assert report.mean_jf == 0.0
    assert report.problem()


def test_naming_or_marking_what_is_absent_is_wrong(truth_bag: Path) -> None:
    truth = read_truth(truth_bag, "/command", "camera")
    named = ANSWERS | {"banana": answered("banana", "The banana.", 14, "t-2")}
    assert not evaluate(run_of([], named), truth, live=True).rows[1].correct
    marked = run_of([shown(15, box(3), request_id="banana")], ANSWERS)
    assert not evaluate(marked, truth, live=True).rows[1].correct


def test_both_baselines_are_measured_on_the_same_frames(truth_bag: Path) -> None:
    ignored = {stamp(index): [box(2 + index)] if index % 2 else [box(50, 30)] for index in range(20)}
    run = run_of([shown(index, box(2 + index)) for index in range(7, 11)], ANSWERS)
    report = evaluate(run, read_truth(truth_bag, "/command", "camera"), ignored, live=True)
    red = report.rows[0]
    assert red.words_ignored is not None
    assert red.largest_object is not None
    assert red.words_ignored.jf == 0.5
    assert red.largest_object.jf == 0.0
    assert report.mean_words_ignored == 0.5
    assert report.mean_largest_object == 0.0


def test_the_last_line_of_the_table_is_the_mean(truth_bag: Path) -> None:
    run = run_of([shown(index, box(2 + index)) for index in range(7, 13)], ANSWERS)
    report = evaluate(run, read_truth(truth_bag, "/command", "camera"), live=True)
    numbers = ["1.000", "-", "0.000", "0.4", "s", "13/6/0", "100%", "8.0"]
    for columns in (80, 160):
        console = Console(width=columns, force_terminal=False)
        with console.capture() as captured:
            console.print(table(report, "a run"))
        lines = captured.get().rstrip().splitlines()
        assert max(map(len, lines)) <= columns
        assert lines[-1].split() == ["mean", "J&F,", "1", "present", *numbers]
        assert "absent: 1 of 1 right" in captured.get()


def test_the_json_report_has_no_value_that_json_has_not(truth_bag: Path) -> None:
    report = evaluate(run_of([], {}), read_truth(truth_bag, "/command", "camera"), live=False)
    content = report.as_json()
    assert content["summary"]["mean_jf"] == 0.0
    assert content["summary"]["mean_jf_words_ignored"] is None
    assert content["requests"][0]["jf"] == 0.0
    assert math.isnan(Report().mean_jf)


def test_a_command_without_ground_truth_is_named(tmp_path: Path) -> None:
    extra = [("/ground_truth/tracklets", stamp(3), tracklets("other", [stamp(3)], []))]
    bag = write_bag(tmp_path / "bag", commands=[Request("red", "the red box", stamp_ns=stamp(2))], extra=extra)
    with pytest.raises(BagError, match="holds nothing for request 'red'"):
        read_truth(bag, "/command", "camera")


def test_the_whole_measurement_runs_offline(truth_bag: Path, tmp_path: Path) -> None:
    done = demo_offline(truth_bag, tmp_path / "out", BlobModel())
    red, banana = done.report.rows
    assert red.scores is not None
    assert red.scores.jf > 0.9
    assert red.answer == "the red box"
    assert red.first_mask_s is None
    assert red.words_ignored is not None
    assert red.words_ignored.jf < 0.1, "the fake model finds nothing in neutral words"
    assert banana.correct
    assert all(path.stat().st_size > 0 for path in (done.bag, done.overlay, done.contact_sheet, done.report_json))
    assert replace(done.report.rows[0], scores=None) != done.report.rows[0]
