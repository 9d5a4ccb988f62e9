"""`villa rerun` on a real node over DDS: what the node publishes is in the recording, under the camera's own stamps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_graph import FOCAL_PX, PATIENCE_S, TABLE_M, TOP_M, DepthCamera, NodeProcess, Operator, Peer

from villa.masks import decode
from villa_msgs.msg import Command, RequestStatus, TrackedInstance
from villa_ros.conversions.events import mask_from_message, nanoseconds
from villa_ros.conversions.rclpy_arrays import cloud_message, points_from_cloud
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.runtime.process import tied_to_this_process

pytest.importorskip("rerun.chunk", reason="needs Rerun's reader (pip: villa-ros[rerun], on Python 3.11 and later)")


from rrd_file import RrdFile

pytestmark = pytest.mark.filterwarnings("ignore:RRD file has no footer")  # what may be endless has none
DEPTH = {"camera.depth_topic": "/depth", "camera.camera_info_topic": "/camera_info"}


def heard_by_the_bridge(peer: Peer, topic: str) -> bool:
    return any(end.node_name == "villa_rerun" for end in peer.node.get_subscriptions_info_by_topic(topic))


def record(peer: Peer, camera: DepthCamera, file: Path, log: Path, while_it_runs: Callable[[], None]) -> RrdFile:
    """Run `villa rerun --to FILE` until it hears all of the node, then this, then end it."""
    program = [sys.executable, "-m", "villa_ros.cli.rerun", "--to", str(file)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **tied_to_this_process()}
    with log.open("wb") as sink:
        process = subprocess.Popen(program, stdout=sink, stderr=subprocess.STDOUT, env=environment)
    try:
        for topic in ("/image", "/camera_info", "/villa_node/camera/tracks", "/villa_node/camera/object_points"):
            peer.until(lambda topic=topic: heard_by_the_bridge(peer, topic), f"the bridge on {topic}", camera.shoot)
        while_it_runs()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return RrdFile(file)


@pytest.fixture
def recorded(
    start_node: Callable[..., NodeProcess], peer: Peer, tmp_path: Path
) -> tuple[RrdFile, Operator, DepthCamera]:
    """A request, some seconds of tracks and a stop, with a bridge that writes to a file."""
    start_node(**DEPTH)
    camera = DepthCamera(peer)
    operator = Operator(peer, camera)

    def ask_and_stop() -> None:
        operator.command("the red square", "one")
        operator.reach("one", RequestStatus.TRACKING)
        before = len(operator.tracks)
        peer.until(lambda: len(operator.tracks) >= before + 40, "tracks", camera.shoot)
        operator.command("", "one", action=Command.STOP)
        operator.reach("one", RequestStatus.CANCELED)
        for _ in range(20):
            camera.shoot()

    file = record(peer, camera, tmp_path / "live.rrd", tmp_path / "bridge.log", ask_and_stop)
    return file, operator, camera


def test_pictures_masks_metres_words_and_latency_of_a_live_node_are_recorded(
    recorded: tuple[RrdFile, Operator, DepthCamera],
) -> None:
    file, operator, camera = recorded
    told = {nanoseconds(message.header.stamp): message for message in operator.tracks}

    images = file.images("/camera/image")
    assert set(images) <= set(camera.headers)
    assert len(images) >= 20

    masks = file.masks("/camera/image/masks")
    assert set(masks) <= set(images)
    compared = [stamp for stamp in masks if stamp in told and told[stamp].instances[0].state != TrackedInstance.REMOVED]
    assert len(compared) >= 5
    for stamp in compared:
        (instance,) = told[stamp].instances
        mask = decode(mask_from_message(instance.mask))
        assert np.array_equal(masks[stamp] == instance.label, mask)
        bgr = cv2.imdecode(np.frombuffer(images[stamp], np.uint8), cv2.IMREAD_COLOR)
        assert bgr[..., 2][mask].mean() > 200  # it lies on the red square of this very picture

    last = max(masks)
    bare = file.only("/camera/image/masks", "Clear:is_recursive")
    assert min(stamp for stamp in images if stamp > last) in bare

    track = told[compared[0]].instances[0].track_id
    assert set(compared) <= set(file.only(f"/score/camera/{track}", "Scalars:scalars"))
    assert all(0 < value < 5000 for (value,) in file.only("/latency/camera", "Scalars:scalars").values())

    clouds = file.only("/camera/points", "Points3D:positions")
    assert set(clouds) <= set(camera.headers)
    assert len(clouds) >= 5
    assert all(np.median(points, axis=0)[2] == pytest.approx(TOP_M) for points in clouds.values())
    boxes = file.only("/camera/objects", "Boxes3D:centers")
    assert boxes
    for ((_, _, z),) in boxes.values():
        assert z == pytest.approx((TOP_M + TABLE_M) / 2, abs=0.01)
    ((_, (pinhole,)),) = file.rows("/camera/image", "Pinhole:image_from_camera")
    assert pinhole[0] == pytest.approx(FOCAL_PX)

    assert [text for _, text in file.words("request")] == ["one: the red square"]
    assert [text for _, text in file.words("answer")] == ["one: the red box"]
    states = [text for _, text in file.words("state")]
    assert "one: tracking" in states
    assert states[-1].startswith("one: canceled")


def test_a_cloud_is_read_as_it_was_made() -> None:
    points, labels = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([1, 1, 7, 65534], np.uint32)
    message = cloud_message(points, labels, FrameHeader(5, "optical"))
    read, of = points_from_cloud(message)
    assert np.array_equal(read, points)
    assert np.array_equal(of, labels)
    message.fields = message.fields[:3]
    with pytest.raises(ValueError, match="wanted"):
        points_from_cloud(message)
