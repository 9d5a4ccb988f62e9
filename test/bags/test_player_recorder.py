"""Playing to a live graph and recording from it: real DDS, two processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_bags import IMAGE_TOPIC, jpeg, painted, stamp, write_bag

from villa_ros.bags.player import main, schedule
from villa_ros.bags.reader import Bag
from villa_ros.conversions.events import nanoseconds
from villa_ros.pipeline.request import Request

IMAGES = "/somewhere/image/compressed"


def test_messages_go_out_when_their_time_has_come() -> None:
    now, slept, sent = [100.0], [], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    def publish(topic: str, data: bytes) -> None:
        sent.append((topic, data, round(now[0], 6)))
        now[0] += 0.03 if data == b"b" else 0.0  # a slow publish makes the next one late

    messages = [
        ("/a", "", 7_000_000_000, b"a"),
        ("/a", "", 7_100_000_000, b"b"),
        ("/c", "", 7_120_000_000, b"c"),
        ("/a", "", 7_300_000_000, b"d"),
    ]
    count, late_s = schedule(iter(messages), publish, rate=2.0, clock=lambda: now[0], sleep=sleep)
    assert count == 4
    assert [at for _, _, at in sent] == [100.0, 100.05, 100.08, 100.15]
    assert late_s == pytest.approx(0.02)


@pytest.mark.ros
def test_what_is_played_arrives_as_it_was_recorded_stamps_and_all(tmp_path: Path) -> None:
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
    from villa_ros.bags.recorder import Recorder
    from villa_ros.runtime.process import use_shared_memory_profile

    use_shared_memory_profile()
    pictures = [(IMAGES, stamp(index), jpeg(index, painted(red=(index, 9, 12, 12)))) for index in range(12)]
    commands = [Request("red", "the red box", stamp_ns=stamp(6))]
    source = write_bag(tmp_path / "source", frames=0, commands=commands, extra=pictures)
    topics = {"/camera/compressed": "sensor_msgs/msg/CompressedImage", "/villa/command": "villa_msgs/msg/Command"}
    context = rclpy.context.Context()
    rclpy.init(context=context)
    try:
        with Recorder(tmp_path / "heard", topics, frozenset({"/camera/compressed"}), context) as recorder:
            played = subprocess.run(
                [
                    sys.executable, "-m", "villa_ros.bags.player", str(source), "--rate", "4",
                    "--topic", f"{IMAGES}=/camera/compressed", "--topic", "/command=/villa/command",
                ],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert played.returncode == 0, played.stderr
            deadline, due = time.monotonic() + 20.0, {"/villa/command": 1, "/camera/compressed": 10}
            while any(recorder.counts[topic] < count for topic, count in due.items()) and time.monotonic() < deadline:
                time.sleep(0.05)
    finally:
        context.try_shutdown()
    assert "played 13 messages" in played.stdout
    with Bag(recorder.file) as heard, Bag(source) as wanted:
        sent = {nanoseconds(m.message.header.stamp): m.message for m in wanted.messages([IMAGES])}
        images = [m.message for m in heard.messages(["/camera/compressed"])]
        (command,) = [m.message for m in heard.messages(["/villa/command"])]
    assert len(images) >= 10, "best effort may lose the first, not most of them"
    for image in images:
        original = sent[nanoseconds(image.header.stamp)]
        assert image.header.frame_id == "optical"
        assert image.data.tobytes() == original.data.tobytes()
    assert (command.request_id, command.text, nanoseconds(command.header.stamp)) == ("red", "the red box", stamp(6))


@pytest.mark.ros
def test_a_player_that_nobody_hears_says_so(bag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
    assert main([str(bag), "--topic", IMAGE_TOPIC, "--wait", "0.2"]) == 1
    assert f"nobody subscribed to {IMAGE_TOPIC}" in capsys.readouterr().err


@pytest.mark.ros
def test_a_topic_that_the_bag_lacks_is_named(bag: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
    assert main([str(bag), "--topic", "/nose"]) == 1
    error = capsys.readouterr().err
    assert "topic /nose is not in" in error
    assert IMAGE_TOPIC in error
