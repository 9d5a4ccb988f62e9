"""Spinning goes on whatever a callback raises; only what is meant to end it does."""

from __future__ import annotations

import time

import pytest
import rclpy
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Int32

from villa_ros.runtime.ros_process import fast_executor, spin_while

DEPTH = 100


@pytest.fixture(params=[fast_executor, SingleThreadedExecutor], ids=["fast", "single"])
def plain(request):
    """A node that guards nothing, in an executor: what its callbacks raise comes out."""
    node, executor = rclpy.create_node("plain"), request.param()
    executor.add_node(node)
    yield node, executor
    executor.remove_node(node)
    executor.shutdown()
    node.destroy_node()


class Faults(list):
    """Remembers what was told; ends a test that would otherwise spin for ever."""

    def __init__(self):
        super().__init__()
        self._deadline = time.monotonic() + 60.0

    def __call__(self, name, error):
        self.append((name, str(error)))

    def until(self, happened):
        def goes_on():
            assert time.monotonic() < self._deadline, f"waited in vain; faults: {self[:3]} and so on"
            return not happened()

        return goes_on


def test_no_message_is_lost_beside_those_whose_callback_raises(plain):
    node, executor = plain
    seen, told = [], Faults()

    def odd_ones_raise(message):
        seen.append(message.data)
        if message.data % 2:
            raise RuntimeError(f"defect {message.data}")

    node.create_subscription(Int32, "numbers", odd_ones_raise, DEPTH)
    numbers = node.create_publisher(Int32, "numbers", DEPTH)
    spin_while(executor, told.until(lambda: numbers.get_subscription_count()), told)
    numbers.publish(Int32(data=0))
    spin_while(executor, told.until(lambda: seen), told)  # the executor knows of the subscription
    for number in range(1, 40):
        numbers.publish(Int32(data=number))
    spin_while(executor, told.until(lambda: len(seen) == 40), told)
    assert seen == list(range(40))
    assert told == [("executor", f"defect {number}") for number in range(1, 40, 2)]


def test_a_service_of_rclpy_that_raises_answers_the_next_request(plain):
    node, executor = plain
    node.declare_parameter("size", 1)
    told, client = Faults(), node.create_client(SetParameters, "/plain/set_parameters")
    spin_while(executor, told.until(client.service_is_ready), told)

    def ask(**value):
        return client.call_async(
            SetParameters.Request(parameters=[Parameter(name="size", value=ParameterValue(**value))])
        )

    known = ask(type=2, integer_value=4)  # once answered, the executor knows of the service and of the client
    spin_while(executor, told.until(known.done), told)
    lost = [ask(type=77) for _ in range(3)]
    good = ask(type=2, integer_value=5)
    spin_while(executor, told.until(good.done), told)
    assert good.result().results[0].successful
    assert len(told) == 3
    assert not any(future.done() for future in lost)  # which is why our nodes guard the callback itself


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit])
def test_what_asks_the_process_to_end_ends_it(plain, ends):
    node, executor = plain
    told = Faults()

    def end():
        raise ends

    node.create_timer(0.0, end)
    with pytest.raises(ends):
        spin_while(executor, told.until(lambda: False), told)
    assert not told


def test_a_context_that_is_shut_down_from_outside_ends_spinning_and_is_no_fault():
    context = Context()
    rclpy.init(context=context)
    node, executor = rclpy.create_node("other", context=context), SingleThreadedExecutor(context=context)
    executor.add_node(node)
    told = Faults()
    node.create_timer(0.0, context.shutdown)
    spin_while(executor, told.until(lambda: False), told)
    assert not told


def test_what_raises_each_time_is_not_tried_without_a_pause():
    class Broken:
        context = rclpy.get_default_context()
        rounds = 0

        def spin_once(self, timeout_sec):
            self.rounds += 1
            raise RuntimeError("each time")

    broken, told = Broken(), Faults()
    began_s = time.monotonic()
    spin_while(broken, told.until(lambda: broken.rounds == 20), told)
    assert told == [("executor", "each time")] * 20
    assert time.monotonic() - began_s > 0.15
