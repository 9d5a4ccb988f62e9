"""The node's outgoing topics: the pipeline's events become messages here."""

from __future__ import annotations

import time
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from rclpy.lifecycle import LifecyclePublisher
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from villa_msgs.msg import Answer, RequestStatus, TrackedInstanceArray, TrackletArray
from villa_ros.conversions.events import rclpy_types, to_message
from villa_ros.conversions.rclpy_arrays import journal_message
from villa_ros.node.depth_topics import DEPTH_TOPICS, DepthCamera, DepthTopics
from villa_ros.node.derived_topics import announced
from villa_ros.node.image_topics import IMAGE_TOPICS, ImageTopics
from villa_ros.pipeline.events import (
    AnswerEvent,
    Event,
    JournalEvent,
    StatusEvent,
    TrackletsEvent,
    TracksEvent,
)
from villa_ros.pipeline.request import RequestState
from villa_ros.runtime import qos

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from villa_ros.node.diagnostics import CommandHealth
    from villa_ros.node.parameters import Parameters
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.request import Request

_KNOWN_REQUESTS = 256  # kept until their journal entry is out


class Outputs:
    """Publishers of one configuration, and the sink of the pipeline's events. Callable from any thread."""

    def __init__(self, node: LifecycleNode, parameters: Parameters, commands: CommandHealth) -> None:
        """Announce the topics; those made before one fails are taken off the graph again."""
        self._node = node
        self._commands = commands
        self._types = rclpy_types()
        self._requests: OrderedDict[str, Request] = OrderedDict()
        self._publishers: list[LifecyclePublisher] = []
        self.overlay = parameters.overlay  # may change at any time
        try:
            self._announce(parameters)
        except Exception:
            self.destroy()
            raise

    def _announce(self, parameters: Parameters) -> None:
        reliable, cameras = parameters.tracks_reliable, parameters.cameras
        self._answer = self._publisher(Answer, "~/answer", qos.results())
        self._status = self._publisher(RequestStatus, "~/status", qos.results())
        self._journal = self._publisher(String, "~/journal", qos.journal())
        self._tracks = {
            camera: self._publisher(TrackedInstanceArray, f"~/{camera}/tracks", qos.tracks(reliable))
            for camera in cameras
        }
        self._tracklets = {
            camera: self._publisher(TrackletArray, f"~/{camera}/tracklets", qos.results()) for camera in cameras
        }
        logger = self._node.get_logger()
        images = {camera: announced(IMAGE_TOPICS, partial(self._derived, camera, reliable)) for camera in cameras}
        self.images = ImageTopics(images, logger, lambda: self.overlay)
        with_depth = {
            camera: DepthCamera(
                camera,
                announced(DEPTH_TOPICS, partial(self._derived, camera, reliable)),
                own.depth_slop_s,
                rectified=own.rectified,
                unit_m=own.depth_unit_m,
            )
            for camera, own in parameters.of_cameras.items()
            if own.depth_topic
        }
        self.depth = DepthTopics(with_depth, logger)

    def _derived(self, camera: str, reliable: bool, kind: type, name: str) -> LifecyclePublisher:
        return self._publisher(kind, f"~/{camera}/{name}", qos.tracks(reliable))

    def _publisher(self, kind: type, topic: str, profile: QoSProfile) -> LifecyclePublisher:
        made = self._node.create_lifecycle_publisher(kind, topic, profile, qos_overriding_options=qos.overridable())
        self._publishers.append(made)
        return made

    def start(self) -> None:
        """Begin to make derived topics for whoever subscribes."""
        self.images.start()
        self.depth.start()

    def stop(self) -> None:
        """Make no more derived topics."""
        self.images.close()
        self.depth.close()

    def destroy(self) -> None:
        """Take every topic off the graph."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()

    def frame(self, frame: Frame) -> None:
        """Remember a frame that an overlay may be drawn on."""
        self.images.frame(frame)

    def request(self, request: Request) -> None:
        """Remember a request until its journal entry, which carries it."""
        self._requests[request.request_id] = request
        if len(self._requests) > _KNOWN_REQUESTS:
            self._requests.popitem(last=False)

    def __call__(self, event: Event) -> None:
        """Publish one event."""
        if isinstance(event, TracksEvent):
            self._publish_tracks(event)
        elif isinstance(event, TrackletsEvent):
            self._tracklets[event.camera].publish(to_message(event, self._types))
        elif isinstance(event, AnswerEvent):
            self._answer.publish(to_message(event, self._types))
        elif isinstance(event, StatusEvent):
            self._publish_status(event)
        elif isinstance(event, JournalEvent):
            self._publish_journal(event)

    def _publish_tracks(self, event: TracksEvent) -> None:
        publisher = self._tracks[event.camera]
        if publisher.get_subscription_count():
            latency_ns = max(0, time.monotonic_ns() - event.arrival_ns)
            publisher.publish(to_message(event, self._types, latency_ns=latency_ns))
        self.images.tracks(event)
        self.depth.tracks(event)

    def _publish_status(self, event: StatusEvent) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        self._status.publish(to_message(event, self._types, stamp_ns=now_ns))
        if event.state is RequestState.REJECTED:
            self._commands.refuse(event.error_code.name.lower(), event.message)

    def _publish_journal(self, event: JournalEvent) -> None:
        request = self._requests.pop(event.request_id, None) if event.op == "submit" else None
        if self._journal.get_subscription_count():
            self._journal.publish(journal_message(event, request))
