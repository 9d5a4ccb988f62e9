"""What comes in from one camera: images, and calibration and depth where it has them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from villa_ros.conversions.events import rclpy_types
from villa_ros.conversions.images import BadImage, ImageType, stamp_of, type_by_transport
from villa_ros.node.diagnostics import CameraHealth
from villa_ros.node.unmatched import unmatched
from villa_ros.pipeline.unstamped import by_arrival
from villa_ros.runtime import qos
from villa_ros.runtime.message_loss import counting

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from villa_ros.node.depth_topics import DepthTopics
    from villa_ros.node.parameters import Parameters
    from villa_ros.pipeline.frame import Frame

PACKED_DEPTH = "/compressedDepth"  # the end of a topic's name, as image_transport gives it
LOG_PERIOD_S = 5.0  # one line per cause and period, however many images are bad


class CameraInputs:
    """Subscriptions of one camera. Callbacks check and hand over, nothing else.

    `chosen` gives the parameters in force, and `offer` takes a good frame.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera: str,
        chosen: Callable[[], Parameters],
        offer: Callable[[Frame], None],
        depth: DepthTopics,
        health: CameraHealth | None = None,
    ) -> None:
        """Subscribe. `health`: the counts of earlier, where the node was active before.

        Raises:
            ValueError: a topic name that is none.
        """
        self.enabled = True
        self._node = node
        self._camera = camera
        self._chosen = chosen
        self._offer = offer
        self._depth = depth
        self._subscriptions: list[Any] = []
        own = chosen().of_cameras[camera]
        topic = chosen().image_topic(camera)
        resolved = self._resolved(topic)
        self._unstamped = own.stamps == "arrival"
        self._reading = own.reading
        self.health = health or CameraHealth(resolved, stamped=not self._unstamped)
        image = type_by_transport(own.transport, resolved)
        frame_of_message = partial(image.reader(), tones=own.reading.tones)
        try:
            seen = counting(partial(self._on_image, frame_of_message), self.health.miss)
            self._listen(_class_of(image, camera), topic, seen)
            if own.depth_topic:
                self._listen(CameraInfo, own.camera_info_topic, self._on_info)
                packed = own.depth_topic.endswith(PACKED_DEPTH)
                self._listen(CompressedImage if packed else Image, own.depth_topic, self._on_depth)
        except Exception:
            self.close()
            raise

    def unmatched(self) -> list[str]:
        """Why what is published on these topics cannot come in, where it cannot."""
        transport = f"{self._camera}.transport"
        found = [
            unmatched(self._node, one, transport if row == 0 else "") for row, one in enumerate(self._subscriptions)
        ]
        return [why for why in found if why]

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _listen(self, kind: type, topic: str, callback: Callable[..., None]) -> None:
        self._resolved(topic)
        overridable = qos.overridable()
        self._subscriptions.append(
            self._node.create_subscription(kind, topic, callback, qos.images(), qos_overriding_options=overridable)
        )

    def _resolved(self, topic: str) -> str:
        try:
            return str(self._node.resolve_topic_name(topic))
        except Exception as error:  # several kinds, and not all of them name the topic
            raise ValueError(f"topic {topic!r} of camera {self._camera!r} is no topic name: {error}") from error

    def _on_image(self, convert: Callable[[Any, str, int], Frame], message: Any) -> None:
        arrival_ns = time.monotonic_ns()
        stamp_ns = stamp_of(message)
        self.health.arrived(arrival_ns / 1e9, stamp_ns)
        reason = self._ignored(stamp_ns)
        if reason:
            self.health.ignored[reason] += 1
            return
        try:
            frame = convert(message, self._camera, arrival_ns)
        except BadImage as error:
            self.health.bad_image(error.reason, str(error))
            self._warn(f"dropped an image of {self.health.topic}: {error}")
            return
        frame = by_arrival(frame) if self._unstamped else frame
        self._offer(self._reading.mounted(frame))

    def _ignored(self, stamp_ns: int) -> str:
        """Why an image is not even looked at; empty where it is."""
        if not self.enabled:
            return "disabled"
        chosen = self._chosen()
        if self._unstamped or not (chosen.stale_after_s or chosen.future_tolerance_s):
            return ""
        age_s = (self._node.get_clock().now().nanoseconds - stamp_ns) / 1e9
        if chosen.stale_after_s and age_s > chosen.stale_after_s:
            return "stale_stamp"
        if chosen.future_tolerance_s and -age_s > chosen.future_tolerance_s:
            return "future_stamp"
        return ""

    def _on_info(self, message: Any) -> None:
        wrong = self._depth.cameras[self._camera].calibration(message)
        if wrong:
            self._warn(f"calibration of camera {self._camera!r}: {wrong}")

    def _on_depth(self, message: Any) -> None:
        wrong = self._depth.depth(self._camera, message)
        if wrong:
            self._warn(f"dropped a depth image of camera {self._camera!r}: {wrong}")

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=LOG_PERIOD_S)


def _class_of(image: ImageType, camera: str) -> type:
    try:
        return rclpy_types().cls(image.name)
    except (ImportError, AttributeError) as error:
        package = image.name.partition("/")[0]
        raise ValueError(
            f"{camera}.transport is {image.transport}, and {package} is not installed ({error}): install it, or choose "
            "another transport"
        ) from error
