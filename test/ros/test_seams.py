"""What is done by a native package where it is installed, and by our own code where it is not: the same result."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from villa.masks import encode
from villa_ros.conversions import images, rclpy_arrays, vision_msgs
from villa_ros.conversions.images import BadImage, frame_from_image
from villa_ros.pipeline.events import TrackedInstance, TrackState
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.runtime.optional_packages import installed

HEADER = FrameHeader(1_234_567_890, "optical")
POINT = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("instance", "u4")]


def seam(module):
    """Our own way, and that of a native module, which is skipped by name where it is missing."""
    return pytest.mark.parametrize(
        "native", [pytest.param(None, id="own"), pytest.param(module, id=module, marks=pytest.mark.native)]
    )


@pytest.fixture
def use(monkeypatch):
    def only(native):
        """Let the code find this native module, and no other."""
        if native is not None:
            pytest.importorskip(native, reason=f"needs {native}, which is not in pip", exc_type=ImportError)

        def found(name):
            return installed(name) if name == native else None

        for module in (rclpy_arrays, images, vision_msgs):
            monkeypatch.setattr(module, "installed", found)

    return only


@seam("sensor_msgs_py.point_cloud2")
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_point_clouds(use, native, count):
    use(native)
    points = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    labels = np.arange(count).astype(np.uint32)
    cloud = rclpy_arrays.cloud_message(points, labels, HEADER)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, count, 16, 16 * count)
    assert [(field.name, field.offset, field.datatype) for field in cloud.fields] == [
        ("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("instance", 12, 6),
    ]  # fmt: skip
    seen = np.frombuffer(cloud.data, POINT)
    assert np.array_equal(np.stack([seen[axis] for axis in "xyz"], axis=1), points)
    assert np.array_equal(seen["instance"], labels)
    assert cloud.header.frame_id == "optical"


def bayer():
    data = array("B", np.random.default_rng(0).integers(0, 255, 12 * 16, np.uint8).tobytes())
    return Image(height=12, width=16, encoding="bayer_rggb8", step=16, data=data)


def test_an_encoding_that_nobody_knows_is_refused_with_those_that_are(use):
    use(None)
    message = bayer()
    assert frame_from_image(message, "camera").rgb().shape == (12, 16, 3)  # this one is known without it
    message.encoding = "rgb48_of_the_future"
    with pytest.raises(BadImage, match="wanted one of rgb8") as caught:
        frame_from_image(message, "camera")
    assert caught.value.reason == "encoding"


@pytest.mark.native
def test_encodings_of_cv_bridge_are_decoded_by_it(use):
    """And what is known without it is decoded alike."""
    use("cv_bridge")
    message = bayer()
    raw = np.frombuffer(message.data, np.uint8).reshape(12, 16)
    assert np.array_equal(frame_from_image(message, "camera").rgb(), cv2.cvtColor(raw, cv2.COLOR_BayerBG2RGB))
    message.data = message.data[:-1]
    with pytest.raises(BadImage, match="disagree"):
        frame_from_image(message, "camera")
    message.encoding = "rgb48_of_the_future"
    with pytest.raises(BadImage, match="wanted one of rgb8"):
        frame_from_image(message, "camera")


@pytest.mark.native
def test_boxes_and_names_as_vision_msgs(use):
    use(vision_msgs.PACKAGE)
    mask = np.zeros((40, 60), np.bool_)
    mask[10:20, 30:50] = True
    seen = [TrackedInstance("n-1", "r", 7, TrackState.TRACKED, "red mug", 0.75, 0.9, encode(mask))]
    (found,) = vision_msgs.detections(seen, HEADER).detections
    assert (found.bbox.center.position.x, found.bbox.center.position.y) == (40, 15)
    assert (found.bbox.size_x, found.bbox.size_y, found.id) == (20, 10, "n-1")
    assert found.results[0].hypothesis.class_id == "red mug"
    (named,) = vision_msgs.label_info(seen, HEADER).class_map
    assert (named.class_id, named.class_name) == (7, "red mug")
