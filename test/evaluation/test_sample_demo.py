"""The shipped model on the shipped sample, live over DDS, and the same run repeated offline.

The beginning of the sample; all of it in `make soak`, and in `make demo`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from replays import repeated
from small_bags import first_seconds

from villa_ros.bags.run import read_run
from villa_ros.evaluation.demo import demo, demo_scenario
from villa_ros.pipeline.request import RequestState
from villa_ros.replay.live_graph import have_ros
from villa_ros.runtime.model_loading import load_model
from villa_ros.runtime.package_share import share_path

LONG = "VILLA_SOAK" in os.environ
SECONDS = 60.0 if LONG else 16.0  # of the recording: all of it, or three requests and one for what is not there
OVERLAP = 0.3  # J&F of the best request: far from good, out of reach of a mask elsewhere

pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.skipif(not have_ros(), reason="needs ROS 2 (pip: ros-rclpy) and villa_msgs"),
]


def test_the_sample_is_answered_live_and_the_run_repeats_offline(tmp_path: Path) -> None:
    sample = first_seconds(share_path("sample", "tabletop"), SECONDS, tmp_path / "tabletop")
    done = demo(demo_scenario(sample), tmp_path / "out", None)
    report = done.report
    assert (len(report.present), len(report.absent)) == ((9, 3) if LONG else (3, 1))
    # On a busy machine the recording may ask for the next thing before the last one is found, and is told so
    unanswered = [row.asked for row in report.rows if not row.asked.answer]
    assert [asked.text for asked in unanswered if asked.state != RequestState.SUPERSEDED.name] == []
    assert report.rows[-1].asked.answer, "nothing supersedes the last one"
    assert max(row.asked.jf for row in report.present if row.asked.jf is not None) > OVERLAP
    run = read_run(done.bag)
    _, comparison = repeated(sample, done.bag, load_model("", "cpu"), tmp_path / "like", pictures=False)
    assert comparison.same, comparison.verdict()
    assert comparison.frames == len(run.tracks)
    assert comparison.frames
