"""The lifecycle node: it declares, wires and gates. What a command or a frame leads to is the pipeline's business."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.utilities import get_rmw_implementation_identifier
from std_srvs.srv import SetBool, Trigger

from villa_ros.node import parameters
from villa_ros.node.activity import Activity
from villa_ros.node.camera_subscriptions import LOG_PERIOD_S
from villa_ros.node.diagnostics import (
    CameraHealth,
    CommandHealth,
    ModelHealth,
    NodeHealth,
    depth_finding,
    worker_finding,
)
from villa_ros.node.publishers import Outputs
from villa_ros.node.segment_video_action import SegmentAction
from villa_ros.node.unmatched import lost_hint
from villa_ros.pipeline.config import ConfigError
from villa_ros.pipeline.events import Event
from villa_ros.runtime import parameter_table, qos, ros_process
from villa_ros.runtime.allocator import keep_large_blocks
from villa_ros.runtime.diagnostic_status import Finding, status
from villa_ros.runtime.guarded_callbacks import GuardedCallbacks
from villa_ros.runtime.model_loading import free_memory, limit_threads, load_model
from villa_ros.runtime.process import use_shared_memory_profile

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.worker import Worker

ModelFactory = Callable[[str, str], "SegmentationModel"]  # (checkpoint, device) -> model

_DIAGNOSTICS_PERIOD_S = 1.0
_MOST_GIVEN_UP = 3  # models that did not come back: each one's memory is held for as long as its thread runs


class VillaNode(GuardedCallbacks, LifecycleNode):
    """Images and commands in; tracks, tracklets, answers, states and overlays out (docs/node.md).

    Configuring loads the model (or activating, by parameter), activating opens the inputs. All callbacks run in one
    thread, and nothing they raise ends it; the model runs in the pipeline's worker. `model_factory` makes the model
    from the parameters `checkpoint` and `device`.
    """

    def __init__(self, model_factory: ModelFactory = load_model, **node_options: Any) -> None:
        super().__init__("villa_node", **node_options)
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._model_factory = model_factory
        self._chosen = parameters.Parameters()
        self._configured = False
        self._model: SegmentationModel | None = None
        self._outputs: Outputs | None = None  # while configured
        self._activity: Activity | None = None  # while active
        self._stuck: Worker | None = None  # of an earlier activity, if it was still in a call of the present model
        self._unended: list[Worker] = []  # that were left in a call of a model, whichever
        self._given_up = 0  # models since configuring
        self._counts: dict[str, CameraHealth] = {}  # of every camera since configuring
        self._enabled = True
        self._health = NodeHealth()
        self._model_health = ModelHealth()
        self._commands = CommandHealth()
        self._lost = lost_hint(get_rmw_implementation_identifier(), use_shared_memory_profile())

        self.create_service(Trigger, "~/stop", self._on_stop, qos_profile=qos.services())
        self.create_service(Trigger, "~/reset", self._on_reset, qos_profile=qos.services())
        self.create_service(SetBool, "~/set_enabled", self._on_set_enabled, qos_profile=qos.services())
        self._action = SegmentAction(self, lambda: self._activity, self.get_parameter("result_timeout_s").value)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.diagnostics())
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a paused simulation must not silence diagnostics
        self.create_timer(_DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        if self.get_parameter("autostart").value:
            self._autostart = self.create_timer(0.0, self._start_by_itself, clock=steady)

    # Lifecycle

    def _start_by_itself(self) -> None:
        self._autostart.cancel()
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, load the model, announce the outputs. A failure can be retried."""
        try:
            chosen = parameters.read(self)
            chosen.pipeline_config()
            limit_threads(chosen.threads)
            if chosen.load_when == "configure":
                self._load(chosen)
            self._commands = CommandHealth()
            self._outputs = Outputs(self, chosen, self._commands)
        except Exception as error:  # whatever a checkpoint, a driver or a middleware can throw
            self._unload()
            return self._failed("configure", error)
        self._health.last_error = ""
        self._chosen = chosen
        self._configured = True
        self._given_up = 0
        self._counts = {}
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and open the inputs. A failure can be retried."""
        try:
            self._wait_for_the_model()
            model = self._load(self._chosen) if self._model is None else self._model
            self._activity = self._begin(model)
        except Exception as error:  # a checkpoint, a topic name or an override of its quality of service
            self._unload_if_idle()
            return self._failed("activate", error)
        self._health.last_error = ""
        self._counts = {camera: inputs.health for camera, inputs in self._activity.cameras.items()}
        self.get_logger().info(f"listening: {', '.join(health.topic for health in self._counts.values())}")
        return super().on_activate(state)

    def _wait_for_the_model(self) -> None:
        """Two threads in one model would be its end."""
        if self._stuck is None:
            return
        if not self._stuck.close():
            call = self._stuck.watch()
            seen = "" if call is None else f", in a {call.stage} step since {call.age_s:.0f} s"
            raise RuntimeError(
                f"the model is still at work for requests that have ended{seen}: activate again later, or clean the "
                "node up and configure it, which loads the model anew"
            )
        self._stuck = None

    def _begin(self, model: SegmentationModel) -> Activity:
        if self._outputs is None:
            raise RuntimeError("there are no outputs: configure the node first")
        return Activity(
            self,
            model,
            lambda: self._chosen,
            self._outputs,
            self._emit,
            self._commands,
            self._counts,
            enabled=self._enabled,
        )

    def _load(self, chosen: parameters.Parameters) -> SegmentationModel:
        started_s = time.monotonic()
        self.get_logger().info(f"loading the model on {chosen.device}")
        self._model_health = ModelHealth(chosen.checkpoint or "the one shipped with the package", chosen.device)
        self._model = self._model_factory(chosen.checkpoint, chosen.device)
        self._model_health.loaded_after_s = time.monotonic() - started_s
        self.get_logger().info(f"model ready after {self._model_health.loaded_after_s:.1f} s")
        return self._model

    def _unload(self) -> None:
        if self._model is not None:
            self._model = None
            free_memory()
        self._model_health.loaded_after_s = None

    def _unload_if_idle(self) -> None:
        if self._chosen.load_when == "activate":
            self._unload()

    def _failed(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        self._health.last_error = f"cannot {transition}: {error}"
        self.get_logger().error(f"{self._health.last_error} [{type(error).__name__}]")
        return TransitionCallbackReturn.FAILURE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the inputs and end every request; the model stays loaded unless `load_when` says otherwise."""
        self._halt()
        self._unload_if_idle()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model and take the outputs off the graph."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state: end every request and let go of everything."""
        self._halt()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unexpected exception in a transition: back to unconfigured, where it can be tried again."""
        self.get_logger().error("a transition failed; back to unconfigured")
        self._halt()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> bool:
        """End every request while their last states can still be published; False: a model is still at work."""
        self._halt()
        self._release()
        return not any(worker.alive for worker in self._unended)

    def _halt(self) -> None:
        if self._activity is not None:
            worker = self._activity.worker
            if not self._activity.close():
                self._stuck = worker
                self._unended.append(worker)
            self._activity = None

    def _release(self) -> None:
        self._configured = False
        self._stuck = None  # it keeps the model that it is in; the next one is loaded anew
        self._unload()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None

    # Parameters

    def _on_set_parameters(self, changes: list[Any]) -> SetParametersResult:
        """Refuse what does not fit, and let what may change at any time take effect."""
        asked = parameter_table.asked_for(changes)
        if not self._configured:
            return SetParametersResult(successful=True)  # all is read, and judged, when configuring
        try:
            new = self._chosen.changed(asked)
        except (parameter_table.ParameterError, ConfigError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        if new != self._chosen:
            self._chosen = new
            if self._outputs is not None:
                self._outputs.overlay = new.overlay
            if self._activity is not None:
                self._activity.worker.configure(new.pipeline_config())
        return SetParametersResult(successful=True)

    def fault(self, name: str, error: Exception) -> None:
        """Log and count what a callback raised: with its place at first, and no more than a line now and then."""
        if self._health.failed(name, error) == 1:
            self.get_logger().error(f"{self._health.last_error}\n{traceback.format_exc()}")
        else:
            self.get_logger().error(self._health.last_error, throttle_duration_sec=LOG_PERIOD_S)

    def _emit(self, event: Event) -> None:
        """The pipeline's sink: called from the worker's thread or a callback's."""
        if self._outputs is not None:
            self._outputs(event)
        self._action.observe(event)

    def _watch(self, activity: Activity) -> None:
        """End requests in time while the model computes, and replace a model that does not come back."""
        call = activity.worker.watch()
        patience_s = self._chosen.model_patience_s
        if call is None or not patience_s or call.age_s < patience_s:
            return
        self._given_up += 1
        reason = f"a {call.stage} step of the model has taken {call.age_s:.0f} s, more than model_patience_s"
        self.get_logger().error(f"{reason}: its requests fail, and it is loaded anew")
        activity.worker.give_up(call)
        self._unended.append(activity.worker)
        self._model = None
        try:
            if self._given_up >= _MOST_GIVEN_UP:
                raise RuntimeError(f"{reason}, for the {self._given_up}rd time: restart the node")
            activity.replace(self._load(self._chosen))
        except Exception as error:
            self.fault("model", error)
            self.trigger_deactivate()

    # Services

    def _on_stop(self, request: Any, response: Any) -> Any:
        if self._activity is None:
            return _answered(response, False, "not active: nothing runs")
        ended = self._activity.stop()
        return _answered(response, True, f"ended {len(ended)} requests: {', '.join(ended)}")

    def _on_reset(self, request: Any, response: Any) -> Any:
        if self._activity is None:
            return _answered(response, False, "not active: there is nothing to reset")
        self._activity.worker.reset()
        return _answered(response, True, "ended every request, forgot conversations and buffered frames")

    def _on_set_enabled(self, request: Any, response: Any) -> Any:
        self._enabled = request.data
        if self._activity is not None:
            self._activity.enable(self._enabled)
        return _answered(response, True, "enabled" if self._enabled else "disabled: images are ignored")

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        name = self.get_name()
        now_s = time.monotonic()
        state = self._state_machine.current_state[1]
        findings = {
            "lifecycle": self._health.report(state, enabled=self._enabled),
            "model": self._model_health.report(),
        }
        if self._activity is not None:
            self._watch(self._activity)
        if self._activity is not None and self._outputs is not None:
            findings |= self._of_activity(self._activity, self._outputs, now_s)
        node_id = self.get_fully_qualified_name()
        lines = [status(f"{name}: {line}", node_id, finding) for line, finding in findings.items()]
        message = DiagnosticArray(status=lines)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _of_activity(self, activity: Activity, outputs: Outputs, now_s: float) -> dict[str, Finding]:
        findings = {}
        stats = activity.worker.stats()
        for camera, inputs in activity.cameras.items():
            health = inputs.health
            health.processed(now_s, stats.cameras[camera])
            publishers = self.count_publishers(health.topic)
            findings[f"camera {camera}"] = health.report(
                now_s, publishers, self._chosen.min_image_rate_hz, self._lost, inputs.unmatched()
            )
        for camera, lifted in outputs.depth.cameras.items():
            findings[f"depth {camera}"] = depth_finding(lifted.stats(), self._chosen.of_cameras[camera].depth_topic)
        findings["commands"] = self._commands.report()
        failures = outputs.images.failures + outputs.depth.failures
        findings["worker"] = worker_finding(stats, len(activity.worker.active), failures, activity.worker.watch())
        return findings


def _answered(response: Any, success: bool, message: str) -> Any:
    response.success, response.message = success, message
    return response


def spin(make_node: Callable[[], VillaNode], args: Sequence[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM, end its requests, and return the exit code."""
    keep_large_blocks()
    use_shared_memory_profile()
    return ros_process.spin("villa_node", make_node, (ParameterException,), args)


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of `villa_node`."""
    return spin(VillaNode, args)


if __name__ == "__main__":
    sys.exit(main())
