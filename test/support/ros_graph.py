"""A node in its own process and a peer that talks to it over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from villa_ros.conversions.events import nanoseconds
from villa_ros.runtime.process import tied_to_this_process, use_shared_memory_profile

use_shared_memory_profile()  # before rclpy starts: the peer publishes images

import rclpy  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

from villa_msgs.msg import (  # noqa: E402
    Answer,
    Command,
    RequestStatus,
    TrackedInstanceArray,
    TrackletArray,
)
from villa_ros.runtime.acquaintance import Acquaintance  # noqa: E402

FAKE_NODE = Path(__file__).with_name("fake_node.py")
FOCAL_PX, TABLE_M, TOP_M = 150.0, 1.0, 0.9  # of the depth camera's scene
PATIENCE_S = 120.0  # only ever waited out when a test fails
RELIABLE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


class NodeProcess:
    """villa_node around a fake model, in a process of its own."""

    def __init__(
        self,
        log: Path,
        script: Path | None = FAKE_NODE,
        params_file: Path | None = None,
        **parameters: object,
    ) -> None:
        arguments = [part for item in parameters.items() for part in ("-p", _assignment(*item))]
        if params_file is not None:
            arguments += ["--params-file", str(params_file)]
        program = [sys.executable, str(script)] if script else [sys.executable, "-m", "villa_ros.node.villa_node"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **tied_to_this_process()}
        self._log = log
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [*program, "--ros-args", *arguments], stdout=sink, stderr=subprocess.STDOUT, env=environment
            )

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def end(self) -> int:
        """Ask the node to end and give its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the node did not end:\n{self.log()}") from None


def _assignment(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"{name}:={str(value).lower()}"
    if isinstance(value, (list, tuple)):
        return f"{name}:=[{','.join(map(str, value))}]"
    return f"{name}:={value}"


class Peer:
    """A node in the test's process: camera, operator and listener in one."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("peer")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._publishers: dict[tuple[str, type], Any] = {}
        self._clients: dict[str, Any] = {}
        self._subscriptions: list[Any] = []
        self.heard: dict[str, list[Any]] = {}

    def listen(self, kind: type, topic: str, profile: QoSProfile = RELIABLE) -> list[Any]:
        if topic not in self.heard:
            self.heard[topic] = []
            self._subscriptions.append(self.node.create_subscription(kind, topic, self.heard[topic].append, profile))
        return self.heard[topic]

    def publisher(self, kind: type, topic: str, profile: QoSProfile = RELIABLE) -> Any:
        """A publisher that somebody already listens to."""
        key = (topic, kind)
        if key not in self._publishers:
            self._publishers[key] = self.node.create_publisher(kind, topic, profile)
        made = self._publishers[key]
        self.until(lambda: made.get_subscription_count() > 0, f"a listener on {topic}")
        return made

    def hears_all(self) -> bool:
        """Is there somebody behind everything that is listened to?"""
        return all(made.get_publisher_count() for made in self._subscriptions)

    def alone(self) -> bool:
        """Has everybody else left the graph?"""
        return not any(made.get_subscription_count() for made in self._publishers.values())

    def until(self, happened: Callable[[], Any], what: str, meanwhile: Callable[[], Any] | None = None) -> Any:
        """Spin until `happened` gives something true, and return that; `meanwhile` runs in every round."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if result := happened():
                return result
            if meanwhile is not None:
                meanwhile()
            self._executor.spin_once(timeout_sec=0.02)
        counts = {topic: len(messages) for topic, messages in self.heard.items()}
        raise AssertionError(f"waited in vain for {what}; heard {counts}")

    def spin(self, rounds: int) -> None:
        for _ in range(rounds):
            self._executor.spin_once(timeout_sec=0.02)

    def call(self, kind: type, name: str, request: Any) -> Any:
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
            self.until(self._clients[name].service_is_ready, f"service {name}")
            self.meet(name.rpartition("/")[0])
        client = self._clients[name]
        self.until(client.service_is_ready, f"service {name}")
        answer = client.call_async(request)
        self.until(answer.done, f"an answer of {name}")
        return answer.result()

    def meet(self, node: str) -> None:
        """Until a node knows everything that this peer has made so far."""
        acquaintance = Acquaintance(self.node, node)
        self.until(acquaintance.made, f"{node} to answer")
        acquaintance.destroy()

    def close(self) -> None:
        self._executor.remove_node(self.node)
        self.node.destroy_node()
        self._executor.shutdown()


class Camera:
    """Publishes a red and a blue square of 30 px on black that move to the right."""

    def __init__(self, peer: Peer, topic: str = "/image", frame_id: str = "camera_optical_frame") -> None:
        self._peer, self._topic, self._frame_id = peer, topic, frame_id
        self.profile = BEST_EFFORT  # as camera drivers publish; set before the first frame
        self.headers: dict[int, Header] = {}
        self.lefts: dict[int, int] = {}  # stamp -> where the red square begins, px
        self._count = 0

    def message(self, height: int = 120, width: int = 160) -> Image:
        self._count += 1
        # stamps have nothing to do with now, so that a re-stamped message cannot pass for a copied one
        nanoseconds = 1_234_567_890_123_456_789 + self._count * 33_333_333
        stamp = Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
        header = Header(stamp=stamp, frame_id=self._frame_id)
        self.headers[nanoseconds] = header
        picture = np.zeros((height, width, 3), np.uint8)
        self.lefts[nanoseconds] = left = 10 + self._count % 40
        picture[20:50, left : left + 30] = (255, 0, 0)
        picture[70:100, left + 40 : left + 70] = (0, 0, 255)
        data = array("B")
        data.frombytes(picture.tobytes())
        return Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data)

    def shoot(self, message: Image | None = None) -> Image:
        """Publish one frame (a good one unless given) and let a little time pass."""
        message = message or self.message()
        self._peer.publisher(Image, self._topic, self.profile).publish(message)
        self._peer.spin(1)
        time.sleep(0.02)
        return message


class DepthCamera(Camera):
    """The same pictures with depth: the squares are boxes of 0.1 m that stand on a table 1 m below."""

    def __init__(self, peer: Peer, late: int = 0, offset_ns: int = 0) -> None:
        super().__init__(peer)
        self.late, self.offset_ns = late, offset_ns
        self.spoil: Callable[[Image], Image] = lambda depth: depth
        self.packed: Callable[[Image], CompressedImage] | None = None  # sent instead, if given
        self._ready: list[Image] = []

    def shoot(self, message: Image | None = None) -> Image:
        picture = super().shoot(message)
        rgb = np.frombuffer(picture.data, np.uint8).reshape(picture.height, picture.width, 3)
        metres = np.where(rgb.any(axis=2), TOP_M, TABLE_M).astype(np.float32)
        stamp_ns = nanoseconds(picture.header.stamp) + self.offset_ns
        self._ready.append(self.spoil(depth_message(metres, stamp_ns)))
        info = CameraInfo(header=picture.header, height=120, width=160, distortion_model="plumb_bob")
        info.k = [FOCAL_PX, 0.0, 79.5, 0.0, FOCAL_PX, 59.5, 0.0, 0.0, 1.0]
        info.d = [0.0] * 5
        self._peer.publisher(CameraInfo, "/camera_info", BEST_EFFORT).publish(info)
        if len(self._ready) > self.late:
            depth = self._ready.pop(0)
            if self.packed is None:
                self._peer.publisher(Image, "/depth", BEST_EFFORT).publish(depth)
            else:
                publisher = self._peer.publisher(CompressedImage, "/depth/compressedDepth", BEST_EFFORT)
                publisher.publish(self.packed(depth))
        self._peer.spin(1)
        return picture


def depth_message(metres: np.ndarray, stamp_ns: int) -> Image:
    """Depth [H, W] m -> image with this stamp."""
    image = Image(height=metres.shape[0], width=metres.shape[1], encoding="32FC1", step=4 * metres.shape[1])
    image.header.stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    image.data = array("B")
    image.data.frombytes(np.ascontiguousarray(metres).tobytes())
    return image


class Operator:
    """Gives commands and listens to what comes of them."""

    def __init__(self, peer: Peer, camera: Camera, node: str = "/villa_node", name: str = "camera") -> None:
        self._peer, self._camera, self._node = peer, camera, node
        self.answers = peer.listen(Answer, f"{node}/answer")
        self.tracks = peer.listen(TrackedInstanceArray, f"{node}/{name}/tracks", BEST_EFFORT)
        self.tracklets = peer.listen(TrackletArray, f"{node}/{name}/tracklets")
        self.diagnostics = peer.listen(DiagnosticArray, "/diagnostics")
        # Last: discovery tells of subscriptions in order, so a node that is heard here knows of the others
        self.statuses = peer.listen(RequestStatus, f"{node}/status")
        self._heard_back = False

    def _find_node(self) -> None:
        """Stop requests that do not exist until the refusal is heard: discovery is then done both ways.

        Nothing a node says before that reaches a peer it does not know of yet.
        """
        if self._heard_back:
            return
        probes: list[str] = []
        publisher = self._peer.publisher(Command, f"{self._node}/command")

        def ask() -> None:
            probes.append(f"probe-{id(self)}-{len(probes)}")
            publisher.publish(Command(action=Command.STOP, request_id=probes[-1]))
            self._peer.spin(5)

        def refused() -> set[str]:
            return {status.request_id for status in self.statuses}

        self._peer.until(lambda: refused().intersection(probes), "the node to answer a probe", ask)
        # It hears us now, so the last one is answered, and nothing of these comes after that.
        self._peer.until(lambda: probes[-1] in refused(), "the other refusals")
        self._peer.until(self._peer.hears_all, "every topic of the node")
        self.statuses.clear()
        self._heard_back = True

    def final_answer(self, request_id: str) -> Answer:
        """The whole answer; topics keep no order among each other, so it may come after the state."""

        def found() -> Answer | None:
            mine = [answer for answer in self.answers if answer.request_id == request_id]
            return next((answer for answer in mine if answer.is_final), None)

        return self._peer.until(found, f"the answer to {request_id}", self._camera.shoot)

    def command(self, text: str, request_id: str, **fields: Any) -> None:
        self._find_node()
        fields.setdefault("action", Command.SEGMENT)
        fields.setdefault("track", True)
        message = Command(text=text, request_id=request_id, **fields)
        self._peer.publisher(Command, f"{self._node}/command").publish(message)

    def say(self, text: str) -> None:
        """Send plain text, as `ros2 topic pub` would."""
        self._find_node()
        self._peer.publisher(String, f"{self._node}/command_text").publish(String(data=text))

    def command_unheard(self, text: str, request_id: str) -> None:
        """Give a command while nobody listens."""
        self._peer._publishers[(f"{self._node}/command", Command)].publish(
            Command(action=Command.SEGMENT, text=text, request_id=request_id)
        )

    def states(self, request_id: str) -> list[int]:
        return [status.state for status in self.statuses if status.request_id == request_id]

    def reach(self, request_id: str, state: int) -> RequestStatus:
        """Keep the camera running until the request is in this state."""

        def found() -> RequestStatus | None:
            mine = [status for status in self.statuses if status.request_id == request_id]
            return next((status for status in mine if status.state == state), None)

        return self._peer.until(found, f"{request_id} to reach state {state}", self._camera.shoot)

    def tracks_of(self, request_id: str) -> list[TrackedInstanceArray]:
        return [
            message
            for message in self.tracks
            if any(instance.request_id == request_id for instance in message.instances)
        ]

    def diagnosed(self, name: str) -> dict[str, str]:
        """The newest values of the diagnostic line whose name ends so, with its level and message."""
        for message in reversed(self.diagnostics):
            for line in message.status:
                if line.name.endswith(name):
                    values = {item.key: item.value for item in line.values}
                    return {**values, "level": str(line.level[0]), "message": line.message}
        return {}

    def diagnosed_since(self, name: str) -> dict[str, str]:
        """The same, of what the node tells of itself from now on."""
        told = len(self.diagnostics)
        self._peer.until(lambda: len(self.diagnostics) >= told + 2 and self.diagnosed(name), f"diagnostics of {name}")
        return self.diagnosed(name)


class Lifecycle:
    """Drives the node's state machine by its services."""

    def __init__(self, peer: Peer, node: str = "/villa_node") -> None:
        self._peer, self._node = peer, node

    def change(self, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return self._peer.call(ChangeState, f"{self._node}/change_state", request).success

    def state(self) -> str:
        return self._peer.call(GetState, f"{self._node}/get_state", GetState.Request()).current_state.label
