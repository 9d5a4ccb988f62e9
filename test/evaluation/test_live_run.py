"""The live twin: the same scenario over DDS to a node of its own, with the bag's time on /clock."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from fakes import BlobModel
from small_bags import COMPRESSED_TOPIC, jpeg, moving_red, painted, stamp, tracklets, write_bag

from villa.masks import encode
from villa_ros.bags.run import read_run
from villa_ros.evaluation.live_run import Agreement, node_parameters, play_scenario
from villa_ros.evaluation.results import read_json
from villa_ros.evaluation.scenario import read_scenario
from villa_ros.evaluation.scenario_eval import evaluate_scenario
from villa_ros.pipeline.request import Request
from villa_ros.replay.live_graph import LiveError, have_ros

FAKE_NODE = Path(__file__).resolve().parents[1] / "support" / "fake_node.py"
FRAMES = 40

needs_ros = pytest.mark.skipif(not have_ros(), reason="needs ROS 2 (pip: ros-rclpy) and villa_msgs")


@pytest.mark.ros
@needs_ros
def test_replayed_and_live_agree_on_what_was_segmented(tmp_path: Path) -> None:
    pictures = [painted(**moving_red(index)) for index in range(FRAMES)]
    red = [encode(picture[..., 0] > 127) for picture in pictures]
    extra = [(COMPRESSED_TOPIC, stamp(index), jpeg(index, picture)) for index, picture in enumerate(pictures)]
    truth = tracklets("red", [stamp(i) for i in range(10, 30)], [red[10:30]])
    extra += [("/ground_truth/tracklets", stamp(39), truth)]
    extra += [("/ground_truth/tracklets", stamp(39), tracklets("none", [stamp(i) for i in range(30, FRAMES)], []))]
    # A command of the bag that the scenario does not ask for must not be played.
    write_bag(tmp_path / "bag", 0, [Request("other", "the blue box", stamp_ns=stamp(20))], extra=extra)
    file = tmp_path / "scenario.yaml"
    file.write_text(
        f"bags: [{{path: bag, cameras: {{front: {COMPRESSED_TOPIC}}}, requests: ["
        "{at: 0.95, text: the red box, id: red}, {at: 2.95, text: a banana, id: none}]}]\n"
        "settings: {confirm_frames: 1}\n"
        "criteria: [J&F of 'the red box' >= 0.8, absent stays absent, p95 latency < 60 s]"
    )
    scenario = read_scenario(file)
    replayed = evaluate_scenario(scenario, tmp_path / "out", opening=lambda *_: BlobModel())
    assert replayed.passed, replayed.verdicts

    live, agreements = play_scenario(
        scenario,
        replayed,
        tmp_path / "out",
        lambda: nullcontext(lambda played_s, total_s: None),
        program=[sys.executable, str(FAKE_NODE)],
    )
    (bag,) = live.bags
    assert not bag.failed, bag.faults
    assert live.mode == "live"
    assert live.passed, live.verdicts
    assert [one.agree for one in agreements] == [True, True], agreements
    assert agreements[0].frames >= 5
    assert agreements[0].iou is not None
    assert agreements[0].iou > 0.9
    assert (agreements[1].replayed, agreements[1].live) == (False, False)
    run = read_run(tmp_path / "out" / "live" / "bag" / "run")
    assert sorted(run.commands) == ["none", "red"]
    assert {timed.value.header.stamp_ns for timed in run.tracks} <= {stamp(i) for i in range(FRAMES)}
    assert bag.timing.latency_s
    assert max(bag.timing.latency_s) > 0
    written = read_json(tmp_path / "out" / "live")
    assert [one["agree"] for one in written["agreements"]] == [True, True]
    assert read_json(tmp_path / "out")["mode"] == "every-frame", "the replay's result is kept beside it"


def test_a_setting_that_the_node_has_not_is_told_before_anything_runs(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", 3)
    file = tmp_path / "scenario.yaml"
    file.write_text("bags: [{path: bag, requests: [{at: 0, text: x}]}]\nsettings: {feature_frames: 4}")
    with pytest.raises(LiveError, match="the node has no parameter feature_frames"):
        node_parameters(read_scenario(file))


@pytest.mark.parametrize(
    ("replayed", "live", "iou", "agree"),
    [(True, True, 0.9, True), (True, True, 0.5, False), (True, False, None, False), (False, False, None, True)],
)
def test_agreement_is_about_masks(replayed: bool, live: bool, iou: float | None, agree: bool) -> None:
    assert Agreement("bag", "a", "x", replayed, live, iou, 3).agree is agree
