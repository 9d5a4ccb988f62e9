"""The demonstration's table and files, from runs whose right answer is known and from a replay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import BlobModel
from rich.console import Console
from small_bags import stamp, tracklets, write_bag
from told_runs import ANSWERS, RECEIVED_NS, box, run_of, scored, shown, write_truth_bag

from villa_ros.bags.reader import Bag
from villa_ros.bags.run import Run, Timed
from villa_ros.cli.demo_table import table
from villa_ros.evaluation.demo import demo_offline, demo_scenario
from villa_ros.evaluation.demo_report import Report, report_on
from villa_ros.evaluation.ground_truth import TruthError, all_objects
from villa_ros.evaluation.results import read_result
from villa_ros.pipeline.events import StatusEvent
from villa_ros.pipeline.request import ErrorCode, Request, RequestState


@pytest.fixture
def truth_bag(tmp_path: Path) -> Path:
    return write_truth_bag(tmp_path / "truth")


def report_of(bag: Path, tracks: list[Timed], words_ignored: Run | None = None) -> Report:
    given, asked = scored(bag, run_of(tracks, ANSWERS))
    with Bag(bag) as opened:
        objects = all_objects(opened)
    return report_on(asked, given.opened.truths, every_frame=False, words_ignored=words_ignored, objects=objects)


def test_both_baselines_are_measured_on_the_same_frames(truth_bag: Path) -> None:
    ignored = run_of([shown(i, box(2 + i) if i % 2 else box(50, 30)) for i in range(20)], {})
    report = report_of(truth_bag, [shown(index, box(2 + index)) for index in range(7, 11)], ignored)
    red, banana = report.rows
    assert (red.asked.jf, red.words_ignored, red.largest_object) == (1.0, 0.5, 0.0)
    assert (banana.words_ignored, banana.largest_object) == (None, None)
    assert (report.mean_jf, report.mean_words_ignored, report.mean_largest_object) == (1.0, 0.5, 0.0)
    alone = report_of(truth_bag, [shown(8, box(10))], run_of([shown(9, box(11))], {}))
    assert alone.mean_words_ignored == 0.0, "only frames that the run itself published"


def test_the_last_line_of_the_table_is_the_mean(truth_bag: Path) -> None:
    report = report_of(truth_bag, [shown(index, box(2 + index)) for index in range(7, 13)])
    for columns in (80, 160):
        console = Console(width=columns, force_terminal=False)
        with console.capture() as captured:
            console.print(table(report, "a run"))
        lines = captured.get().rstrip().splitlines()
        assert max(map(len, lines)) <= columns
        assert lines[-1].split() == ["mean", "J&F,", "1", "present", "1.000", "-", "0.000", "-", "100%", "8.0"]
        assert "absent: 1 of 1 right" in captured.get()


def test_the_table_says_why_a_request_has_no_answer(truth_bag: Path) -> None:
    run = run_of([], {})
    ended = StatusEvent("red", RequestState.SUPERSEDED, ErrorCode.NONE, "superseded by request 'banana'")
    run.statuses["red"] = [Timed(RECEIVED_NS + 600_000_000, ended)]
    given, asked = scored(truth_bag, run)
    console = Console(width=160, force_terminal=False)
    with console.capture() as captured:
        console.print(table(report_on(asked, given.opened.truths, every_frame=False), "a run"))
    assert "no answer: superseded by request 'banana'" in captured.get()


def test_the_json_report_has_no_value_that_json_has_not(truth_bag: Path) -> None:
    given, asked = scored(truth_bag, run_of([], {}))
    content = report_on(asked, given.opened.truths, every_frame=False).as_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["summary"] == {
        "mean_jf": 0.0,
        "mean_jf_words_ignored": None,
        "mean_jf_largest_object": None,
        "present_requests": 1,
        "absent_requests": 1,
        "absent_correct": 0,
    }
    assert content["requests"][0]["jf"] == 0.0
    assert [one["correct"] for one in content["requests"]] == [False, False]
    assert Report(()).mean_jf is None


def test_a_command_without_ground_truth_is_named(tmp_path: Path) -> None:
    extra = [("/ground_truth/tracklets", stamp(3), tracklets("other", [stamp(3)], []))]
    bag = write_bag(tmp_path / "bag", commands=[Request("red", "the red box", stamp_ns=stamp(2))], extra=extra)
    with pytest.raises(TruthError, match=r"no ground truth called 'red' .*; it has 'other': give the recorded"):
        demo_scenario(bag)


def test_a_bag_without_a_request_for_what_is_there_needs_no_mask(tmp_path: Path) -> None:
    extra = [("/ground_truth/tracklets", stamp(19), tracklets("none", [stamp(i) for i in range(5, 20)], []))]
    bag = write_bag(tmp_path / "bag", commands=[Request("none", "a banana", stamp_ns=stamp(4.5))], extra=extra)
    done = demo_offline(demo_scenario(bag), tmp_path / "out", BlobModel, baseline=False)
    assert done.result.passed, done.result.verdicts
    assert (done.report.mean_jf, done.report.absent_correct) == (None, 1)


def test_the_whole_measurement_runs_offline(truth_bag: Path, tmp_path: Path) -> None:
    done = demo_offline(demo_scenario(truth_bag), tmp_path / "out", BlobModel)
    red, banana = done.report.rows
    assert red.asked.jf is not None
    assert red.asked.jf > 0.9
    assert red.asked.answer == "the red box"
    assert red.words_ignored is not None
    assert red.words_ignored < 0.1, "the fake model finds nothing in neutral words"
    assert banana.asked.right
    assert done.result.passed
    assert all(path.stat().st_size > 0 for path in (done.bag, done.overlay, done.contact_sheet, done.report_json))
    assert done.node_log is None
    assert read_result(tmp_path / "out") == done.result, "what villa compare reads"
    assert json.loads(done.report_json.read_text())["summary"]["mean_jf"] == red.asked.jf
