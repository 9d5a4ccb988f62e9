"""The node's state machine: by service, by itself, through failure, and out by signal."""

from __future__ import annotations

import signal

import pytest
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from villa_msgs.msg import RequestStatus
from villa_ros.node.villa_node import VillaNode


def test_goes_through_every_state_by_service_and_back(start_node, lifecycle, operator):
    start_node(autostart=False)
    assert lifecycle.state() == "unconfigured"
    assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert lifecycle.state() == "inactive"
    assert lifecycle.change(Transition.TRANSITION_ACTIVATE)
    operator.command("the red square", "first")
    operator.reach("first", RequestStatus.TRACKING)
    assert lifecycle.change(Transition.TRANSITION_DEACTIVATE)
    assert operator.reach("first", RequestStatus.CANCELED)
    assert lifecycle.change(Transition.TRANSITION_CLEANUP)
    assert lifecycle.state() == "unconfigured"


def test_can_be_activated_again_and_works_as_before(start_node, lifecycle, operator):
    start_node(autostart=False)
    for request_id in ("first", "second"):
        assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
        assert lifecycle.change(Transition.TRANSITION_ACTIVATE)
        operator.command("the red square", request_id)
        operator.reach(request_id, RequestStatus.TRACKING)
        assert lifecycle.change(Transition.TRANSITION_DEACTIVATE)
        assert lifecycle.change(Transition.TRANSITION_CLEANUP)


def test_starts_by_itself_unless_told_otherwise(start_node, lifecycle, peer):
    start_node()
    peer.until(lambda: lifecycle.state() == "active", "the node to activate itself")


def test_missing_checkpoint_fails_to_configure_with_the_reason_and_can_be_retried(
    start_node, lifecycle, operator, peer, tmp_path
):
    checkpoint = tmp_path / "villa.safetensors"
    node = start_node(autostart=False, checkpoint=checkpoint)
    assert not lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert lifecycle.state() == "unconfigured"
    line = peer.until(lambda: str(checkpoint) in operator.diagnosed("lifecycle").get("last_error", ""), "the reason")
    assert line
    assert str(checkpoint) in node.log()
    checkpoint.write_bytes(b"")
    assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert node.process.poll() is None


def test_a_load_that_fails_while_activating_leaves_it_inactive_with_the_reason_and_can_be_retried(
    start_node, lifecycle, operator, peer, tmp_path
):
    checkpoint = tmp_path / "villa.safetensors"
    start_node(autostart=False, checkpoint=checkpoint, load_when="activate")
    assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert not lifecycle.change(Transition.TRANSITION_ACTIVATE)
    assert lifecycle.state() == "inactive"
    peer.until(lambda: str(checkpoint) in operator.diagnosed("lifecycle").get("last_error", ""), "the reason")
    checkpoint.write_bytes(b"")
    assert lifecycle.change(Transition.TRANSITION_ACTIVATE)
    operator.command("the red square", "red")
    operator.reach("red", RequestStatus.TRACKING)


def test_what_a_callback_raises_is_logged_once_with_its_place_counted_and_ends_nothing(capfd):
    node = VillaNode(lambda checkpoint, device: None, parameter_overrides=[Parameter("autostart", value=False)])
    try:

        def broken(*_):
            raise KeyError("a defect")

        heard = node.create_subscription(String, "~/odd", broken, 10)
        asked = node.create_service(Trigger, "~/stop_oddly", broken)
        for _ in range(3):
            heard.callback(String())
        answer = asked.callback(Trigger.Request(), Trigger.Response())
        assert not answer.success
        assert "KeyError" in answer.message
        values = node._health.report("active", enabled=True).values
        assert (values["errors/odd"], values["errors/stop_oddly"]) == (3, 1)
    finally:
        node.close()
        node.destroy_node()
    logged = capfd.readouterr().err
    assert logged.count("Traceback") == 2  # once for each place
    assert "test_lifecycle.py" in logged


def test_autostart_with_a_missing_checkpoint_stays_up_unconfigured(start_node, lifecycle, tmp_path, peer):
    node = start_node(checkpoint=tmp_path / "missing.safetensors")
    peer.until(lambda: "cannot configure" in node.log(), "the failure in the log")
    assert lifecycle.state() == "unconfigured"
    assert node.process.poll() is None


def test_the_real_loader_names_a_missing_checkpoint(start_node, lifecycle, tmp_path, peer):
    missing = tmp_path / "missing.safetensors"
    node = start_node(script=None, checkpoint=missing)
    peer.until(lambda: "cannot configure" in node.log(), "the failure in the log")
    assert str(missing) in node.log()
    assert lifecycle.state() == "unconfigured"


def test_contradicting_parameters_fail_to_configure_with_both_values(start_node, lifecycle, peer):
    node = start_node(autostart=False, **{"camera.depth_topic": "/depth"})
    assert not lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert "name its CameraInfo topic" in node.log()


def test_impossible_topic_fails_to_activate_with_its_name_and_leaves_the_model_loaded(start_node, lifecycle, peer):
    node = start_node(autostart=False, **{"camera.image_topic": "not-a-topic"})
    assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert not lifecycle.change(Transition.TRANSITION_ACTIVATE)
    assert lifecycle.state() == "inactive"
    assert "not-a-topic" in node.log()
    assert lifecycle.change(Transition.TRANSITION_CLEANUP)


def test_impossible_depth_topic_is_named_too_and_can_be_mended(start_node, lifecycle, peer):
    given = {"camera.depth_topic": "not-a-topic", "camera.camera_info_topic": "/camera_info"}
    node = start_node(autostart=False, **given)
    assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert not lifecycle.change(Transition.TRANSITION_ACTIVATE)
    assert "'not-a-topic' of camera 'camera'" in node.log()
    assert peer.node.count_subscribers("/image") == 0
    assert lifecycle.change(Transition.TRANSITION_CLEANUP)


def test_services_answer_while_nothing_runs(start_node, lifecycle, peer):
    start_node(autostart=False)
    answer = peer.call(Trigger, "/villa_node/stop", Trigger.Request())
    assert not answer.success
    assert "not active" in answer.message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_requests_and_exits_with_zero(start_node, operator, peer, number):
    node = start_node()
    operator.command("the red square", "running")
    operator.reach("running", RequestStatus.TRACKING)
    node.process.send_signal(number)
    peer.until(lambda: RequestStatus.CANCELED in operator.states("running"), "the last state before the end")
    assert node.wait() == 0
    assert "Traceback" not in node.log()


def test_a_signal_within_a_long_call_of_the_model_exits_with_zero(start_node, operator, peer):
    node = start_node(device="torch")
    operator.command("the red square", "running")
    operator.reach("running", RequestStatus.SEGMENTING)
    node.process.send_signal(signal.SIGTERM)
    peer.until(lambda: RequestStatus.CANCELED in operator.states("running"), "the last state before the end")
    assert node.wait() == 0
    assert "Traceback" not in node.log()


def test_activating_while_the_model_is_still_at_work_fails_with_the_reason(start_node, lifecycle, operator, peer):
    start_node(device="hangs")
    operator.command("the red square", "running")
    operator.reach("running", RequestStatus.SEGMENTING)
    assert lifecycle.change(Transition.TRANSITION_DEACTIVATE)
    assert not lifecycle.change(Transition.TRANSITION_ACTIVATE)
    assert lifecycle.state() == "inactive"
    peer.until(lambda: "still at work" in operator.diagnosed("lifecycle").get("last_error", ""), "the reason")
    assert lifecycle.change(Transition.TRANSITION_CLEANUP)
    assert lifecycle.change(Transition.TRANSITION_CONFIGURE)
    assert lifecycle.change(Transition.TRANSITION_ACTIVATE)


def test_a_model_that_hangs_is_told_of_and_replaced(start_node, operator, peer, camera):
    start_node(device="hangs_once", model_patience_s=2.0)
    operator.command("the red square", "first")
    told = operator.reach("first", RequestStatus.FAILED)
    assert told.error_code == RequestStatus.ERROR_MODEL_FAILED
    assert "has not come back" in told.message
    operator.command("the red square", "second")
    operator.reach("second", RequestStatus.TRACKING)
    line = operator.diagnosed("worker")
    assert float(line["model_call_s"]) < 2.0


def test_a_model_that_hangs_again_and_again_ends_the_activity(start_node, lifecycle, operator, peer):
    start_node(device="hangs", model_patience_s=0.1)
    for request_id in ("first", "second", "third"):
        operator.command("the red square", request_id)
        operator.reach(request_id, RequestStatus.FAILED)
    peer.until(lambda: lifecycle.state() == "inactive", "the node to give up")
    assert "restart the node" in peer.until(lambda: operator.diagnosed("lifecycle").get("last_error", ""), "the reason")


def test_shutdown_transition_ends_requests(start_node, lifecycle, operator):
    start_node()
    operator.command("the red square", "running")
    operator.reach("running", RequestStatus.TRACKING)
    assert lifecycle.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    operator.reach("running", RequestStatus.CANCELED)
    assert lifecycle.state() == "finalized"


@pytest.mark.parametrize(
    ("parameters", "named"), [({"clip_frames": 0}, "clip_frames"), ({"clip_frames": "many"}, "clip_frames")]
)
def test_unusable_parameter_ends_the_start_with_one_clear_message(start_node, parameters, named):
    node = start_node(**parameters)
    assert node.wait() == 2
    assert named in node.log()
    assert "Traceback" not in node.log()
