"""The node while it is active: images and commands come in, the pipeline works, events go out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from std_msgs.msg import String

from villa_msgs.msg import Command
from villa_ros.conversions.events import request_from_message
from villa_ros.node.camera_subscriptions import CameraInputs
from villa_ros.pipeline import command_validation
from villa_ros.pipeline.events import Event, StatusEvent
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.pipeline.worker import Worker
from villa_ros.runtime import qos
from villa_ros.runtime.allocator import give_back, reserve
from villa_ros.runtime.message_loss import counting, take_waiting
from villa_ros.runtime.token_bucket import TokenBucket

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from villa.interface import SegmentationModel
    from villa_ros.node.diagnostics import CameraHealth, CommandHealth
    from villa_ros.node.parameters import Parameters
    from villa_ros.node.publishers import Outputs
    from villa_ros.pipeline.frame import Frame


_ENDS_ALL = (Action.STOP_ALL, Action.RESET)
_STOPS = (Action.STOP, *_ENDS_ALL)


class Activity:
    """From activating to deactivating. Every method is called in the executor's thread.

    Args:
        node: Subscribes.
        model: Belongs to the worker until `close`.
        chosen: Gives the parameters in force.
        outputs: Gets the frames that overlays are drawn on, and the requests that the journal carries.
        sink: Takes the pipeline's events, from the worker's thread too.
        commands: Counts what came in.
        counts: What was counted of each camera when the node was active before.
        enabled: Are images looked at and commands taken?

    Raises:
        ValueError: a topic name that is none. Whatever a middleware raises at an override of its quality of service.
    """

    def __init__(
        self,
        node: LifecycleNode,
        model: SegmentationModel,
        chosen: Callable[[], Parameters],
        outputs: Outputs,
        sink: Callable[[Event], None],
        commands: CommandHealth,
        counts: Mapping[str, CameraHealth],
        *,
        enabled: bool,
    ) -> None:
        self._node = node
        self._chosen = chosen
        self._outputs = outputs
        self._sink = sink
        self._commands = commands
        self._enabled = enabled
        self._rate = TokenBucket()
        self._subscriptions: list[Any] = []
        self._taking_in = False
        self.cameras: dict[str, CameraInputs] = {}
        self.worker = self._worker(model)
        self.worker.start()
        outputs.start()
        try:
            for camera in chosen().cameras:
                self.cameras[camera] = CameraInputs(
                    node, camera, chosen, self._on_frame, outputs.depth, counts.get(camera)
                )
            self.enable(enabled)
            self._stops = self._listen(Command, "~/stop", self._on_stop)
            self._commanded = self._listen(Command, "~/command", self._on_command)
            self._told = self._listen(String, "~/command_text", self._on_command_text)
            self._requests = (self._commanded, self._told)
        except Exception:
            self.close()
            raise

    def close(self) -> bool:
        """Close the inputs and end every request; their last states are out when this returns.

        False: the worker's thread is still in a call of the model.
        """
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        for camera in self.cameras.values():
            camera.close()
        self.worker.stop()
        ended = self.worker.close()
        if not ended:
            self._node.get_logger().warning("a model call is still running; its result will be discarded")
        self._outputs.stop()
        give_back()
        return ended

    def replace(self, model: SegmentationModel) -> None:
        """Go on with another model and a worker of its own; the one before was given up."""
        self.worker = self._worker(model)
        self.worker.start()

    def _worker(self, model: SegmentationModel) -> Worker:
        reserve()
        return Worker(model, self._chosen().pipeline_config(), self._sink, present=self._now_ns)

    def stop(self) -> tuple[str, ...]:
        """End every request, those included whose commands have come and were not looked at yet; returns their ids."""
        return self.worker.stop() + self._end_waiting()

    def _end_waiting(self, behind: Any = None) -> tuple[str, ...]:
        """Behind a stop: what waits is taken in and ended, so that whoever sent it is told and nothing of it begins.

        Only what waits on the subscription `behind`, by which the stop itself came, was sent after it.
        """
        self._take_in(behind)
        return self.worker.stop()

    def _take_in(self, behind: Any = None) -> None:
        """Look at what waits, and at nothing that comes meanwhile on the way of stops."""
        self._taking_in = True
        try:
            for subscription in self._requests:
                if subscription is not behind:
                    for taken in take_waiting(subscription, qos.COMMANDS):
                        subscription.callback(*taken)
        finally:
            self._taking_in = False

    def enable(self, enabled: bool) -> None:
        """Look at images and take commands, or ignore the first, refuse the second and end every request."""
        self._enabled = enabled
        for camera in self.cameras.values():
            camera.enabled = enabled
        if not enabled:
            self.worker.stop()

    def request(self, message: Any) -> Request:
        """villa_msgs/Command -> request, with an id, a camera and a timeout where the command leaves them open."""
        return self.worker.completed(request_from_message(message, camera=""))

    def submit(self, request: Request) -> str:
        """Hand a command over; returns the id its states are reported under."""
        request = self.worker.completed(request)
        self._commands.received += 1
        if not self._enabled:
            text = "the node is disabled; call ~/set_enabled with true"
            return self._reject(request, ErrorCode.MODEL_NOT_READY, text)
        asks = command_validation.meaning(request) in (Action.SEGMENT, Action.FOLLOW_UP)
        rate_hz = self._chosen().command_rate_hz
        if asks and not self._rate.take(rate_hz):
            text = f"more than {rate_hz:g} commands a second: wait, or raise command_rate_hz"
            return self._reject(request, ErrorCode.BUSY, text)
        self._outputs.request(request)
        return self.worker.submit(request)

    def _reject(self, request: Request, code: ErrorCode, message: str) -> str:
        self._sink(StatusEvent(request.request_id, RequestState.REJECTED, code, message))
        return request.request_id

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None]) -> Any:
        subscription = self._node.create_subscription(
            kind,
            topic,
            counting(callback, self._commands.miss),
            qos.commands(),
            qos_overriding_options=qos.overridable(),
        )
        self._subscriptions.append(subscription)
        return subscription

    def _now_ns(self) -> int:
        """The time by which pictures grow old; a simulation that stands still keeps them young."""
        clock = self._node.get_clock()
        return int(clock.now().nanoseconds) if clock.ros_time_is_active else time.monotonic_ns()

    def _on_frame(self, frame: Frame) -> None:
        self._outputs.frame(frame)
        self.worker.offer(frame)

    def _on_command(self, message: Any) -> None:
        self._take(request_from_message(message, camera=""), self._commanded)

    def _on_command_text(self, message: Any) -> None:
        stamp_ns = self._node.get_clock().now().nanoseconds
        self._take(Request("", message.data, camera="", stamp_ns=stamp_ns), self._told)

    def _take(self, request: Request, came_by: Any) -> None:
        self.submit(request)
        if self._taking_in:
            return
        if command_validation.meaning(request) in _ENDS_ALL:
            self._end_waiting(behind=came_by)
        # A stop does not wait until all commands are looked at that came before it.
        for taken in take_waiting(self._stops, qos.COMMANDS):
            self._stops.callback(*taken)

    def _on_stop(self, message: Any) -> None:
        request = request_from_message(message, camera="")
        if request.action not in _STOPS:
            text = f"action is {int(request.action)}, wanted a stop or reset: publish requests on ~/command"
            self._commands.received += 1
            self._reject(self.worker.completed(request), ErrorCode.UNKNOWN_ACTION, text)
            return
        request = self.worker.completed(request)
        if request.action is Action.STOP and request.request_id not in self.worker.active:
            self._take_in()  # it may be about one that waits
        self.submit(request)
        if request.action in _ENDS_ALL:
            self._end_waiting()
