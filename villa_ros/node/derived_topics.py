"""Topics that are made of a camera's tracks while somebody subscribes: one entry in a table for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from villa_ros.runtime.optional_packages import installed

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecyclePublisher

Source = TypeVar("Source")


@dataclass(frozen=True)
class DerivedTopic(Generic[Source]):
    """`~/<camera>/NAME`.

    `message` is the type, or "PACKAGE.msg/TYPE" of a package that may be missing: the topic is then not announced.
    `make` gives the message of one frame, or None where nothing is to be published. `drawn`: it needs the frame's
    picture, which is kept only while somebody subscribes.
    """

    name: str
    message: type | str
    make: Callable[[Source], Any]
    drawn: bool = False

    @property
    def type(self) -> type | None:
        """The message type; None where its package is missing."""
        if not isinstance(self.message, str):
            return self.message
        package, _, name = self.message.rpartition("/")
        found = installed(package)
        return None if found is None else getattr(found, name)


def announced(
    topics: Iterable[DerivedTopic[Source]], publisher: Callable[[type, str], LifecyclePublisher]
) -> dict[str, LifecyclePublisher]:
    """Publishers of the topics whose types are here, by name."""
    return {topic.name: publisher(kind, topic.name) for topic in topics if (kind := topic.type) is not None}


def subscribed(publishers: Mapping[str, Any], name: str) -> bool:
    """Does somebody listen to a topic that is announced?"""
    return name in publishers and publishers[name].get_subscription_count() > 0


def listened_to(publishers: Mapping[str, Any]) -> bool:
    """Does somebody listen to any of them?"""
    return any(subscribed(publishers, name) for name in publishers)


def publish(topics: Iterable[DerivedTopic[Source]], publishers: Mapping[str, Any], source: Source) -> None:
    """Make and publish what somebody listens to."""
    for topic in topics:
        if subscribed(publishers, topic.name):
            message = topic.make(source)
            if message is not None:
                publishers[topic.name].publish(message)
