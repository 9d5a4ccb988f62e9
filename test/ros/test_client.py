"""The Python client and the example planner, against a node in its own process."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from ros_graph import DepthCamera
from std_msgs.msg import Float64

from villa_ros.client import SegmentationError, ViLLaClient, subscribe
from villa_ros.conversions.events import nanoseconds
from villa_ros.pipeline.events import TrackState
from villa_ros.pipeline.request import ErrorCode, RequestState
from villa_ros.runtime.process import tied_to_this_process


@pytest.fixture
def client(peer):
    made = ViLLaClient(peer.node)
    yield made
    made.destroy()


def answered(peer, camera, future):
    peer.until(future.done, "the future", camera.shoot)
    return future.result()


def test_a_request_in_words_becomes_masks(start_node, peer, camera, client):
    start_node()
    seen = answered(peer, camera, client.segment("the red square"))
    (tracklet,) = seen.tracklets
    assert seen.answer
    assert tracklet.name
    assert len(tracklet.stamps_ns) == len(tracklet.masks) > 0
    assert set(tracklet.stamps_ns) <= set(camera.headers)
    for mask in tracklet.masks:
        assert mask.shape == (120, 160)
        assert 20 <= np.median(np.nonzero(mask)[0]) < 50


def test_asked_before_the_node_is_there_it_is_answered_when_it_comes(start_node, peer, camera, client):
    future = client.segment("the red square", patience_s=60.0)
    peer.spin(20)
    assert not future.done()
    start_node()
    assert answered(peer, camera, future).tracklets


def test_nothing_meant_is_an_answer_without_tracklets(start_node, peer, camera, client):
    start_node()
    seen = answered(peer, camera, client.segment("the green banana"))
    assert seen.tracklets == ()
    assert seen.answer


def test_what_goes_wrong_is_raised_with_its_code(start_node, peer, camera, client):
    start_node()
    future = client.segment("   ")
    peer.until(future.done, "the refusal", camera.shoot)
    with pytest.raises(SegmentationError, match="text is empty") as caught:
        future.result()
    assert (caught.value.state, caught.value.code) == (RequestState.REJECTED, ErrorCode.EMPTY_TEXT)


def test_without_a_node_the_future_fails_and_says_so(peer, client):
    future = client.segment("the red square", patience_s=0.2)
    peer.until(future.done, "the end of patience")
    with pytest.raises(SegmentationError, match="is it running and active"):
        future.result()


def test_a_cancelled_future_cancels_the_request(start_node, peer, operator, camera, client):
    start_node(device="slow")
    future = client.segment("the red square")
    peer.until(lambda: operator.statuses, "the request to begin", camera.shoot)
    request_id = operator.statuses[0].request_id
    future.cancel()
    peer.until(lambda: int(RequestState.CANCELED) in operator.states(request_id), "the request to end", camera.shoot)


def test_two_requests_of_one_client_are_told_apart(start_node, peer, camera, client):
    start_node(policy="queue")
    both = [client.segment(text) for text in ("the red square", "the blue square")]
    rows = [np.nonzero(answered(peer, camera, future).tracklets[0].masks[-1])[0].mean() for future in both]
    assert rows[0] < 60 < rows[1]


def test_tracks_come_as_arrays_and_end_with_a_stop(start_node, peer, camera, client):
    start_node()
    heard = []
    subscription = subscribe(peer.node, heard.append)
    seen = answered(peer, camera, client.segment("the red square"))
    peer.until(lambda: len(heard) >= 3, "tracks", camera.shoot)
    (instance,) = heard[-1].instances
    assert instance.track_id == seen.tracklets[0].track_id
    assert instance.state in (TrackState.TENTATIVE, TrackState.TRACKED)
    assert instance.mask.dtype == np.bool_
    assert instance.mask.any()
    assert heard[-1].header == camera.headers[nanoseconds(heard[-1].header.stamp)]
    client.stop(seen.request_id)
    peer.until(lambda: heard[-1].instances[0].state is TrackState.REMOVED, "the end", camera.shoot)
    peer.node.destroy_subscription(subscription)


def test_the_example_planner_grasps_what_is_meant(start_node, peer, client):
    depth = {"camera.depth_topic": "/depth", "camera.camera_info_topic": "/camera_info"}
    start_node(**depth)
    camera = DepthCamera(peer)
    command = [
        sys.executable, "-m", "villa_ros.examples.top_down_grasp", "--ros-args",
        "-r", "target_mask:=/villa_node/camera/target_mask",
    ]  # fmt: skip
    planner = subprocess.Popen(command, env={**os.environ, **tied_to_this_process()})
    try:
        grasps = peer.listen(PoseStamped, "/top_down_grasp/grasp")
        widths = peer.listen(Float64, "/top_down_grasp/width")
        answered(peer, camera, client.segment("the red square"))
        peer.until(lambda: grasps and widths, "a grasp", camera.shoot)
    finally:
        planner.terminate()
        planner.wait(20)
    grasp = grasps[-1]
    assert grasp.header == camera.headers[nanoseconds(grasp.header.stamp)]
    assert grasp.pose.position.z == pytest.approx(0.93, abs=0.015)  # fingertips 3 cm below the top
    assert widths[-1].data == pytest.approx(0.18, abs=0.02)
