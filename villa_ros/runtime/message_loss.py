"""What the middleware loses of a topic on its way, counted by the numbers that publishers give their messages.

A reader's queue drops the oldest message without a word when it is full, and a writer's does so too. Fast DDS reports
only some of this as an event; the gaps in the numbers show all of it.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_KNOWN_PUBLISHERS = 256  # one that is forgotten is met anew, without a loss


class MessageLoss:
    """Counts the gaps in the numbers of each publisher of one topic. In one thread."""

    def __init__(self, lost: Callable[[int], None]) -> None:
        """`lost` is told how many messages are missing before one that came."""
        self._lost = lost
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def came(self, info: Mapping[str, Any]) -> None:
        """Take note of a message by what rclpy tells of it; a middleware that gives no numbers shows no loss."""
        number = info.get("publication_sequence_number")
        publisher = info.get("publisher_gid")
        if not number or not publisher:
            return
        gid = publisher["data"]
        last = self._last.get(gid)
        if last is not None and number > last + 1:
            self._lost(number - last - 1)
        self._last[gid] = number
        self._last.move_to_end(gid)
        if len(self._last) > _KNOWN_PUBLISHERS:
            self._last.popitem(last=False)


def counting(callback: Callable[[Any], Any], lost: Callable[[int], None]) -> Callable[..., Any]:
    """A callback for a subscription, which calls `callback` with each message, and before it `lost` where some are."""
    loss = MessageLoss(lost)

    def arrived(*taken: Any) -> Any:
        # rclpy's events executor hands over one tuple (as of Kilted), its other executors two arguments
        message, info = taken[0] if len(taken) == 1 else taken
        loss.came(info)
        return callback(message)

    # by which rclpy decides what a callback gets
    arrived.__signature__ = inspect.signature(lambda message, info: None)  # type: ignore[attr-defined]
    return arrived


def take_waiting(subscription: Any, most: int) -> Iterator[tuple[Any, ...]]:
    """What waits in a subscription's queue, oldest first, at most so much: arguments for `subscription.callback`.

    In the executor's thread. An executor that is told of a message and finds it taken goes on with the next event.
    """
    for _ in range(most):
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
        if taken is None:
            return
        yield tuple(taken)
