"""The demonstration live: node, player and recorder on a real DDS graph, then its run repeated offline."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from fakes import BlobModel
from replays import repeated
from small_bags import COMPRESSED_TOPIC, jpeg, moving_red, painted, stamp, tracklets, write_bag

from villa.masks import encode
from villa_ros.bags.reader import Bag
from villa_ros.bags.run import read_run
from villa_ros.conversions.events import nanoseconds
from villa_ros.evaluation.demo import DemoError, demo, demo_scenario
from villa_ros.pipeline.request import Action, Request
from villa_ros.replay.live_graph import have_ros

FAKE_NODE = Path(__file__).resolve().parents[1] / "support" / "fake_node.py"
FRAMES = 44

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(not have_ros(), reason="needs ROS 2 (pip: ros-rclpy) and villa_msgs"),
]


@pytest.fixture
def truth_bag(tmp_path: Path) -> Path:
    """4.4 s: a red box that moves and is asked for, a stop, then something absent is asked for."""
    pictures = {index: painted(**moving_red(index)) for index in range(FRAMES)}
    red = [encode(pictures[index][..., 0] > 127) for index in range(FRAMES)]
    commands = [
        Request("red", "the red box", stamp_ns=stamp(9.5)),
        Request("red", "", action=Action.STOP, stamp_ns=stamp(31.5)),
        Request("banana", "a banana", stamp_ns=stamp(33.5)),
    ]
    topic = "/ground_truth/tracklets"
    extra = [(COMPRESSED_TOPIC, stamp(index), jpeg(index, picture)) for index, picture in pictures.items()]
    extra += [
        (topic, stamp(31), tracklets("red", [stamp(i) for i in range(10, 32)], [red[10:32]])),
        (topic, stamp(43), tracklets("banana", [stamp(i) for i in range(34, 44)], [])),
        (topic, stamp(43), tracklets("", [stamp(i) for i in range(FRAMES)], [red])),
    ]
    return write_bag(tmp_path / "truth", frames=0, commands=commands, extra=extra)


def test_a_live_run_is_measured_and_its_journal_repeats_it(truth_bag: Path, tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    done = demo(
        demo_scenario(truth_bag),
        tmp_path / "out",
        BlobModel,
        program=[sys.executable, str(FAKE_NODE)],
        playing=lambda: nullcontext(lambda played_s, total_s: seen.append((played_s, total_s))),
    )
    red, banana = done.report.rows
    assert red.asked.answer == "the red box"
    assert red.asked.jf is not None
    assert red.asked.jf > 0.85
    assert sum(moment.published for moment in red.asked.moments) >= 5
    assert red.asked.frames_per_s is not None
    assert red.asked.first_mask_s is not None
    assert 0.0 < red.asked.first_mask_s < 60.0
    assert red.words_ignored is not None
    assert red.words_ignored < 0.1, "the fake model finds nothing in neutral words"
    assert red.largest_object == 1.0, "it is the only one"
    assert banana.asked.right
    assert done.result.mode == "live"
    assert done.result.passed, done.result.verdicts
    assert done.report.absent_correct == 1
    assert seen[-1][1] == pytest.approx(4.3, abs=0.01)
    assert done.node_log is not None
    written = (done.bag, done.overlay, done.contact_sheet, done.report_json, done.node_log)
    assert all(path.stat().st_size for path in written)
    run = read_run(done.bag)
    with Bag(truth_bag) as bag:
        played = {nanoseconds(m.message.header.stamp) for m in bag.messages([COMPRESSED_TOPIC])}
    assert {timed.value.header.stamp_ns for timed in run.tracks} <= played, "never re-stamped"
    assert [timed.value.text for timed in run.commands.values()] == ["the red box", "a banana"]

    _, comparison = repeated(truth_bag, done.bag, BlobModel(), tmp_path / "like", pictures=False)
    assert comparison.same, comparison.verdict()
    assert comparison.frames == len(run.tracks)


def test_a_node_that_dies_is_a_loud_failure_with_its_log(truth_bag: Path, tmp_path: Path) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text("import sys\nprint('no such device: tea')\nsys.exit(3)\n")
    with pytest.raises(DemoError, match=r"(?s)exit code 3.*no such device: tea"):
        demo(demo_scenario(truth_bag), tmp_path / "out", None, program=[sys.executable, str(dying)])


def test_a_node_that_cannot_load_its_model_is_told_with_its_log(truth_bag: Path, tmp_path: Path) -> None:
    given = demo_scenario(truth_bag, checkpoint="/nowhere")
    with pytest.raises(DemoError, match=r"(?s)did not start: no .*tracks.*no checkpoint at /nowhere"):
        demo(given, tmp_path / "out", None, program=[sys.executable, str(FAKE_NODE)])
