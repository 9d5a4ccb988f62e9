"""What a robot stack does to a node: several cameras, floods, restarts, clocks that jump.

`VILLA_SOAK=1` (`make soak`) runs the long forms.
"""

from __future__ import annotations

import os
import re
import signal
import time
from array import array
from itertools import pairwise

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import Transition
from rclpy.action import ActionClient
from ros_graph import RELIABLE, Camera, Operator
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from villa_msgs.action import SegmentVideo
from villa_msgs.msg import Command, RequestStatus, TrackedInstance, TrackedInstanceArray
from villa_ros.conversions.events import mask_from_message, nanoseconds
from villa_ros.runtime import qos

LONG = os.environ.get("VILLA_SOAK") == "1"
COMMANDS = 10_000 if LONG else 500
STREAM_S = 60 if LONG else 6
ACTIVATIONS = 20 if LONG else 4
STOPS, BURST = 12 if LONG else 4, 200
FLAT_MB = 12.0  # heap that grows in steps, not by the command or the frame: 10,000 of either would show


def resident_mb(node):
    with open(f"/proc/{node.process.pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - not a file
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_three_commands_at_once_on_two_cameras_are_kept_apart(start_node, peer):
    start_node(policy="queue", cameras=["left", "right"])
    eyes = {name: Camera(peer, f"/{name}/image", f"{name}_optical_frame") for name in ("left", "right")}
    operators = {name: Operator(peer, eye, name=name) for name, eye in eyes.items()}

    def shoot():
        for eye in eyes.values():
            eye.shoot()

    asked = {"one": ("left", "the red square"), "two": ("right", "the blue square"), "three": ("left", "the blue one")}
    for name, (camera, text) in asked.items():
        operators[camera].command(text, name, camera=camera)
    told = operators["left"]
    for name in asked:
        peer.until(lambda name=name: RequestStatus.TRACKING in told.states(name), f"{name} to track", shoot)
    for operator in operators.values():
        operator.tracks.clear()
    peer.until(lambda: all(len(one.tracks) >= 5 for one in operators.values()), "tracks of both", shoot)
    for name, operator in operators.items():
        mine = {request for request, (camera, _) in asked.items() if camera == name}
        last = operator.tracks[-1]
        assert {instance.request_id for instance in last.instances} == mine
        assert {message.header.frame_id for message in operator.tracks} == {f"{name}_optical_frame"}


def test_a_new_request_ends_one_that_is_decoding_and_nothing_of_it_follows(start_node, operator, camera, peer):
    start_node(device="slow_end")
    for _ in range(10):
        camera.shoot()
    operator.command("the red square", "old")
    operator.reach("old", RequestStatus.DECODING)
    operator.command("the blue square", "new")
    operator.reach("old", RequestStatus.SUPERSEDED)
    operator.reach("new", RequestStatus.TRACKING)
    assert operator.states("old")[-1] == RequestStatus.SUPERSEDED
    assert RequestStatus.TRACKING not in operator.states("old")
    assert not operator.tracks_of("old")


@pytest.mark.parametrize(
    ("stage", "device"),
    [
        (RequestStatus.QUEUED, "slow"),
        (RequestStatus.BUFFERING, "slow"),
        (RequestStatus.DECODING, "slow"),
        (RequestStatus.SEGMENTING, "slow_end"),
    ],
)
def test_an_action_can_be_cancelled_in_every_stage(start_node, operator, camera, peer, lifecycle, stage, device):
    start_node(device=device, policy="queue")
    peer.until(lambda: lifecycle.state() == "active", "the node to activate itself")
    client = ActionClient(peer.node, SegmentVideo, "/villa_node/segment_video")
    peer.until(client.server_is_ready, "the action server")
    operator._find_node()
    no_frames = stage == RequestStatus.BUFFERING
    if not no_frames:
        for _ in range(10):
            camera.shoot()
    if stage == RequestStatus.QUEUED:
        operator.command("the blue square", "before")
        operator.reach("before", RequestStatus.DECODING)
    goal = SegmentVideo.Goal(command=Command(action=Command.SEGMENT, text="the red square", request_id="goal"))
    sent = client.send_goal_async(goal)
    meanwhile = None if no_frames else camera.shoot
    peer.until(lambda: sent.done() and stage in operator.states("goal"), "the stage", meanwhile)
    assert operator.states("goal")[-1] == stage
    sent.result().cancel_goal_async()
    ended = sent.result().get_result_async()
    peer.until(ended.done, "the end of the goal", meanwhile)
    assert ended.result().status == GoalStatus.STATUS_CANCELED
    peer.until(lambda: operator.states("goal")[-1] == RequestStatus.CANCELED, "the last state")
    client.destroy()


@pytest.mark.slow
def test_a_flood_of_commands_leaves_memory_flat_and_the_node_answering(start_node, operator, camera, peer):
    node = start_node()
    operator.command("the red square", "before")
    operator.reach("before", RequestStatus.TRACKING)
    publisher = peer.publisher(Command, "/villa_node/command")

    def flood(first, count):
        for number in range(first, first + count):
            publisher.publish(Command(action=Command.SEGMENT, text="the banana", request_id=f"flood{number}"))
            if number % 10 == 0:
                camera.shoot()

    flood(0, 1_000)  # what is remembered on purpose (used ids, conversations) is full after this
    start = resident_mb(node)
    flood(1_000, COMMANDS)
    operator.command("the red square", "after")
    operator.reach("after", RequestStatus.TRACKING)
    assert resident_mb(node) - start < FLAT_MB
    finals = [status.request_id for status in operator.statuses if status.state >= RequestStatus.SUCCEEDED]
    assert len(finals) == len(set(finals)), "a request ended twice"
    assert int(operator.diagnosed_since("worker").get("errors/internal", 0)) == 0


def burst(way, number):
    """A stop in words or by its id, and `BURST` commands right behind it that the node refuses; no stop among them."""
    if way == "text":
        return [String(data="stop"), *[String(data=" ")] * BURST]
    others = [Command(action=99, request_id=f"other{number}-{one}") for one in range(BURST)]
    return [Command(action=Command.STOP, request_id=f"red{number}"), *others]


@pytest.mark.parametrize(
    ("way", "topic", "refused"), [("id", "command", "unknown_action"), ("text", "command_text", "empty_text")]
)
def test_a_stop_with_a_burst_of_commands_right_behind_it_is_carried_out(
    start_node, operator, camera, peer, way, topic, refused
):
    start_node()
    publisher = peer.publisher(Command if way == "id" else String, f"/villa_node/{topic}", qos.commands())
    for number in range(STOPS):
        operator.command("the red square", f"red{number}")
        operator.reach(f"red{number}", RequestStatus.TRACKING)
        for message in burst(way, number):
            publisher.publish(message)
        operator.reach(f"red{number}", RequestStatus.CANCELED)
        sent = (number + 1) * BURST
        peer.until(
            lambda sent=sent: int(operator.diagnosed("commands").get(f"rejected/{refused}", 0)) == sent,
            "every other command to be refused as well",
        )


def test_every_frame_of_a_30_hz_camera_arrives_in_order_with_its_own_stamp(start_node, operator, camera, peer):
    # Best effort may lose a frame on its way here; what is tested is that none is lost in the node.
    camera.profile = RELIABLE
    of_images = "qos_overrides./image.subscription"
    start_node(tracks_reliable=True, **{f"{of_images}.reliability": "reliable", f"{of_images}.depth": RELIABLE.depth})
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)

    def received():
        return int(operator.diagnosed("camera camera").get("received", -1))

    told = len(operator.diagnostics)
    peer.until(lambda: len(operator.diagnostics) >= told + 2, "what was sent so far to be counted")
    before, publisher = received(), peer.publisher(Image, "/image", camera.profile)
    operator.tracks.clear()
    start = time.monotonic()
    for number in range(30 * STREAM_S):
        publisher.publish(camera.message(480, 640))
        while time.monotonic() < start + (number + 1) / 30:
            peer.spin(1)
    peer.until(lambda: received() == before + 30 * STREAM_S, "every frame to be counted")
    stamps = [nanoseconds(message.header.stamp) for message in operator.tracks]
    assert stamps == sorted(set(stamps))
    assert len(stamps) > STREAM_S  # a busy machine carries fewer frames on; none twice, none that was not sent
    for message in operator.tracks:
        assert message.header == camera.headers[nanoseconds(message.header.stamp)]


def test_size_and_encoding_may_change_in_the_middle_of_a_stream(start_node, operator, camera, peer):
    start_node()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    sizes = {nanoseconds(header.stamp): (120, 160) for header in camera.headers.values()}

    def swapped(height, width):
        message = camera.message(height, width)
        sizes[nanoseconds(message.header.stamp)] = (height, width)
        picture = np.frombuffer(message.data, np.uint8).reshape(height, width, 3)
        message.encoding = "bgr8"
        message.data = array("B", np.ascontiguousarray(picture[..., ::-1]).tobytes())
        return message

    for size in ((240, 320), (120, 160), (480, 640)):
        operator.tracks.clear()

        def seen(size=size):
            shown = [message.instances[0].mask for message in operator.tracks_of("red")]
            return [mask for mask in shown if (mask.height, mask.width) == size and mask.area]

        peer.until(lambda: len(seen()) >= 3, f"masks of {size}", lambda size=size: camera.shoot(swapped(*size)))
        for message in operator.tracks_of("red"):
            mask = message.instances[0].mask
            assert (mask.height, mask.width) == sizes[nanoseconds(message.header.stamp)]
    assert operator.states("red")[-1] == RequestStatus.TRACKING


def test_a_clock_that_jumps_back_ends_tracking_with_the_reason_and_the_node_goes_on(start_node, operator, camera, peer):
    start_node()
    for _ in range(30):
        camera.shoot()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    camera._count = 0  # a bag that starts over
    end = operator.reach("red", RequestStatus.FAILED)
    assert end.error_code == RequestStatus.ERROR_CLOCK_JUMPED
    assert "jumped back" in end.message
    operator.command("the red square", "again")
    operator.reach("again", RequestStatus.TRACKING)


def test_activated_again_and_again_while_images_stream_it_stays_as_large_as_it_was(
    start_node, operator, camera, peer, lifecycle
):
    node = start_node()
    sizes = []
    for number in range(ACTIVATIONS + 2):
        operator.command("the red square", f"red{number}")
        operator.reach(f"red{number}", RequestStatus.TRACKING)
        for _ in range(5):
            camera.shoot()
        sizes.append(resident_mb(node))
        assert lifecycle.change(Transition.TRANSITION_DEACTIVATE)
        operator.reach(f"red{number}", RequestStatus.CANCELED)
        assert lifecycle.change(Transition.TRANSITION_ACTIVATE)
        peer.until(lambda: peer.publisher(Command, "/villa_node/command"), "the inputs to be open")
    assert sizes[-1] - sizes[1] < FLAT_MB, [f"{after - before:+.1f}" for before, after in pairwise(sizes)]


def test_a_model_loaded_by_activating_is_freed_by_deactivating(start_node, operator, lifecycle, peer):
    start_node(autostart=False, load_when="activate")

    def loaded():
        return operator.diagnosed("model").get("loaded")

    assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
    peer.until(lambda: loaded() == "False", "no model")
    assert lifecycle.change(Transition.TRANSITION_ACTIVATE)
    peer.until(lambda: loaded() == "True", "a model")
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    assert lifecycle.change(Transition.TRANSITION_DEACTIVATE)
    peer.until(lambda: loaded() == "False", "the model to be gone")


def test_killed_and_started_again_it_runs_no_old_command_and_gives_no_id_twice(start_node, camera, peer):
    first = start_node()
    operator = Operator(peer, camera)
    operator.command("the red square", "old")
    operator.reach("old", RequestStatus.TRACKING)
    ids = set(operator.final_answer("old").seg_track_ids)
    first.process.send_signal(signal.SIGKILL)
    first.wait()
    peer.until(peer.alone, "the node to leave the graph")
    operator.command_unheard("the red square", "while it was away")
    start_node()
    operator._heard_back = False
    operator.statuses.clear()
    operator.command("the red square", "new")
    operator.reach("new", RequestStatus.TRACKING)
    assert {status.request_id for status in operator.statuses} == {"new"}
    assert not ids & set(operator.final_answer("new").seg_track_ids)


def test_commands_beyond_the_rate_are_refused_and_a_stop_is_not(start_node, operator, camera, peer):
    start_node(command_rate_hz=1.0)
    operator.command("the red square", "first")
    operator.reach("first", RequestStatus.TRACKING)
    for number in range(5):
        operator.command("the red square", f"more{number}")
    refused = operator.reach("more4", RequestStatus.REJECTED)
    assert "command_rate_hz" in refused.message
    assert refused.error_code == RequestStatus.ERROR_BUSY
    operator.command("stop", "halt")
    operator.reach("halt", RequestStatus.SUCCEEDED)


def test_states_bear_simulated_time_and_nothing_waits_for_it(start_node, operator, camera, peer):
    start_node(use_sim_time=True)
    clock = peer.publisher(Clock, "/clock")

    def shoot():
        clock.publish(Clock(clock=Time(sec=1_000)))
        camera.shoot()

    peer.until(lambda: operator.diagnosed("camera camera"), "diagnostics, by steady time", shoot)
    heard = operator.diagnostics
    peer.until(lambda: heard[-1].header.stamp.sec == 1_000, "the node to hear the clock", shoot)
    operator.command("the red square", "red")
    peer.until(lambda: RequestStatus.TRACKING in operator.states("red"), "the request to track", shoot)
    assert {status.header.stamp.sec for status in operator.statuses} == {1_000}


def test_a_driver_that_stamps_no_image_is_named(start_node, operator, camera, peer):
    start_node()

    def shoot() -> None:
        message = camera.message()
        message.header.stamp = Time()
        camera.shoot(message)

    def told() -> str:
        return operator.diagnosed("camera camera").get("message", "")

    peer.until(lambda: "every image is stamped 0 s" in told() and "set the camera's stamps" in told(), "a hint", shoot)


def test_images_by_arrival_go_out_as_they_came(start_node, operator, camera, peer):
    start_node(**{"camera.stamps": "arrival"})

    def shoot() -> None:
        message = camera.message()
        message.header.stamp = Time()
        camera.shoot(message)

    operator.command("the red square", "red")
    peer.until(lambda: len(operator.tracks_of("red")) > 5, "tracks", shoot)
    told = operator.tracks_of("red")
    assert {(message.header.stamp.sec, message.header.stamp.nanosec) for message in told} == {(0, 0)}
    assert {message.header.frame_id for message in told} == {"camera_optical_frame"}
    assert {message.instances[0].state for message in told[2:]} == {TrackedInstance.TRACKED}
    assert len({message.instances[0].track_id for message in told}) == 1
    assert "stamped" not in operator.diagnosed("camera camera").get("message", "")


def test_masks_of_a_camera_that_hangs_upside_down_lie_on_its_own_images(start_node, operator, camera, peer):
    start_node(**{"camera.rotation": 90, "camera.mirrored": True})
    operator.command("the red square", "red")

    def seen() -> list[TrackedInstanceArray]:
        return [message for message in operator.tracks_of("red") if message.instances[0].mask.area]

    peer.until(lambda: len(seen()) > 3, "masks", camera.shoot)
    for message in seen():
        mask = mask_from_message(message.instances[0].mask)
        assert (mask.height, mask.width) == (120, 160)
        assert abs(mask.x - camera.lefts[nanoseconds(message.header.stamp)]) <= 2
        assert abs(mask.y - 20) <= 2


def test_a_camera_that_stops_is_not_taken_for_the_present(start_node, operator, camera, peer):
    start_node(policy="queue", silent_after_s=0.5, frame_timeout_s=0.5)
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)

    def shown() -> list[tuple[str, int]]:
        mine = operator.tracks_of("red")
        return [(one.track_id, one.state) for one in mine[-1].instances] if mine else []

    peer.until(lambda: [state for _, state in shown()] == [TrackedInstance.TRACKED], "tracks", camera.shoot)
    ((track, _),) = shown()
    peer.until(lambda: shown() == [(track, TrackedInstance.LOST)], "the track to be lost")
    operator.command("the blue square", "blue")
    peer.until(lambda: RequestStatus.FAILED in operator.states("blue"), "the request to fail")
    end = operator.statuses[-1]
    assert end.error_code == RequestStatus.ERROR_NO_FRAMES
    assert re.search(r"the last new frame came \d+\.\d s ago", end.message)
    assert not operator.tracks_of("blue")
    peer.until(lambda: shown() == [(track, TrackedInstance.TRACKED)], "the track again", camera.shoot)


@pytest.mark.parametrize(
    ("parameter", "ignored"), [("stale_after_s", "ignored/stale_stamp"), ("future_tolerance_s", None)]
)
def test_images_of_another_time_are_left_out_where_that_is_asked_for(
    start_node, operator, camera, peer, parameter, ignored
):
    """The camera's stamps are of 2009: stale, and never of the future."""
    start_node(**{parameter: 5.0})
    peer.until(lambda: int(operator.diagnosed("camera camera").get("received", 0)) > 3, "images", camera.shoot)
    values = operator.diagnosed("camera camera")
    counted = {name: count for name, count in values.items() if name.startswith("ignored/")}
    assert set(counted) == ({ignored} if ignored else set())
