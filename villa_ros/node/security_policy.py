"""An SROS2 policy with exactly what nodes use: they are made, and asked what they have put on the graph.

So the code that declares topics and services is the only list of them. The form is that of `ros2 security`, version
0.2.0: https://design.ros2.org/articles/ros2_access_control_policies.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from rclpy.node import Node

_PARTS = "/_action/"  # an action is made of services and topics of names that hold this


@dataclass(frozen=True)
class Profile:
    """What one node uses, by its full names, in the order of the alphabet."""

    namespace: str
    node: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    reply: tuple[str, ...]  # services that it has
    request: tuple[str, ...]  # services that it calls
    execute: tuple[str, ...]  # actions that it has
    call: tuple[str, ...]  # actions that it calls


def profile_of(node: Node) -> Profile:
    """What a node has put on the graph so far."""
    name, namespace = node.get_name(), node.get_namespace()

    def names(ask: Callable[[str, str], Iterable[tuple[str, Any]]]) -> list[str]:
        return sorted({topic for topic, _ in ask(name, namespace)})

    replies = names(node.get_service_names_and_types_by_node)
    requests = names(node.get_client_names_and_types_by_node)
    return Profile(
        namespace,
        name,
        _plain(names(node.get_publisher_names_and_types_by_node)),
        _plain(names(node.get_subscriber_names_and_types_by_node)),
        _plain(replies),
        _plain(requests),
        _actions(replies),
        _actions(requests),
    )


def watching(console: Profile, node: Profile) -> Profile:
    """A console with what it subscribes to once a node tells of its cameras: their images and their tracks."""
    tracks = {topic for topic in node.publish if topic.endswith("/tracks")}
    own = f"{node.namespace.rstrip('/')}/{node.node}/"
    images = {topic for topic in node.subscribe if not topic.startswith(own) and topic != "/clock"}
    return replace(console, subscribe=tuple(sorted({*console.subscribe, *tracks, *images})))


def policy(profiles: Iterable[Profile]) -> str:
    """The policy as XML, with an enclave for each node."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<policy version="0.2.0">', "  <enclaves>"]
    for profile in profiles:
        path = f"{profile.namespace.rstrip('/')}/{profile.node}"
        lines += [f"    <enclave path={quoteattr(path)}>", "      <profiles>"]
        lines.append(f"        <profile ns={quoteattr(profile.namespace)} node={quoteattr(profile.node)}>")
        for group, kind, right, names in (
            ("actions", "action", "call", profile.call),
            ("actions", "action", "execute", profile.execute),
            ("services", "service", "reply", profile.reply),
            ("services", "service", "request", profile.request),
            ("topics", "topic", "publish", profile.publish),
            ("topics", "topic", "subscribe", profile.subscribe),
        ):
            if names:
                lines.append(f'          <{group} {right}="ALLOW">')
                lines += [f"            <{kind}>{escape(name)}</{kind}>" for name in names]
                lines.append(f"          </{group}>")
        lines += ["        </profile>", "      </profiles>", "    </enclave>"]
    return "\n".join([*lines, "  </enclaves>", "</policy>", ""])


def _plain(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if _PARTS not in name)


def _actions(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name.partition(_PARTS)[0] for name in names if _PARTS in name}))
