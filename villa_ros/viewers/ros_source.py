"""A live node as anybody can hear it: its topics, the cameras' images, /diagnostics. Told on ~/command, ~/stop."""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import SetBool

from villa_msgs.msg import Answer, Command, RequestStatus, TrackedInstanceArray
from villa_ros.conversions.events import (
    answer_from_message,
    command_message,
    nanoseconds,
    parse_journal_line,
    rclpy_types,
    request_from_message,
    tracks_from_message,
)
from villa_ros.conversions.images import BadImage, image_type
from villa_ros.pipeline.events import StatusEvent
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.runtime import qos
from villa_ros.runtime.guarded_callbacks import GuardedCallbacks
from villa_ros.runtime.process import use_shared_memory_profile
from villa_ros.runtime.ros_process import fast_executor, spin_while
from villa_ros.viewers.node_health import LEVELS, Line
from villa_ros.viewers.picture import Picture
from villa_ros.viewers.source import NotSentError

if TYPE_CHECKING:
    from rclpy.node import Node

    from villa_ros.viewers.node_state import NodeState

_LOOK_PERIOD_S = 0.5  # for cameras that were not there before
_CLOSE_S = 5.0
_LOG_PERIOD_S = 5.0


class _ConsoleNode(GuardedCallbacks):
    """One odd message must not end the console."""

    def fault(self, name: str, error: Exception) -> None:
        """Log what a callback raised."""
        text = f"{name}: {type(error).__name__}: {error}\n{traceback.format_exc()}"
        self.get_logger().error(text, throttle_duration_sec=_LOG_PERIOD_S)


class RosSource:
    """Hears one node. `cameras` are image topics by camera's name; those that the node tells of come by themselves.

    `speech_node`: a node of villa_ros.speech.node whose questions are heard and can be answered; empty: none.

    Has its own rclpy context, node, executor and thread.
    """

    graph_name = "villa_console"  # of its own node
    repeats = False

    def __init__(
        self,
        heard: NodeState,
        villa_node: str = "/villa_node",
        cameras: Mapping[str, str] | None = None,
        speech_node: str = "",
    ) -> None:
        self.name = _absolute(villa_node)
        self._speech_node = _absolute(speech_node) if speech_node else ""
        self._heard = heard
        self._cameras = dict(cameras or {})
        self._context = Context()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._tracks: dict[str, Any] = {}  # camera -> subscription
        self._images: dict[str, tuple[str, str, Any]] = {}  # camera -> topic, type, subscription
        self._stops = (f"console-stop-{time.time_ns():x}-{count}" for count in itertools.count(1))

    def start(self) -> None:
        """Join the graph."""
        use_shared_memory_profile()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = _ConsoleNode(self.graph_name, context=self._context)
        self._executor = fast_executor(self._context)
        self._executor.add_node(self._node)
        self._commands = self._node.create_publisher(Command, f"{self.name}/command", qos.commands())
        self._halts = self._node.create_publisher(Command, f"{self.name}/stop", qos.commands())
        self._listen(RequestStatus, f"{self.name}/status", self._on_status, qos.results())
        self._listen(Answer, f"{self.name}/answer", self._on_answer, qos.results())
        self._listen(Command, f"{self.name}/command", self._on_command, qos.commands())
        self._listen(Command, f"{self.name}/stop", self._on_command, qos.commands())
        # Its submit entries tell the words of every request, also of those that came as text, action or speech.
        self._listen(String, f"{self.name}/journal", self._on_journal, qos.journal())
        self._listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.diagnostics())
        if self._speech_node:
            self._listen(RequestStatus, f"{self._speech_node}/status", self._on_question, qos.results())
            self._confirming = self._node.create_client(SetBool, f"{self._speech_node}/confirm")
        for camera, topic in self._cameras.items():
            self._heard.camera(camera, topic)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a paused simulation must not blind the console
        self._node.create_timer(_LOOK_PERIOD_S, self._look_for_cameras, clock=steady)
        self._thread = threading.Thread(target=self._spin, name="console-ros", daemon=True)
        self._thread.start()

    @property
    def node(self) -> Node:
        """Its own node, once started."""
        return self._node

    def close(self) -> None:
        """Leave the graph."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)
            self._executor.shutdown()
            self._node.destroy_node()
            self._context.try_shutdown()

    def ask(self, request: Request) -> None:
        """Publish a request as a command.

        Raises:
            NotSentError: no active node listens.
        """
        health = self._heard.health()
        if health.node_silent_s is not None and not health.node_alive:
            # DDS counts the subscription of a node that was killed for some 20 s more
            raise NotSentError(
                f"the node {self.name} has said nothing for {health.node_silent_s:.0f} s: is it running?"
            )
        self._publish(request, self._commands)
        self._heard.command(request)

    def stop(self, request_id: str) -> str:
        """Publish a stop of one request, or of all with an empty id; returns the id under which it is heard.

        Raises:
            NotSentError: no active node listens.
        """
        action = Action.STOP if request_id else Action.STOP_ALL
        request = Request(request_id or next(self._stops), "", action, camera="")
        self._heard.command(request)  # before its states come, which are nobody's request
        self._publish(request, self._halts)
        return request.request_id

    def confirm(self, *, yes: bool) -> None:
        """Answer the speech node's question.

        Raises:
            NotSentError: no question is open, or the speech node is gone.
        """
        question = self._heard.question
        if question is None:
            raise NotSentError("nothing is asked any more")
        if not self._confirming.service_is_ready():
            self._heard.asks_no_more(question.request_id)
            raise NotSentError(f"nobody answers {self._speech_node}/confirm: is the speech node running?")
        # Its answer is not waited for: what it does next is heard on ~/status and ~/command.
        self._confirming.call_async(SetBool.Request(data=yes))
        self._heard.asks_no_more(question.request_id)

    def again(self) -> None:
        """Nothing: what is live cannot be played again."""

    def _publish(self, request: Request, publisher: Any) -> None:
        if not publisher.get_subscription_count():
            raise NotSentError(f"nobody listens on {publisher.topic_name}: is the node running and active?")
        message = command_message(request, rclpy_types())
        message.header.stamp = self._node.get_clock().now().to_msg()
        publisher.publish(message)

    def _spin(self) -> None:
        spin_while(self._executor, lambda: not self._closing.is_set(), self._node.fault)

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile) -> Any:
        return self._node.create_subscription(kind, topic, callback, profile)

    def _look_for_cameras(self) -> None:
        known = {camera.name: camera.topic for camera in self._heard.health().cameras}
        types = dict(self._node.get_topic_names_and_types()) if known else {}
        for camera, topic in known.items():
            if camera not in self._tracks:
                self._tracks[camera] = self._listen(
                    TrackedInstanceArray, f"{self.name}/{camera}/tracks", self._on_tracks, qos.tracks(reliable=False)
                )
            wanted = self._cameras.get(camera, topic)
            kind = next((name for name in types.get(wanted, ()) if _readable(name)), None)
            if kind is None or (camera in self._images and self._images[camera][:2] == (wanted, kind)):
                continue
            if camera in self._images:
                self._node.destroy_subscription(self._images.pop(camera)[2])
            made = self._listen(rclpy_types().cls(kind), wanted, self._on_image_of(camera, kind), _newest_image(kind))
            self._images[camera] = (wanted, kind, made)

    def _on_image_of(self, camera: str, kind: str) -> Callable[[Any], None]:
        image = image_type(kind)
        assert image is not None
        read = image.reader()

        def on_image(message: Any) -> None:
            try:
                self._heard.picture(Picture(read(message, camera, time.monotonic_ns())))
            except BadImage as error:
                self._heard.bad_picture(camera, str(error))

        return on_image

    def _on_tracks(self, message: Any) -> None:
        self._heard.tracks(tracks_from_message(message), nanoseconds(message.latency) / 1e9)

    def _on_status(self, message: Any) -> None:
        code = message.error_code if message.error_code in ErrorCode._value2member_map_ else ErrorCode.NONE
        state = RequestState(message.state)
        self._heard.status(StatusEvent(message.request_id, state, ErrorCode(code), message.message))

    def _on_question(self, message: Any) -> None:
        if message.state == RequestState.QUEUED:
            self._heard.asks(message.request_id, message.message)
        else:
            self._heard.asks_no_more(message.request_id)

    def _on_answer(self, message: Any) -> None:
        self._heard.answer(answer_from_message(message))

    def _on_command(self, message: Any) -> None:
        self._heard.command(request_from_message(message, camera=""))

    def _on_journal(self, message: Any) -> None:
        if '"submit"' not in message.data:  # by far the most entries; parsing them all would cost
            return
        event, request = parse_journal_line(message.data)
        if event.op == "submit" and request is not None:
            self._heard.command(request)

    def _on_diagnostics(self, message: Any) -> None:
        prefix = f"{self.name.rpartition('/')[2]}: "
        lines = [
            Line(
                status.name.removeprefix(prefix),
                LEVELS[min(status.level[0], len(LEVELS) - 1)],
                status.message,
                {item.key: item.value for item in status.values},
            )
            for status in message.status
            if status.hardware_id == self.name and status.name.startswith(prefix)
        ]
        if lines:
            self._heard.diagnosed(lines)


def _absolute(name: str) -> str:
    return name if name.startswith("/") else f"/{name}"


def _readable(name: str) -> bool:
    """Is this an image type whose package is installed?"""
    if image_type(name) is None:
        return False
    try:
        rclpy_types().cls(name)
    except (ImportError, AttributeError):
        return False
    return True


def _newest_image(kind: str) -> QoSProfile:
    """As the node's own, but only the newest: an older one would never be shown. Of video each one is needed."""
    depth = 2 if kind.startswith("sensor_msgs/") else 30
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)
