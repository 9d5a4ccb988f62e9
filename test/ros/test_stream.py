"""Images and commands in, tracks, tracklets, answers, states and overlays out, over DDS."""

from __future__ import annotations

import json

import numpy as np
from ros_graph import BEST_EFFORT, RELIABLE, Camera, Operator
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from villa.masks import decode
from villa_msgs.msg import Answer, Command, RequestStatus, TrackedInstance
from villa_ros.conversions.events import mask_from_message, nanoseconds, parse_journal_line

STATES_OF_A_TRACKED_REQUEST = [
    RequestStatus.QUEUED,
    RequestStatus.BUFFERING,
    RequestStatus.DECODING,
    RequestStatus.SEGMENTING,
    RequestStatus.TRACKING,
]


def test_tracks_carry_the_frames_own_header_and_a_mask_on_the_object(start_node, operator, camera, peer):
    start_node()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    peer.until(lambda: len(operator.tracks_of("red")) >= 5, "five frames of tracks", camera.shoot)
    for message in operator.tracks_of("red"):
        assert message.header == camera.headers[nanoseconds(message.header.stamp)]
        assert message.camera == "camera"
    (instance,) = operator.tracks_of("red")[-1].instances
    mask = decode(mask_from_message(instance.mask))
    rows, columns = np.nonzero(mask)
    assert mask.shape == (120, 160)
    assert 20 <= np.median(rows) < 50
    assert 1 <= instance.label <= 65534
    assert np.ptp(columns) < 60
    sequences = [message.sequence for message in operator.tracks]
    assert sequences == sorted(set(sequences))


def test_states_come_in_order_and_answer_and_tracklets_belong_together(start_node, operator, peer):
    start_node()
    operator.command("the red square", "red", conversation_id="talk")
    operator.reach("red", RequestStatus.TRACKING)
    assert operator.states("red") == STATES_OF_A_TRACKED_REQUEST
    answer = operator.final_answer("red")
    assert answer.conversation_id == "talk"
    assert answer.text
    assert len(answer.seg_offsets) == len(answer.seg_track_ids) == 1
    (tracklets,) = peer.until(lambda: operator.tracklets, "tracklets")
    assert tracklets.request_id == "red"
    assert [tracklet.track_id for tracklet in tracklets.tracklets] == list(answer.seg_track_ids)
    for tracklet in tracklets.tracklets:
        assert len(tracklet.masks) == len(tracklet.frame_index) > 0
        assert max(tracklet.frame_index) < len(tracklets.clip.stamps)
    assert tracklets.header.stamp == tracklets.clip.stamps[-1]
    assert tracklets.clip.header.stamp == tracklets.clip.stamps[0]


def test_what_is_not_there_is_an_answer_and_no_track(start_node, operator):
    start_node()
    operator.command("the green banana", "none")
    operator.reach("none", RequestStatus.NO_TARGET)
    assert operator.final_answer("none").text
    assert not operator.tracks_of("none")


def test_nothing_of_a_request_follows_its_stop(start_node, operator, camera, peer):
    start_node()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    operator.command("", "red", action=Command.STOP)
    operator.reach("red", RequestStatus.CANCELED)
    # The tracks come over another topic than the state.
    peer.until(lambda: operator.tracks_of("red")[-1].instances[0].state == TrackedInstance.REMOVED, "the last tracks")
    heard = len(operator.tracks)
    for _ in range(20):
        camera.shoot()
    assert operator.states("red")[-1] == RequestStatus.CANCELED
    assert len(operator.tracks) == heard
    assert operator.tracks_of("red")[-1].instances[0].state == TrackedInstance.REMOVED


def test_stop_in_the_middle_of_an_answer_ends_it_there(start_node, operator, camera, peer, tmp_path):
    start_node(device=f"until:{tmp_path / 'stopped'}")
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.SEGMENTING)
    operator.command("", "red", action=Command.STOP)
    operator.reach("red", RequestStatus.CANCELED)
    (tmp_path / "stopped").touch()  # the model goes on, and what it has is nobody's
    for _ in range(20):
        camera.shoot()
    assert operator.states("red")[-1] == RequestStatus.CANCELED
    assert all(answer.finish_reason != Answer.STOP for answer in operator.answers)
    assert not operator.tracks


def test_stop_service_names_what_it_ended(start_node, operator, peer):
    start_node()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    answer = peer.call(Trigger, "/villa_node/stop", Trigger.Request())
    assert answer.success
    assert "red" in answer.message
    operator.reach("red", RequestStatus.CANCELED)


def test_spoken_stop_as_text_ends_everything(start_node, operator):
    start_node()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    operator.say("Stop!")
    operator.reach("red", RequestStatus.CANCELED)


def test_plain_text_is_a_request_with_an_id_of_its_own(start_node, operator, camera, peer):
    start_node()
    operator.say("the red square")
    status = peer.until(
        lambda: next((s for s in operator.statuses if s.state == RequestStatus.TRACKING), None),
        "the text to be tracked",
        camera.shoot,
    )
    assert status.request_id


def test_a_new_request_supersedes_the_old_one(start_node, operator):
    start_node()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    operator.command("the blue square", "blue")
    operator.reach("blue", RequestStatus.TRACKING)
    assert operator.states("red")[-1] == RequestStatus.SUPERSEDED


def test_disabled_node_refuses_commands_and_ignores_images_until_enabled(start_node, operator, camera, peer):
    start_node()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    assert peer.call(SetBool, "/villa_node/set_enabled", SetBool.Request(data=False)).success
    operator.reach("red", RequestStatus.CANCELED)
    operator.command("the red square", "refused")
    assert "set_enabled" in operator.reach("refused", RequestStatus.REJECTED).message
    assert peer.call(SetBool, "/villa_node/set_enabled", SetBool.Request(data=True)).success
    operator.command("the red square", "again")
    operator.reach("again", RequestStatus.TRACKING)
    assert int(operator.diagnosed("camera camera").get("ignored/disabled", 0)) > 0 or peer.until(
        lambda: int(operator.diagnosed("camera camera").get("ignored/disabled", 0)) > 0, "ignored images"
    )


def test_overlay_has_the_header_and_size_of_its_frame(start_node, operator, camera, peer):
    start_node()
    overlays = peer.listen(Image, "/villa_node/camera/overlay", BEST_EFFORT)
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    peer.until(lambda: len(overlays) >= 2, "overlays", camera.shoot)
    for overlay in overlays:
        assert overlay.header == camera.headers[nanoseconds(overlay.header.stamp)]
        assert (overlay.height, overlay.width, overlay.encoding) == (120, 160, "rgb8")
        assert len(overlay.data) == overlay.step * overlay.height


def test_each_camera_has_topics_of_its_own(start_node, peer):
    start_node(cameras=["left", "right"], **{"left.image_topic": "/left", "right.image_topic": "/right/compressed"})
    left = Camera(peer, "/left", "left_optical_frame")
    right = CompressedCamera(peer, "/right/compressed", "right_optical_frame")
    for name, eye in (("left", left), ("right", right)):
        operator = Operator(peer, eye, name=name)
        operator.command("the red square", f"red_{name}", camera=name)
        operator.reach(f"red_{name}", RequestStatus.TRACKING)
        peer.until(lambda op=operator, n=name: op.tracks_of(f"red_{n}"), f"tracks of {name}", eye.shoot)
        assert {message.header.frame_id for message in operator.tracks} == {f"{name}_optical_frame"}
        assert {message.camera for message in operator.tracks} == {name}


class CompressedCamera(Camera):
    """The same pictures as JPEG."""

    def shoot(self, message=None):
        import cv2

        raw = self.message()
        rgb = np.frombuffer(raw.data, np.uint8).reshape(raw.height, raw.width, 3)
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        message = CompressedImage(header=raw.header, format="rgb8; jpeg compressed bgr8")
        message.data.frombytes(encoded.tobytes())
        self._peer.publisher(CompressedImage, self._topic, BEST_EFFORT).publish(message)
        self._peer.spin(2)
        return message


def test_two_runs_of_the_node_never_share_a_track_id(start_node, peer, camera):
    ids = []
    for run in range(2):
        node = start_node()
        operator = Operator(peer, camera)
        operator.command("the red square", f"red{run}")
        operator.reach(f"red{run}", RequestStatus.TRACKING)
        ids.append(set(operator.final_answer(f"red{run}").seg_track_ids))
        node.end()
        peer.until(peer.alone, "the node to leave the graph")
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]


def test_journal_numbers_every_step_and_a_submit_carries_its_command(start_node, operator, camera, peer):
    start_node()
    lines = peer.listen(String, "/villa_node/journal", RELIABLE)
    peer.until(lambda: lines, "the journal", camera.shoot)
    operator.command("the red square", "red", locale="en-GB")
    operator.reach("red", RequestStatus.TRACKING)
    peer.until(lambda: any(json.loads(line.data)["op"] == "fast" for line in lines), "a step", camera.shoot)
    entries = [parse_journal_line(line.data) for line in lines]
    indices = [event.index for event, _ in entries]
    assert indices == list(range(indices[0], indices[0] + len(indices)))
    (request,) = [request for event, request in entries if event.op == "submit" and request.text]
    assert (request.request_id, request.text, request.locale) == ("red", "the red square", "en-GB")
    ingested = {event.stamp_ns for event, _ in entries if event.op == "ingest"}
    assert ingested <= set(camera.headers)
    stepped = [event.stamp_ns for event, _ in entries if event.op == "fast"]
    assert set(stepped) <= ingested
