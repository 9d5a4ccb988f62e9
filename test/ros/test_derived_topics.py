"""What planners and people look at beside the tracks, over DDS: label image, target mask, overlay, metres."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
import pytest
from ros_graph import BEST_EFFORT, TABLE_M, TOP_M, DepthCamera, Operator, depth_message
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

from villa.masks import decode
from villa_msgs.msg import Object3DArray, RequestStatus
from villa_ros.conversions.events import mask_from_message, nanoseconds

DEPTH = {
    "camera.depth_topic": "/depth",
    "camera.camera_info_topic": "/camera_info",
}


@pytest.fixture
def depth_camera(peer):
    return DepthCamera(peer)


def asked(peer, camera, text="the red square"):
    operator = Operator(peer, camera)
    operator.command(text, "one")
    operator.reach("one", RequestStatus.TRACKING)
    return operator


def test_label_image_and_target_mask_say_what_the_tracks_say(start_node, operator, camera, peer):
    start_node()
    labels = peer.listen(Image, "/villa_node/camera/label_image", BEST_EFFORT)
    targets = peer.listen(Image, "/villa_node/camera/target_mask", BEST_EFFORT)
    operator.command("the red square and the blue square", "both")
    operator.reach("both", RequestStatus.TRACKING)
    peer.until(lambda: len(labels) >= 3 and len(targets) >= 3, "derived topics", camera.shoot)
    tracks = {nanoseconds(message.header.stamp): message for message in operator.tracks}
    compared = 0
    for label, target in zip(labels, targets, strict=False):
        stamp = nanoseconds(label.header.stamp)
        if stamp not in tracks or nanoseconds(target.header.stamp) != stamp:
            continue
        compared += 1
        assert label.header == target.header == camera.headers[stamp]
        assert (label.encoding, target.encoding) == ("mono16", "mono8")
        picture = np.frombuffer(label.data, np.uint16).reshape(label.height, label.width)
        mask = np.frombuffer(target.data, np.uint8).reshape(target.height, target.width)
        for instance in tracks[stamp].instances:
            assert np.array_equal(picture == instance.label, decode(mask_from_message(instance.mask)))
        assert np.array_equal(mask, np.where(picture > 0, 255, 0))
    assert compared


def test_a_target_mask_is_never_published_empty(start_node, operator, camera, peer):
    start_node(remove_after_frames=0)
    targets = peer.listen(Image, "/villa_node/camera/target_mask", BEST_EFFORT)
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    peer.until(lambda: targets, "a target", camera.shoot)

    def black():
        message = camera.message()
        message.data = array("B", bytes(len(message.data)))
        camera.shoot(message)

    before = len(operator.tracks)
    peer.until(lambda: len(operator.tracks) > before + 5, "tracks of what is not seen", black)
    heard = len(targets)
    for _ in range(5):
        black()
    assert len(targets) == heard
    assert all(np.frombuffer(target.data, np.uint8).any() for target in targets)


def test_the_overlay_comes_as_jpeg_too(start_node, operator, camera, peer):
    start_node()
    pictures = peer.listen(CompressedImage, "/villa_node/camera/overlay/compressed", BEST_EFFORT)
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    peer.until(lambda: pictures, "an overlay", camera.shoot)
    assert pictures[0].format == "jpeg"
    assert pictures[0].header == camera.headers[nanoseconds(pictures[0].header.stamp)]
    assert cv2.imdecode(np.frombuffer(pictures[0].data, np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)


@pytest.mark.parametrize("late", [0, 3])
def test_objects_have_place_and_size_in_metres_also_where_depth_comes_late(start_node, peer, late):
    start_node(**DEPTH)
    camera = DepthCamera(peer, late)
    objects = peer.listen(Object3DArray, "/villa_node/camera/objects_3d", BEST_EFFORT)
    operator = asked(peer, camera)
    peer.until(lambda: any(message.objects for message in objects), "objects in metres", camera.shoot)
    message = next(message for message in objects if message.objects)
    assert message.header == camera.headers[nanoseconds(message.header.stamp)]
    assert nanoseconds(message.depth_offset) == 0
    (found,) = message.objects
    assert found.track_id in operator.final_answer("one").seg_track_ids
    assert found.request_id == "one"
    assert found.valid_fraction == pytest.approx(1.0)
    assert found.centroid.z == pytest.approx(TOP_M, abs=0.01)
    assert found.box_center.position.z == pytest.approx((TOP_M + TABLE_M) / 2, abs=0.01)  # it stands on the table
    size = found.box_size
    assert (size.x, size.y, size.z) == pytest.approx((0.18, 0.18, 0.1), abs=0.02)


def test_points_carry_the_label_of_their_object(start_node, peer, depth_camera):
    start_node(**DEPTH)
    clouds = peer.listen(PointCloud2, "/villa_node/camera/object_points", BEST_EFFORT)
    operator = asked(peer, depth_camera, "the red square and the blue square")

    def on_the_grid():  # the tests' model sees every second pixel: elsewhere a mask ends one column beside its square
        return next((one for one in clouds if depth_camera.lefts[nanoseconds(one.header.stamp)] % 2 == 0), None)

    cloud = peer.until(on_the_grid, "points of masks that fit", depth_camera.shoot)
    assert cloud.header == depth_camera.headers[nanoseconds(cloud.header.stamp)]
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "instance"]
    points = np.frombuffer(cloud.data, [("x", "f4"), ("y", "f4"), ("z", "f4"), ("instance", "u4")])
    assert len(points) == cloud.width
    assert np.allclose(points["z"], TOP_M)
    labels = {instance.label for message in operator.tracks for instance in message.instances}
    assert set(points["instance"]) == labels
    assert len(labels) == 2


def test_markers_show_each_object_and_leave_with_it(start_node, peer, depth_camera):
    markers = pytest.importorskip("visualization_msgs.msg")
    start_node(**DEPTH)
    arrays = peer.listen(markers.MarkerArray, "/villa_node/camera/markers", BEST_EFFORT)
    asked(peer, depth_camera)
    peer.until(lambda: any(message.markers for message in arrays), "markers", depth_camera.shoot)
    shown = next(message.markers for message in arrays if message.markers)
    box, name = shown
    assert (box.type, name.type) == (markers.Marker.CUBE, markers.Marker.TEXT_VIEW_FACING)
    assert name.text
    assert box.header.frame_id == "camera_optical_frame"

    def hide():
        message = depth_camera.message()
        message.data = array("B", bytes(len(message.data)))
        depth_camera.shoot(message)

    peer.until(
        lambda: any(m.action == markers.Marker.DELETE for message in arrays for m in message.markers), "an end", hide
    )


def test_a_stamp_that_is_near_is_taken_only_where_that_is_allowed_and_the_difference_is_told(start_node, peer):
    camera = DepthCamera(peer, offset_ns=4_000_000)
    start_node(**DEPTH, **{"camera.depth_slop_s": 0.01})
    objects = peer.listen(Object3DArray, "/villa_node/camera/objects_3d", BEST_EFFORT)
    asked(peer, camera)
    peer.until(lambda: any(message.objects for message in objects), "objects in metres", camera.shoot)
    assert {nanoseconds(message.depth_offset) for message in objects} == {4_000_000}


def _packed(image):
    """16 bits in tenths of a millimetre, behind the header of compressed_depth_image_transport."""
    metres = np.frombuffer(image.data, np.float32).reshape(image.height, image.width)
    png = cv2.imencode(".png", (metres * 10_000).astype(np.uint16))[1]
    message = CompressedImage(header=image.header, format="16UC1; compressedDepth png")
    message.data = array("B", bytes(12) + png.tobytes())
    return message


def test_packed_depth_in_a_unit_of_its_own_becomes_the_same_metres(start_node, peer, depth_camera):
    depth_camera.packed = _packed
    start_node(**DEPTH | {"camera.depth_topic": "/depth/compressedDepth", "camera.depth_unit_m": 0.0001})
    objects = peer.listen(Object3DArray, "/villa_node/camera/objects_3d", BEST_EFFORT)
    asked(peer, depth_camera)
    peer.until(lambda: any(message.objects for message in objects), "objects in metres", depth_camera.shoot)
    found = next(message.objects[0] for message in objects if message.objects)
    assert found.box_center.position.z == pytest.approx((TOP_M + TABLE_M) / 2, abs=0.06)


def test_thermal_images_are_seen_by_the_tones_of_their_camera(start_node, operator, peer, camera):
    """Sixteen bits, of which a narrow band shows something."""
    start_node(**{"camera.black": 7000.0, "camera.white": 9000.0})
    overlays = peer.listen(CompressedImage, "/villa_node/camera/overlay/compressed", BEST_EFFORT)

    def shoot():
        message = camera.message()
        rgb = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        words = (7000 + 2000 * (rgb[..., 0] > 0)).astype(np.uint16)
        message.encoding, message.step = "mono16", 2 * message.width
        message.data = array("B", words.tobytes())
        camera.shoot(message)

    operator.command("the red square", "one")
    peer.until(lambda: overlays, "a picture", shoot)
    picture = cv2.imdecode(np.frombuffer(overlays[-1].data, np.uint8), cv2.IMREAD_COLOR)
    assert int(picture.min(axis=2).max()) > 200
    assert int(np.median(picture)) < 40


def _other_size(image):
    half = np.frombuffer(image.data, np.float32).reshape(120, 160)[:60, :80].copy()
    return depth_message(half, nanoseconds(image.header.stamp))


def _invalid(image):
    return depth_message(np.full((120, 160), np.nan, np.float32), nanoseconds(image.header.stamp))


def _colour(image):
    image.encoding = "rgb8"
    return image


def _never(image):
    return depth_message(np.ones((120, 160), np.float32), nanoseconds(image.header.stamp) + 7)


@pytest.mark.parametrize(
    ("spoil", "counted"),
    [
        (_other_size, "dropped/misaligned"),
        (_invalid, "dropped/objects_without_depth"),
        (_colour, "dropped/bad_images/encoding"),
        (_never, "dropped/no_depth"),
    ],
)
def test_depth_that_cannot_be_used_is_counted_and_tracks_go_on(start_node, peer, depth_camera, spoil, counted):
    start_node(**DEPTH)
    depth_camera.spoil = spoil
    objects = peer.listen(Object3DArray, "/villa_node/camera/objects_3d", BEST_EFFORT)
    operator = asked(peer, depth_camera)
    peer.until(lambda: int(operator.diagnosed("depth camera").get(counted, 0)) > 0, counted, depth_camera.shoot)
    assert not any(message.objects for message in objects)
    before = len(operator.tracks)
    peer.until(lambda: len(operator.tracks) > before, "tracks without depth", depth_camera.shoot)


def test_without_any_depth_the_diagnostics_say_what_to_do(start_node, operator, camera, peer):
    start_node(**DEPTH)
    operator.command("the red square", "red")
    line = peer.until(lambda: operator.diagnosed("depth camera"), "the line of the depth", camera.shoot)
    assert line["level"] == "1"
    assert "no depth image came on /depth" in line["message"]
