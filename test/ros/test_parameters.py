"""Parameters: declared from tables, described, limited, changed while the node runs, and all of them documented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.exceptions import InvalidParameterValueException
from rclpy.parameter import Parameter

from villa_msgs.msg import RequestStatus, TrackedInstance
from villa_ros.node.parameter_page import page
from villa_ros.node.parameters import CAMERA_TABLE, TABLE, CameraParameters, Parameters, declare, read
from villa_ros.pipeline.config import ConfigError, PipelineConfig
from villa_ros.runtime.parameter_table import CONFIGURE, LIVE, START, ParameterError

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def make_node():
    made = []

    def make(**overrides):
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        made.append(rclpy.create_node("parameters", parameter_overrides=given))
        declare(made[-1])
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()


def test_defaults_are_those_of_the_table_and_of_the_pipeline(make_node):
    assert read(make_node()) == Parameters()
    assert Parameters().pipeline_config() == PipelineConfig()


def test_given_values_arrive_with_their_types(make_node):
    seen = read(make_node(clip_frames=5, cameras=["left"], mask_threshold=0.25, overlay=False))
    assert (seen.clip_frames, seen.cameras, seen.mask_threshold, seen.overlay) == (5, ("left",), 0.25, False)
    assert seen.pipeline_config().clip_frames == 5


def test_each_camera_has_parameters_of_its_own(make_node):
    given = {"cameras": ["left", "right"], "left.image_topic": "/l", "right.rectified": True, "right.depth_slop_s": 0.1}
    seen = read(make_node(**given))
    assert seen.of_cameras["left"] == CameraParameters(image_topic="/l")
    assert seen.of_cameras["right"] == CameraParameters(rectified=True, depth_slop_s=0.1)
    assert [seen.image_topic(camera) for camera in seen.cameras] == ["/l", "right/image"]
    assert Parameters().image_topic("camera") == "image"


@pytest.mark.parametrize("overrides", [{"clip_frames": 0}, {"mask_threshold": 1.5}, {"max_command_chars": 1_000_000}])
def test_value_out_of_range_is_refused(make_node, overrides):
    with pytest.raises(InvalidParameterValueException, match=next(iter(overrides))):
        make_node(**overrides)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"cameras": ("Left Eye",)}, "small letters"),
        ({"policy": "ignore"}, "preempt, queue, reject"),
        ({"load_when": "never"}, "configure, activate"),
        ({"of_cameras": {"camera": CameraParameters(transport="theora")}}, "camera.transport is 'theora'"),
        ({"of_cameras": {"camera": CameraParameters(depth_topic="/depth")}}, "name its CameraInfo topic"),
        ({"of_cameras": {"camera": CameraParameters(depth_topic="/d", stamps="arrival")}}, "finds its image by stamps"),
        ({"of_cameras": {"camera": CameraParameters(stamps="never")}}, "camera.stamps"),
        ({"of_cameras": {"camera": CameraParameters(rotation=45)}}, "rotation is 45; wanted one of 0, 90, 180, 270"),
        ({"of_cameras": {"camera": CameraParameters(black=5000.0)}}, "wanted white above black, or 0 for both"),
        ({"of_cameras": {"camera": CameraParameters(black=9.0, white=9.0)}}, "camera.black is 9 and camera.white 9"),
    ],
)
def test_contradiction_names_what_is_wanted(changes, wanted):
    with pytest.raises(ParameterError, match=wanted):
        replace(Parameters(), **changes).check()


def test_camera_named_twice_is_refused():
    with pytest.raises(ConfigError, match="each name may occur once"):
        replace(Parameters(), cameras=("left", "left")).pipeline_config()


def test_every_parameter_is_described_with_its_limits_and_when_it_changes(make_node):
    node = make_node()
    for prefix, table in (("", TABLE), ("camera.", CAMERA_TABLE)):
        for name, row in table.items():
            told = node.describe_parameter(prefix + name)
            assert told.description
            assert row.metadata["when"] in (START, CONFIGURE, LIVE)
            assert told.read_only == (row.metadata["when"] == START)
            assert row.metadata["when"] in told.additional_constraints


def test_the_page_is_what_the_tables_say():
    assert (DOCS / "parameters.md").read_text("utf-8") == page(), "run python -m villa_ros.node.parameter_page"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clip_frames": 5}, "clean the node up"),
        ({"camera.image_topic": "/other"}, "clean the node up"),
        ({"policy": "ignore"}, "preempt, queue, reject"),
        ({"lost_after_frames": 1000}, "remove_after_frames"),
    ],
)
def test_what_cannot_change_while_configured_is_refused_with_the_reason(changes, reason):
    with pytest.raises((ParameterError, ConfigError), match=reason):
        Parameters().changed(changes)


def test_what_may_change_is_changed_and_other_peoples_parameters_are_let_pass():
    new = Parameters().changed({"mask_threshold": 0.7, "policy": "queue", "use_sim_time": True, "other.depth": 3})
    assert new == replace(Parameters(), mask_threshold=0.7, policy="queue")


def set_parameter(peer, name, **value):
    request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=ParameterValue(**value))])
    (result,) = peer.call(SetParameters, "/villa_node/set_parameters", request).results
    return result


def test_a_running_node_takes_a_new_value_and_refuses_a_wrong_one(start_node, operator, camera, peer):
    start_node(remove_after_frames=0)
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)
    refused = set_parameter(peer, "policy", type=4, string_value="sometimes")
    assert not refused.successful
    assert "preempt, queue, reject" in refused.reason
    assert not set_parameter(peer, "cameras", type=9, string_array_value=["other"]).successful
    assert set_parameter(peer, "present_threshold", type=3, double_value=1.0).successful  # more than the model gives

    def unseen():
        return [m for m in operator.tracks_of("red") if m.instances[0].state == TrackedInstance.OCCLUDED]

    peer.until(unseen, "the new threshold to be in force", camera.shoot)


def test_what_is_read_when_configuring_can_be_set_before_it(start_node, lifecycle, peer):
    start_node(autostart=False)
    assert set_parameter(peer, "clip_frames", type=2, integer_value=7).successful
    assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert not set_parameter(peer, "clip_frames", type=2, integer_value=8).successful
    assert lifecycle.change(Transition.TRANSITION_CLEANUP)
    assert set_parameter(peer, "clip_frames", type=2, integer_value=8).successful
