"""Commands that come faster than they are looked at: no stop is lost, nothing goes on after one, and losses are told.

The node is in this process and stands still while it is written to, so that all of a burst waits for it at once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import rclpy
from fake_node import load_blobs
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_graph import PATIENCE_S, Peer
from std_msgs.msg import String
from std_srvs.srv import Trigger

from villa_msgs.action import SegmentVideo
from villa_msgs.msg import Command, RequestStatus
from villa_ros.node.villa_node import VillaNode
from villa_ros.runtime import qos
from villa_ros.runtime.message_loss import counting
from villa_ros.runtime.ros_process import fast_executor

BURST = 300
EVERY_STATE = QoSProfile(depth=10 * qos.COMMANDS, reliability=ReliabilityPolicy.RELIABLE)
ENDED = (RequestStatus.CANCELED, RequestStatus.SUPERSEDED, RequestStatus.REJECTED)


class Still:
    """A node that does nothing until it is told to go on, and an operator beside it."""

    def __init__(self) -> None:
        self.node = VillaNode(load_blobs, parameter_overrides=[Parameter("autostart", value=False)])
        assert self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        self.operator = rclpy.create_node("operator")
        self.states: list[RequestStatus] = []
        heard = self.operator.create_subscription(RequestStatus, "/villa_node/status", self.states.append, EVERY_STATE)
        self._publishers: dict[str, Any] = {}
        self._executor = fast_executor()
        self._executor.add_node(self.node)
        self._executor.add_node(self.operator)
        self.until(heard.get_publisher_count, "the node's states")

    def until(self, happened: Callable[[], Any], what: str) -> None:
        """Let everybody go on until something has happened."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not happened():
            assert time.monotonic() < give_up_s, f"waited in vain for {what}; {Counter(self.last().values())}"
            self._executor.spin_once(timeout_sec=0.02)

    def publish(self, topic: str, *messages: Any) -> None:
        """Until the middleware of the node has them; it looks at none."""
        if topic not in self._publishers:
            made = self.operator.create_publisher(type(messages[0]), f"/villa_node/{topic}", qos.commands())
            self._publishers[topic] = made
            self.until(made.get_subscription_count, topic)
        for message in messages:
            self._publishers[topic].publish(message)
        assert self._publishers[topic].wait_for_all_acked(Duration(seconds=PATIENCE_S))

    def last(self) -> dict[str, int]:
        return {status.request_id: status.state for status in self.states}

    def ended(self, count: int) -> bool:
        last = self.last()
        return all(last.get(f"r{row}") in ENDED for row in range(count))

    def counted(self) -> Mapping[str, object]:
        return self.node._commands.report().values

    def active(self) -> int:
        return len(self.node._activity.worker.active)

    def close(self) -> None:
        self.node.close()
        for one in (self.operator, self.node):
            self._executor.remove_node(one)
            one.destroy_node()


@pytest.fixture
def still() -> Iterator[Still]:
    made = Still()
    yield made
    made.close()


def asked(count: int, prefix: str = "r") -> list[Command]:
    return [Command(action=Command.SEGMENT, request_id=f"{prefix}{row}", text="the red square") for row in range(count)]


def stop(request_id: str) -> Command:
    return Command(action=Command.STOP_ALL, request_id=request_id)


@pytest.mark.parametrize("way", ["topic", "service", "words", "command"])
def test_a_stop_behind_a_burst_ends_all_of_it(still: Still, way: str) -> None:
    still.publish("command", *asked(BURST))
    if way == "topic":
        still.publish("stop", stop("halt"))
    elif way == "command":
        still.publish("command", stop("halt"))
    elif way == "words":
        still.publish("command_text", String(data="Stop!"))
    else:
        client = still.operator.create_client(Trigger, "/villa_node/stop", qos_profile=qos.services())
        still.until(client.service_is_ready, "the service")
        answer = client.call_async(Trigger.Request())
        still.until(answer.done, "its answer")
        assert answer.result().success
    still.until(lambda: still.ended(BURST), "the end of all")
    assert not still.active()


def test_a_stop_is_carried_out_before_a_burst_that_waits_is_looked_at(still: Still) -> None:
    still.publish("command", *asked(BURST))
    still.publish("stop", stop("halt"))
    still.until(lambda: "halt" in still.last(), "the stop's state")
    looked_at = still.counted()["received"]
    assert looked_at == BURST + 1
    still.until(lambda: still.ended(BURST), "the end of all")


def test_commands_behind_a_stop_are_carried_out(still: Still) -> None:
    still.publish("command", *asked(20), stop("halt"), *asked(1, "after"))
    still.until(lambda: "after0" in still.last(), "the last command")
    assert still.last()["halt"] == RequestStatus.SUCCEEDED
    assert {still.last()[f"r{row}"] for row in range(20)} <= set(ENDED)
    assert still.active() == 1


def test_a_stop_of_a_request_that_was_not_looked_at_yet_ends_it(still: Still) -> None:
    still.publish("command", *asked(20))
    still.publish("stop", Command(action=Command.STOP, request_id="r19"))
    still.until(lambda: still.last().get("r19") in ENDED, "its end")
    told = [status for status in still.states if status.request_id == "r19"]
    assert not [status for status in told if status.error_code]
    assert told[-1].state == RequestStatus.CANCELED
    assert not still.active()


def test_requests_are_refused_on_the_topic_of_stops(still: Still) -> None:
    still.publish("stop", *asked(1))
    still.until(lambda: "r0" in still.last(), "the refusal")
    (told,) = [status for status in still.states if status.request_id == "r0"]
    assert told.error_code == RequestStatus.ERROR_UNKNOWN_ACTION
    assert "~/command" in told.message


def test_a_stop_of_one_request_leaves_the_others(still: Still) -> None:
    still.publish("command", Command(action=Command.SEGMENT, request_id="one", text="the red square"))
    still.until(lambda: "one" in still.last(), "the request")
    still.publish("stop", Command(action=Command.STOP, request_id="another"))
    still.until(lambda: "another" in still.last(), "the refusal")
    assert still.active() == 1
    still.publish("stop", Command(action=Command.STOP, request_id="one"))
    still.until(lambda: still.last()["one"] == RequestStatus.CANCELED, "its end")


def test_commands_that_the_middleware_lost_are_counted_and_told(still: Still) -> None:
    still.publish("command", *asked(1, "first"))
    still.until(lambda: "first0" in still.last(), "the first one")
    still.publish("command", *[stop("first0")] * (qos.COMMANDS + 500))
    still.until(lambda: still.counted()["received"] == qos.COMMANDS + 1, "what was kept")
    assert still.counted()["lost"] == 500
    assert "500 commands were lost" in still.node._commands.report().message


def test_of_a_hundred_goals_at_once_each_is_answered(still: Still) -> None:
    services = {f"{name}_service_qos_profile": qos.services() for name in ("goal", "result", "cancel")}
    client = ActionClient(still.operator, SegmentVideo, "/villa_node/segment_video", **services)
    still.until(client.server_is_ready, "the action server")
    goals = [client.send_goal_async(SegmentVideo.Goal(command=command)) for command in asked(100, "goal")]
    still.until(lambda: all(goal.done() for goal in goals), "an answer to every goal")
    results = [goal.result().get_result_async() for goal in goals]
    still.publish("stop", stop("halt"))
    still.until(lambda: all(result.done() for result in results), "every result")
    outcomes = Counter(result.result().result.outcome for result in results)
    assert set(outcomes) <= set(ENDED)
    client.destroy()


def test_a_publisher_that_is_met_late_lost_nothing(peer: Peer) -> None:
    """What it sent before is another's business; rclpy's own executors hand a message over otherwise."""
    lost: list[int] = []
    got: list[str] = []
    early = peer.node.create_publisher(String, "/loss", 10)
    for row in range(5):
        early.publish(String(data=str(row)))
    few = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    peer.node.create_subscription(String, "/loss", counting(lambda message: got.append(message.data), lost.append), few)
    peer.until(lambda: early.get_subscription_count(), "the subscription")
    early.publish(String(data="a"))
    peer.until(lambda: got == ["a"], "the message")
    assert lost == []
    for row in range(30):
        early.publish(String(data=str(row)))
    peer.until(lambda: len(got) == 11, "the kept ones")
    assert (got[-1], lost) == ("29", [20])
