"""What diagnostics say of a camera: why nothing comes in, or too little, and what to do about that very thing."""

from __future__ import annotations

import pytest
from ros_graph import BEST_EFFORT, RELIABLE
from sensor_msgs.msg import CompressedImage, Image

from villa_ros.node.diagnostics import CameraHealth
from villa_ros.node.unmatched import lost_hint
from villa_ros.runtime.diagnostic_status import ERROR, OK, WARN

LOST = "lost on the way"


def _after(*sent_s: float) -> CameraHealth:
    """Six seconds, in which images came that were stamped at these times."""
    health = CameraHealth("/image")
    health.report(0.0, 1, 2.0, LOST)
    for at_s in sent_s:
        health.arrived(at_s + 0.01, round(at_s * 1e9))
    return health


SLOW = (0.5, 1.5, 2.5, 3.5, 4.5, 5.5)
LOSSY = tuple(second + part for second in range(6) for part in (0.0, 1 / 30, 2 / 30, 0.5, 0.5 + 1 / 30))


def test_a_camera_that_is_slow_by_its_own_stamps_loses_nothing():
    finding = _after(*SLOW).report(6.0, 1, 2.0, LOST)
    assert finding.level == WARN
    assert "1.0 Hz arrive, fewer than 2" in finding.message
    assert "min_image_rate_hz" in finding.message
    assert LOST not in finding.message
    assert _after(*SLOW).report(6.0, 1, 0.5, LOST).level == OK


def test_images_that_were_stamped_and_never_came_are_lost():
    finding = _after(*LOSSY).report(6.0, 1, 2.0, LOST)
    assert finding.level == WARN
    assert finding.message.endswith(f"; {LOST}")
    assert "the stamps show at least" in finding.message


def test_where_nothing_comes_at_all_the_middleware_may_have_lost_it():
    health = CameraHealth("/image")
    health.report(0.0, 1, 2.0, LOST)
    assert LOST in health.report(6.0, 1, 2.0, LOST).message
    finding = health.report(6.0, 1, 2.0, LOST, ["the type of /image is another"])
    assert finding.level == ERROR
    assert finding.message == "the type of /image is another"
    assert "start the camera" in health.report(6.0, 0, 2.0, LOST).message


@pytest.mark.parametrize(
    ("middleware", "says"),
    [
        ("rmw_fastrtps_cpp", "FASTDDS_DEFAULT_PROFILES_FILE=/p.xml"),
        ("rmw_fastrtps_dynamic_cpp", "FASTDDS_DEFAULT_PROFILES_FILE=/p.xml"),
        ("rmw_cyclonedds_cpp", "net.core.rmem_max"),
        ("rmw_zenoh_cpp", "rmw_zenohd"),
        ("rmw_connextdds", "rmw_connextdds"),
    ],
)
def test_the_hint_fits_the_middleware(middleware, says):
    assert says in lost_hint(middleware, "/p.xml")
    assert ("shared memory" in lost_hint(middleware, "/p.xml")) == ("fastrtps" in middleware)


def _told(operator) -> str:
    return operator.diagnosed("camera camera").get("message", "")


def test_a_topic_of_another_type_is_named_with_both_types(start_node, operator, peer):
    start_node()
    publisher = peer.node.create_publisher(CompressedImage, "/image", BEST_EFFORT)

    def shoot() -> None:
        publisher.publish(CompressedImage(format="jpeg"))

    peer.until(lambda: "the type of /image" in _told(operator), "a finding", shoot)
    assert "is sensor_msgs/msg/CompressedImage, the node reads sensor_msgs/msg/Image" in _told(operator)
    assert "set camera.transport to compressed" in _told(operator)
    assert "shared memory" not in _told(operator)


def test_a_quality_of_service_that_cannot_be_met_is_named_with_both(start_node, operator, peer):
    start_node(**{"qos_overrides./image.subscription.reliability": "reliable"})
    publisher = peer.node.create_publisher(Image, "/image", BEST_EFFORT)
    peer.until(lambda: "the publisher of /image" in _told(operator), "a finding", lambda: publisher.publish(Image()))
    assert "is best effort, and the node asks for reliable" in _told(operator)
    assert "qos_overrides./image.subscription" in _told(operator)


def test_one_publisher_that_fits_is_enough(start_node, operator, peer, camera):
    start_node(**{"qos_overrides./image.subscription.reliability": "reliable"})
    peer.node.create_publisher(Image, "/image", BEST_EFFORT)
    camera.profile = RELIABLE
    peer.until(lambda: _told(operator).endswith(" Hz"), "images", camera.shoot)


def test_calibration_and_depth_of_another_type_are_named_too(start_node, operator, peer, camera):
    start_node(**{"camera.depth_topic": "/depth", "camera.camera_info_topic": "/camera_info"})
    peer.node.create_publisher(CompressedImage, "/depth", BEST_EFFORT)
    peer.node.create_publisher(Image, "/camera_info", BEST_EFFORT)
    peer.until(lambda: "/depth" in _told(operator) and "/camera_info" in _told(operator), "findings", camera.shoot)
    assert "the node reads sensor_msgs/msg/CameraInfo" in _told(operator)
