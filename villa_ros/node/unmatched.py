"""Why nothing of what publishes a topic reaches a subscription: another type, or another quality of service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible

from villa_ros.conversions.images import image_type
from villa_ros.runtime.process import PROFILE_VARIABLE

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.topic_endpoint_info import TopicEndpointInfo


def unmatched(node: Node, subscription: Any, transport: str = "") -> str:
    """What keeps every publisher of a subscription's topic from it, and what to do; empty where one fits or none is.

    `transport`: the parameter that says which type of image is subscribed to, if it is a topic of images.
    """
    topic = subscription.topic_name
    publishers: Sequence[TopicEndpointInfo] = node.get_publishers_info_by_topic(topic)
    if not publishers:
        return ""
    wanted = _type_name(subscription.msg_type)
    of_type = [one for one in publishers if one.topic_type == wanted]
    if not of_type:
        seen = publishers[0].topic_type
        other = image_type(seen)
        hint = "name a topic of that type"
        if other is not None and transport:
            hint = f"set {transport} to {other.transport}"
        return f"the type of {topic} is {seen}, the node reads {wanted}: {hint}"
    reasons = [_clash(one.qos_profile, subscription.qos_profile) for one in of_type]
    if not all(reasons):
        return ""
    return f"the publisher of {topic} is {reasons[0]}: change qos_overrides.{topic}.subscription, or the publisher"


def _type_name(kind: type) -> str:
    package, *_ = kind.__module__.split(".")
    return f"{package}/msg/{kind.__name__}"


def _clash(offered: QoSProfile, asked: QoSProfile) -> str:
    """In which way a publisher offers less than is asked for; empty where it does not."""
    verdict, reason = qos_check_compatible(offered, asked)
    if verdict != QoSCompatibility.ERROR:
        return ""
    if offered.reliability == ReliabilityPolicy.BEST_EFFORT and asked.reliability == ReliabilityPolicy.RELIABLE:
        return "best effort, and the node asks for reliable"
    if offered.durability == DurabilityPolicy.VOLATILE and asked.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        return "volatile, and the node asks for transient local"
    return f"of another quality of service than the node asks for ({reason.strip()})"


def lost_hint(middleware: str, profile: str) -> str:
    """Where a middleware loses images that were published, and what to do. `profile`: Fast DDS's, for drivers."""
    if "fastrtps" in middleware:
        return (
            "images are probably lost in Fast DDS's default shared memory: start the camera driver with "
            f"{PROFILE_VARIABLE}={profile}"
        )
    if "cyclonedds" in middleware:
        return (
            "images are probably lost in too small socket buffers: raise net.core.rmem_max to 2147483647 and Cyclone's "
            "SocketReceiveBufferSize to 10 MB"
        )
    if "zenoh" in middleware:
        return "images are probably lost on their way: check that rmw_zenohd runs and which link it uses"
    return f"images are probably lost in the middleware ({middleware}): raise its buffers, or send compressed images"
