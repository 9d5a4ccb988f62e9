"""Broken images and commands: each is dropped, counted under its name, and ends nothing."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.qos import qos_profile_parameters
from ros_graph import BEST_EFFORT, Camera
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from villa_msgs.msg import Command, RequestStatus


def _unknown_encoding(image: Image) -> Image:
    image.encoding = "rgb48_of_the_future"
    return image


def _wrong_step(image: Image) -> Image:
    image.step = image.width
    return image


def _wrong_size(image: Image) -> Image:
    image.data = image.data[:-100]
    return image


def _zero_size(image: Image) -> Image:
    image.height = image.width = image.step = 0
    image.data = array("B")
    return image


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_unknown_encoding, "encoding"),
        (_wrong_step, "step"),
        (_wrong_size, "size"),
        (_zero_size, "zero_size"),
    ],
)
def test_bad_image_is_counted_by_name_while_good_ones_go_on(start_node, operator, camera, peer, spoil, reason):
    node = start_node()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)

    def counted() -> bool:
        return int(operator.diagnosed("camera camera").get(f"bad_images/{reason}", 0)) >= 3

    def alternate() -> None:
        camera.shoot(spoil(camera.message()))
        camera.shoot()

    peer.until(counted, f"images counted as {reason}", alternate)
    before = len(operator.tracks)
    peer.until(lambda: len(operator.tracks) > before + 3, "tracks to go on", camera.shoot)
    line = operator.diagnosed("camera camera")
    assert line["last_bad_image"]
    assert operator.states("red")[-1] == RequestStatus.TRACKING
    assert node.process.poll() is None


def test_truncated_and_damaged_pictures_are_counted_while_good_ones_go_on(start_node, operator, peer, camera):
    start_node(**{"camera.image_topic": "/image/compressed"})
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[20:50, 20:50] = (0, 0, 255)
    whole = cv2.imencode(".jpg", picture)[1].tobytes()
    greedy = bytearray(cv2.imencode(".png", picture)[1].tobytes())
    greedy[greedy.index(b"IDAT") - 4] ^= 0x80  # promises 2 GB
    publisher = peer.publisher(CompressedImage, "/image/compressed", BEST_EFFORT)

    def shoot(data: bytes) -> None:
        message = CompressedImage(header=camera.message().header, format="jpeg")
        message.data.frombytes(data)
        publisher.publish(message)
        peer.spin(2)

    def alternate() -> None:
        shoot(whole[: len(whole) // 2])
        shoot(b"not a picture at all")
        shoot(bytes(greedy))
        shoot(whole)

    peer.until(
        lambda: (
            int(operator.diagnosed("camera camera").get("bad_images/truncated", 0)) >= 2
            and int(operator.diagnosed("camera camera").get("bad_images/format", 0)) >= 2
            and int(operator.diagnosed("camera camera").get("bad_images/damaged", 0)) >= 2
        ),
        "every kind of damage in the diagnostics",
        alternate,
    )
    operator.command("the red square", "red")
    peer.until(lambda: RequestStatus.TRACKING in operator.states("red"), "tracking", alternate)


REJECTED_TEXTS = [
    ("x" * 100_000, RequestStatus.ERROR_TEXT_TOO_LONG, "text_too_long"),
    ("", RequestStatus.ERROR_EMPTY_TEXT, "empty_text"),
    (" \n\t", RequestStatus.ERROR_EMPTY_TEXT, "empty_text"),
    ("the r\N{REPLACEMENT CHARACTER}d square", RequestStatus.ERROR_TEXT_UNDECODABLE, "text_undecodable"),
]


@pytest.fixture
def active(start_node, operator, camera):
    node = start_node()
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    return node


def test_unusable_texts_are_refused_by_name_and_end_nothing(active, operator, camera, peer):
    for number, (text, code, _) in enumerate(REJECTED_TEXTS):
        operator.command(text, f"bad{number}")
        status = operator.reach(f"bad{number}", RequestStatus.REJECTED)
        assert status.error_code == code
        assert status.message
        assert operator.states(f"bad{number}") == [RequestStatus.REJECTED]
    for _, _, name in REJECTED_TEXTS:
        peer.until(lambda n=name: f"rejected/{n}" in operator.diagnosed("commands"), name, camera.shoot)
    assert operator.states("red")[-1] == RequestStatus.TRACKING
    assert active.process.poll() is None


def test_bytes_that_are_no_utf8_are_refused(active, operator, camera, peer):
    # rclpy would not send them, so they go out as the bytes of a serialized message (CDR, little endian)
    text = b"the r\xff\xfed square\0"
    serialized = b"\0\1\0\0" + len(text).to_bytes(4, "little") + text
    peer.publisher(String, "/villa_node/command_text").publish(serialized)
    status = peer.until(
        lambda: next((s for s in operator.statuses if s.state == RequestStatus.REJECTED), None),
        "the refusal",
        camera.shoot,
    )
    assert status.error_code == RequestStatus.ERROR_TEXT_UNDECODABLE


def test_unknown_action_camera_and_request_are_refused_by_name(active, operator):
    operator.command("the red square", "action", action=99)
    assert operator.reach("action", RequestStatus.REJECTED).error_code == RequestStatus.ERROR_UNKNOWN_ACTION
    operator.command("the red square", "camera", camera="behind")
    status = operator.reach("camera", RequestStatus.REJECTED)
    assert status.error_code == RequestStatus.ERROR_UNKNOWN_CAMERA
    assert "behind" in status.message
    operator.command("", "nobody", action=Command.STOP)
    assert operator.reach("nobody", RequestStatus.REJECTED).error_code == RequestStatus.ERROR_UNKNOWN_REQUEST


def test_repeated_request_id_is_refused(active, operator, peer, camera):
    operator.command("the blue square", "red")
    status = peer.until(
        lambda: next((s for s in operator.statuses if s.state == RequestStatus.REJECTED), None),
        "the refusal",
        camera.shoot,
    )
    assert status.error_code == RequestStatus.ERROR_DUPLICATE_ID


def test_missing_images_are_reported_with_the_profile_to_set(start_node, operator, peer):
    start_node(**{"camera.image_topic": "/lossy"})
    camera = Camera(peer, "/lossy")

    def two_of_twenty() -> None:
        for _ in range(18):
            camera.message()  # its stamp passes, the image is lost
        camera.shoot()
        camera.shoot()
        peer.spin(15)

    def blamed() -> str:
        line = operator.diagnosed("camera camera")
        return line.get("message", "") if "FASTDDS_DEFAULT_PROFILES_FILE" in line.get("message", "") else ""

    message = peer.until(blamed, "the profile to be named", two_of_twenty)
    assert "fastdds_shm.xml" in message


def test_bytes_that_are_no_message_end_nothing(active, operator, camera, peer):
    publisher = peer.publisher(Command, "/villa_node/command")
    for broken in (b"\0\1\0\0", b"\0\1\0\0" + b"\xff" * 12, b"\0\1\0\0" + b"\xff" * 200):
        publisher.publish(broken)
    operator.command("the blue square", "after")
    operator.reach("after", RequestStatus.TRACKING)
    assert active.process.poll() is None


NO_TYPE = Parameter(name="mask_threshold", value=ParameterValue(type=77, double_value=0.9))


def threshold(value):
    return Parameter(name="mask_threshold", value=ParameterValue(type=3, double_value=value))


def works_as_before(operator, camera, peer, request_id):
    """Parameters, images and commands."""
    (value,) = peer.call(GetParameters, "/villa_node/get_parameters", GetParameters.Request(names=["policy"])).values
    assert value.string_value == "preempt"
    before = len(operator.tracks)
    peer.until(lambda: len(operator.tracks) > before + 3, "tracks to go on", camera.shoot)
    operator.command("the blue square", request_id)
    operator.reach(request_id, RequestStatus.TRACKING)


def test_a_parameter_of_a_type_that_does_not_exist_is_refused_and_the_others_are_set(active, operator, camera, peer):
    for value in (0.6, 0.7, 0.8):
        request = SetParameters.Request(parameters=[threshold(value), NO_TYPE, threshold(value + 0.05)])
        first, refused, last = peer.call(SetParameters, "/villa_node/set_parameters", request).results
        assert first.successful
        assert last.successful
        assert not refused.successful
        assert "'mask_threshold' has type 77, wanted" in refused.reason
    request = SetParametersAtomically.Request(parameters=[threshold(0.1), NO_TYPE])
    result = peer.call(SetParametersAtomically, "/villa_node/set_parameters_atomically", request).result
    assert not result.successful
    assert "has type 77" in result.reason
    names = GetParameters.Request(names=["mask_threshold"])
    (value,) = peer.call(GetParameters, "/villa_node/get_parameters", names).values
    assert value.double_value == pytest.approx(0.85)
    works_as_before(operator, camera, peer, "after")
    assert operator.diagnosed_since("lifecycle")["level"] == "0"  # the sender's mistake, not the node's
    assert active.process.poll() is None


def test_many_bad_parameters_at_once_are_each_answered(active, operator, camera, peer):
    # as deep as the service itself: a client's usual 10 would lose answers
    client = peer.node.create_client(SetParameters, "/villa_node/set_parameters", qos_profile=qos_profile_parameters)
    names = GetParameters.Request(names=["mask_threshold"])
    peer.call(GetParameters, "/villa_node/get_parameters", names)  # the node knows its clients
    peer.until(client.service_is_ready, "the service")
    answers = [client.call_async(SetParameters.Request(parameters=[NO_TYPE])) for _ in range(50)]
    works_as_before(operator, camera, peer, "after")
    peer.until(lambda: all(answer.done() for answer in answers), "every answer")
    assert not any(answer.result().results[0].successful for answer in answers)
    assert active.process.poll() is None


def test_a_clock_before_its_beginning_is_counted_and_ends_nothing(start_node, operator, camera, peer):
    """rclpy's own callback of /clock raises at a negative time."""
    node = start_node(use_sim_time=True)
    clock = peer.publisher(Clock, "/clock", BEST_EFFORT)
    clock.publish(Clock(clock=Time(sec=100)))
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)

    def counted():
        return int(operator.diagnosed("lifecycle").get("errors/clock", 0)) >= 3

    peer.until(counted, "the errors of the clock", lambda: clock.publish(Clock(clock=Time(sec=-1))))
    assert "must not be negative" in operator.diagnosed("lifecycle")["last_error"]
    clock.publish(Clock(clock=Time(sec=200)))

    def told_time():
        return any(message.header.stamp.sec == 200 for message in operator.diagnostics[-1:])

    peer.until(told_time, "diagnostics with the new time")
    works_as_before(operator, camera, peer, "after")
    assert node.process.poll() is None
