"""The lifecycle node: it declares, wires and gates. What a command or a frame leads to is the pipeline's business."""

from __future__ import annotations

import itertools
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from villa_msgs.msg import Command
from villa_ros import parameters, qos
from villa_ros.diagnostics import ERROR, OK, WARN, CameraHealth, CommandHealth, Finding, status, worker_finding
from villa_ros.heap import keep_large_blocks, reserve
from villa_ros.images import BadImage, frame_from_compressed, frame_from_image
from villa_ros.message_mapping import nanoseconds, request_from_message
from villa_ros.model_loading import limit_threads, load_model
from villa_ros.outputs import Outputs
from villa_ros.pipeline.events import Event, StatusEvent
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.pipeline.worker import Worker
from villa_ros.process_setup import end_with_parent, use_shared_memory_profile
from villa_ros.segment_action import SegmentAction

if TYPE_CHECKING:
    from villa.interface import SegmentationModel
    from villa_ros.pipeline.frame import Frame

ModelFactory = Callable[[str, str], "SegmentationModel"]  # (checkpoint, device) -> model

_DIAGNOSTICS_PERIOD_S = 1.0
_LOG_PERIOD_S = 5.0  # one line per cause and period, however many images are bad
_SPIN_S = 0.1


class VillaNode(LifecycleNode):
    """Images and commands in; tracks, tracklets, answers, states and overlays out (docs/node.md).

    Configuring loads the model, activating opens the inputs. All callbacks run in one thread; the model runs in the
    pipeline's worker. `model_factory` makes the model from the parameters `checkpoint` and `device`.
    """

    def __init__(self, model_factory: ModelFactory = load_model, **node_options: Any) -> None:
        super().__init__("villa_node", **node_options)
        parameters.declare(self)
        self._model_factory = model_factory
        self._chosen = parameters.Parameters()
        self._model: SegmentationModel | None = None
        self._worker: Worker | None = None
        self._outputs: Outputs | None = None
        self._inputs: list[Any] = []
        self._enabled = True
        self._last_error = ""
        self._cameras: dict[str, CameraHealth] = {}
        self._commands = CommandHealth()
        nonce = secrets.token_hex(4)
        self._new_request_id = (f"{nonce}-r{count}" for count in itertools.count(1))
        self._profile = use_shared_memory_profile()

        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        self._action = SegmentAction(self, self._request, self._submit, self._stop, lambda: self._worker is not None)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.diagnostics())
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a paused simulation must not silence diagnostics
        report = self._guarded("diagnostics", lambda *_: self._publish_diagnostics())
        self.create_timer(_DIAGNOSTICS_PERIOD_S, report, clock=steady)
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
            self._pipeline_config = chosen.pipeline_config()
            limit_threads(chosen.threads)
            started_s = time.monotonic()
            self.get_logger().info(f"loading the model on {chosen.device}")
            self._model = self._model_factory(chosen.checkpoint, chosen.device)
            reserve()
            self._commands = CommandHealth()
            self._outputs = Outputs(self, chosen, self._commands)
        except Exception as error:  # whatever a checkpoint, a driver or a middleware can throw
            self._model = None
            return self._failed("configure", error)
        self._last_error = ""
        self._chosen = chosen
        self._cameras = {}
        self.get_logger().info(f"model ready after {time.monotonic() - started_s:.1f} s")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and open the inputs. A failure can be retried."""
        assert self._model is not None
        assert self._outputs is not None
        try:
            self._worker = Worker(self._model, self._pipeline_config, self._emit)
            self._worker.start()
            self._outputs.start()
            self._open_inputs()
        except Exception as error:  # a topic name or an override of its quality of service
            self._halt()
            return self._failed("activate", error)
        self._last_error = ""
        self.get_logger().info(f"listening: {', '.join(h.topic for h in self._cameras.values())}")
        return super().on_activate(state)

    def _failed(self, transition: str, error: Exception) -> TransitionCallbackReturn:
        self._last_error = f"cannot {transition}: {error}"
        self.get_logger().error(f"{self._last_error} [{type(error).__name__}]")
        return TransitionCallbackReturn.FAILURE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the inputs and end every request; the model stays loaded."""
        self._halt()
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

    def close(self) -> None:
        """End every request while their last states can still be published."""
        self._halt()
        self._release()

    def _halt(self) -> None:
        for entity in self._inputs:
            self.destroy_subscription(entity)
        self._inputs.clear()
        if self._worker is not None:
            self._worker.stop()
            if not self._worker.close():
                self.get_logger().warning("a model call is still running; its result will be discarded")
            self._worker = None
        if self._outputs is not None:
            self._outputs.stop()

    def _release(self) -> None:
        self._model = None
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None

    # Inputs

    def _open_inputs(self) -> None:
        chosen = self._chosen
        for camera, topic in zip(chosen.cameras, chosen.image_topics, strict=True):
            resolved = self._resolved(topic)
            compressed = chosen.image_transport == "compressed" or (
                chosen.image_transport == "auto" and resolved.endswith("/compressed")
            )
            kind, convert = (CompressedImage, frame_from_compressed) if compressed else (Image, frame_from_image)
            self._cameras.setdefault(camera, CameraHealth(resolved))
            self._listen(kind, topic, partial(self._on_image, camera, convert), qos.images())
        self._listen(Command, "~/command", self._on_command, qos.commands())
        self._listen(String, "~/command_text", self._on_command_text, qos.commands())

    def _resolved(self, topic: str) -> str:
        try:
            return self.resolve_topic_name(topic)
        except Exception as error:  # several kinds, and not all of them name the topic
            raise ValueError(f"image topic {topic!r} is no topic name: {error}") from error

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None], profile: Any) -> None:
        guarded = self._guarded(topic, callback)
        self._inputs.append(
            self.create_subscription(kind, topic, guarded, profile, qos_overriding_options=qos.overridable())
        )

    def _guarded(self, name: str, callback: Callable[..., None]) -> Callable[..., None]:
        """What `callback` raises is logged and shown in /diagnostics; it must never end the node."""

        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                self._last_error = f"{name}: {type(error).__name__}: {error}"
                self.get_logger().error(self._last_error, throttle_duration_sec=_LOG_PERIOD_S)

        return guarded

    def _on_image(self, camera: str, convert: Callable[[Any, str, int], Frame], message: Any) -> None:
        assert self._worker is not None
        assert self._outputs is not None
        arrival_ns = time.monotonic_ns()
        health = self._cameras[camera]
        health.arrived(arrival_ns / 1e9, nanoseconds(message.header.stamp))
        if not self._enabled:
            health.ignored["disabled"] += 1
            return
        try:
            frame = convert(message, camera, arrival_ns)
        except BadImage as error:
            health.bad_image(error.reason, str(error))
            self.get_logger().warning(
                f"dropped an image of {health.topic}: {error}", throttle_duration_sec=_LOG_PERIOD_S
            )
            return
        self._outputs.frame(frame)
        self._worker.offer(frame)

    def _on_command(self, message: Any) -> None:
        self._submit(self._request(message))

    def _on_command_text(self, message: Any) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        self._submit(self._completed(Request("", message.data, camera="", stamp_ns=stamp_ns)))

    def _request(self, message: Any) -> Request:
        return self._completed(request_from_message(message, camera=""))

    def _completed(self, request: Request) -> Request:
        """Fill in what the command left to the node."""
        if not request.request_id:
            # a stop that names nothing means everything
            action = Action.STOP_ALL if request.action is Action.STOP else request.action
            request = replace(request, request_id=next(self._new_request_id), action=action)
        return replace(
            request,
            camera=request.camera or self._chosen.cameras[0],
            timeout_s=request.timeout_s or self._chosen.default_timeout_s,
        )

    def _submit(self, request: Request) -> str:
        """Hand a command over; returns the id its states are reported under."""
        assert self._worker is not None
        assert self._outputs is not None
        self._commands.received += 1
        if not self._enabled:
            text = "the node is disabled; call ~/set_enabled with true"
            self._emit(StatusEvent(request.request_id, RequestState.REJECTED, ErrorCode.MODEL_NOT_READY, text))
            return request.request_id
        self._outputs.request(request)
        return self._worker.submit(request)

    def _stop(self, request_id: str) -> None:
        if self._worker is not None:
            self._worker.stop(request_id)

    def _emit(self, event: Event) -> None:
        """The pipeline's sink: called from the worker's thread or a callback's."""
        if self._outputs is not None:
            self._outputs(event)
        self._action.observe(event)

    # Services

    def _on_stop(self, request: Any, response: Any) -> Any:
        if self._worker is None:
            return _answered(response, False, "not active: nothing runs")
        ended = self._worker.stop()
        return _answered(response, True, f"ended {len(ended)} requests: {', '.join(ended)}")

    def _on_reset(self, request: Any, response: Any) -> Any:
        if self._worker is None:
            return _answered(response, False, "not active: there is nothing to reset")
        self._worker.reset()
        return _answered(response, True, "ended every request, forgot conversations and buffered frames")

    def _on_set_enabled(self, request: Any, response: Any) -> Any:
        self._enabled = request.data
        if not self._enabled and self._worker is not None:
            self._worker.stop()
        return _answered(response, True, "enabled" if self._enabled else "disabled: images are ignored")

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        name = self.get_name()
        node_id = self.get_fully_qualified_name()
        now_s = time.monotonic()
        lines = [status(f"{name}: lifecycle", node_id, self._lifecycle_finding())]
        if self._worker is not None:
            stats = self._worker.stats()
            limit_hz = self._chosen.min_image_rate_hz
            for camera, health in self._cameras.items():
                health.processed(now_s, stats.cameras[camera])
                finding = health.report(now_s, self.count_publishers(health.topic), limit_hz, self._profile)
                lines.append(status(f"{name}: camera {camera}", node_id, finding))
            lines.append(status(f"{name}: commands", node_id, self._commands.report()))
            lines.append(status(f"{name}: worker", node_id, worker_finding(stats)))
        message = DiagnosticArray(status=lines)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _lifecycle_finding(self) -> Finding:
        state = self._state_machine.current_state[1]
        values = {"state": state, "enabled": self._enabled, "last_error": self._last_error}
        if self._last_error:
            return Finding(ERROR, self._last_error, values)
        return Finding(OK if state == "active" and self._enabled else WARN, state, values)


def _answered(response: Any, success: bool, message: str) -> Any:
    response.success, response.message = success, message
    return response


def spin(make_node: Callable[[], VillaNode], args: Sequence[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM, end its requests, and return the exit code.

    rclpy's own handlers would take the graph down first, and the last states could not be published any more.
    """
    end_with_parent()
    keep_large_blocks()
    use_shared_memory_profile()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    asked = threading.Event()

    def ask(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process even while a model is loading

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    try:
        node = make_node()
    except ParameterException as error:
        print(f"villa_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = _executor()
    executor.add_node(node)
    try:
        # spin() and spin_once() without a timeout never deliver in some builds of the events executor
        while rclpy.ok() and not asked.is_set():
            executor.spin_once(timeout_sec=_SPIN_S)
    finally:
        node.close()
        executor.remove_node(node)
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _executor() -> Any:
    """The events executor, several times faster than the others for images; else the single-threaded one."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:  # before Kilted
        from rclpy.executors import SingleThreadedExecutor

        return SingleThreadedExecutor()
    return EventsExecutor()


def main(args: Sequence[str] | None = None) -> int:
    """Entry point of `villa_node`."""
    return spin(VillaNode, args)


if __name__ == "__main__":
    sys.exit(main())
