"""Plays a bag over DDS at its real rate, as camera and operator would: `python -m villa_ros.bags.player BAG`.

Messages go out as the bytes that were recorded, so every header keeps its own stamp.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from villa_ros.bags.reader import COMMAND, IMAGES, Bag, BagError
from villa_ros.conversions.events import rclpy_types
from villa_ros.runtime.process import end_with_parent

EXIT_FAILURE = 1
EXIT_USAGE = 2
_CLOCK_PERIOD_S = 0.01


class PlayerError(RuntimeError):
    """The bag cannot be played: nobody listens, or a message type has no Python classes here."""


def schedule(
    messages: Iterator[tuple[str, str, int, bytes]],
    publish: Callable[[str, bytes], None],
    *,
    rate: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[int, float]:
    """Publish each message when its log time comes, `rate` times as fast as it was recorded.

    Returns:
        How many were published, and by how much the latest was late, in seconds.
    """
    count, latest_s = 0, 0.0
    began_s = first_ns = None
    for topic, _, log_ns, data in messages:
        if began_s is None or first_ns is None:
            began_s, first_ns = clock(), log_ns
        due_s = began_s + (log_ns - first_ns) / 1e9 / rate
        if (wait_s := due_s - clock()) > 0:
            sleep(wait_s)
        else:
            latest_s = max(latest_s, -wait_s)
        publish(topic, data)
        count += 1
    return count, latest_s


def play(
    bag_path: Path,
    topics: Mapping[str, str],
    *,
    rate: float,
    wait_s: float,
    settle_s: float,
    listeners: Mapping[str, int] | None = None,
    released: Callable[[], None] = lambda: None,
    also: Path | None = None,
    with_clock: bool = False,
) -> int:
    """Play these topics (name in the bag -> name to publish) to their subscribers; returns the message count.

    `also` is a second bag, played along by its log times: of a topic that both have, the first bag's is played.
    `with_clock` tells the bag's time on /clock.

    Waits until each of them has as many subscriptions as `listeners` says (published name -> count, else 1), so
    that the first frame is not spoken into the void, and then until `released` returns.

    Raises:
        BagError: a topic is missing, or the bag is damaged.
        PlayerError: too few subscriptions within `wait_s`.
    """
    import rclpy
    from rclpy.context import Context
    from rclpy.signals import SignalHandlerOptions

    with ExitStack() as stack:
        bags = [stack.enter_context(Bag(path)) for path in (bag_path, *([also] if also else []))]
        kinds: dict[str, str] = {}
        played: list[list[str]] = [[] for _ in bags]
        for topic in topics:
            holder = next((place for place, bag in enumerate(bags) if topic in bag.topics), None)
            if holder is None:
                raise BagError(f"topic {topic} is not in {bag_path}; it holds {', '.join(bags[0].topics)}")
            kinds[topic] = bags[holder].topics[topic]
            played[holder].append(topic)
        context = Context()
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("villa_player", context=context)
        try:
            publishers = {
                topic: node.create_publisher(message_class(kinds[topic]), name, _qos(kinds[topic]))
                for topic, name in topics.items()
            }
            wanted = {topic: (listeners or {}).get(name, 1) for topic, name in topics.items()}
            _wait_for_listeners(publishers, topics, wanted, wait_s)
            released()
            time.sleep(settle_s)  # discovery is not mutual at once: the listener may still be learning of us
            raw = [bag.raw(own) for bag, own in zip(bags, played, strict=True) if own]
            messages = heapq.merge(*raw, key=lambda message: message[2])
            with _told_time(node, rate) if with_clock else nullcontext(lambda now_ns: None) as tell:
                count, late_s = schedule(
                    _telling(messages, tell), lambda topic, data: publishers[topic].publish(data), rate=rate
                )
            for publisher in publishers.values():
                if publisher.qos_profile.reliability.name == "RELIABLE":
                    publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=2))
            sys.stdout.write(f"played {count} messages, at most {late_s * 1000:.0f} ms late\n")
            return count
        finally:
            node.destroy_node()
            context.try_shutdown()


def _telling(
    messages: Iterator[tuple[str, str, int, bytes]], tell: Callable[[int], None]
) -> Iterator[tuple[str, str, int, bytes]]:
    """The same messages; the time of each is told when the one before it is out."""
    for message in messages:
        tell(message[2])
        yield message


@contextmanager
def _told_time(node: Any, rate: float) -> Iterator[Callable[[int], None]]:
    """Publishes on /clock: while we wait for the next message, time goes on up to that one's."""
    from rclpy.qos import QoSProfile
    from rosgraph_msgs.msg import Clock

    publisher = node.create_publisher(Clock, "/clock", QoSProfile(depth=10))
    # One tuple, so that the thread sees old or new: (bag time, our time at which that was, bag time of what comes next)
    span = [(0, time.monotonic(), 0)]
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(_CLOCK_PERIOD_S):
            at_ns, since_s, until_ns = span[0]
            now_ns = min(at_ns + round((time.monotonic() - since_s) * rate * 1e9), until_ns)
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now_ns, 1_000_000_000)
            publisher.publish(message)

    def tell(next_ns: int) -> None:
        # the message before was due at the last `until`: from there time runs on
        span[0] = (span[0][2] or next_ns, time.monotonic(), next_ns)

    thread = threading.Thread(target=run, name="villa-clock", daemon=True)
    thread.start()
    try:
        yield tell
    finally:
        ended.set()
        thread.join()


def message_class(name: str) -> Any:
    """rclpy's class for "package/msg/Name".

    Raises:
        PlayerError: the package is not installed.
    """
    try:
        return rclpy_types().cls(name)
    except (ImportError, AttributeError) as error:
        raise PlayerError(f"no Python class for {name} ({error}); install the package {name.split('/')[0]}") from error


def _qos(kind: str) -> Any:
    """Images as a camera driver sends them, commands as an operator does; everything else reliable."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data

    from villa_ros.runtime import qos

    if kind in IMAGES:
        return qos_profile_sensor_data
    if kind == COMMAND:
        return qos.commands()
    return QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


def _wait_for_listeners(
    publishers: Mapping[str, Any], names: Mapping[str, str], wanted: Mapping[str, int], wait_s: float
) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        counts = {topic: out.get_subscription_count() for topic, out in publishers.items()}
        short = {topic: count for topic, count in counts.items() if count < wanted[topic]}
        if not short:
            return
        if time.monotonic() > deadline:
            told = ", ".join(
                f"{f'only {count}' if count else 'nobody'} subscribed to {names[topic]}"
                for topic, count in short.items()
            )
            raise PlayerError(
                f"{told} within {wait_s:g} s; is the node running in this ROS_DOMAIN_ID, and are the topics remapped?"
            )
        time.sleep(0.05)


def _wait_for_a_line() -> None:
    if not sys.stdin.readline():
        raise PlayerError("standard input ended before the line that lets the player begin")


def main(arguments: list[str] | None = None) -> int:
    """Command line of the player's own process."""
    end_with_parent()
    parser = argparse.ArgumentParser(prog="python -m villa_ros.bags.player", description=__doc__)
    parser.add_argument("bag", type=Path)
    parser.add_argument(
        "--topic",
        action="append",
        required=True,
        metavar="NAME[=NEW]",
        help="a topic to play, published under NEW if given; repeat for more",
    )
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--settle", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument(
        "--listeners",
        action="append",
        default=[],
        metavar="NEW=COUNT",
        help="subscriptions to wait for on a published topic, else 1; repeat for more",
    )
    parser.add_argument("--also", type=Path, metavar="BAG", help="a second bag, played along by its log times")
    parser.add_argument("--clock", action="store_true", help="tell the bag's time on /clock")
    parser.add_argument("--hold", action="store_true", help="begin when a line comes on standard input")
    given = parser.parse_args(arguments)
    topics = {}
    for entry in given.topic:
        old, _, new = entry.partition("=")
        topics[old] = new or old
    listeners = {}
    for entry in given.listeners:
        name, _, number = entry.partition("=")
        if not number.isdigit():
            parser.error(f"--listeners {entry}: wanted TOPIC=COUNT")
        listeners[name] = int(number)
    try:
        play(
            given.bag,
            topics,
            rate=given.rate,
            wait_s=given.wait,
            settle_s=given.settle,
            listeners=listeners,
            released=_wait_for_a_line if given.hold else lambda: None,
            also=given.also,
            with_clock=given.clock,
        )
    except (BagError, PlayerError) as error:
        sys.stderr.write(f"villa player: {error}\n")
        return EXIT_FAILURE
    return 0


if __name__ == "__main__":
    sys.exit(main())
