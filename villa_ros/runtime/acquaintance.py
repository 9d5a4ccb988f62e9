"""Does another node know this one's end points?

That a service or topic is seen says nothing of the way back: an answer to a client that the other side does not know
yet is lost, though the request was carried out. Discovery tells of one node's end points in the order in which they
were made, so an answer to the client made last says that the others are known, too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rcl_interfaces.srv import GetParameters

if TYPE_CHECKING:
    from rclpy.node import Node

_AGAIN_S = 0.2


class Acquaintance:
    """Asks a node for no parameters until it answers. Make it after the end points that the node is to know."""

    def __init__(self, node: Node, other: str) -> None:
        self._node = node
        self._client = node.create_client(GetParameters, f"{other}/get_parameters")
        self._asked: list[Any] = []
        self._asked_s = float("-inf")
        self._known = False

    def made(self) -> bool:
        """Has it answered? To be called now and then; never blocks. A node that is gone is to be met again."""
        if not self._client.service_is_ready():
            self._forget()
            self._known = False
            self._asked_s = float("-inf")
        elif not self._known:
            self._known = any(answer.done() for answer in self._asked)
            if self._known:
                self._forget()
            elif time.monotonic() - self._asked_s >= _AGAIN_S:
                self._asked.append(self._client.call_async(GetParameters.Request()))
                self._asked_s = time.monotonic()
        return self._known

    def destroy(self) -> None:
        """Leave the graph."""
        self._node.destroy_client(self._client)

    def _forget(self) -> None:
        for answer in self._asked:
            self._client.remove_pending_request(answer)
        self._asked.clear()
