"""The process of a node: it runs until it is asked to end, and ends in order."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import rclpy
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions

from villa_ros.runtime.process import end_with_parent

SPIN_S = 0.1
_CANNOT_START = 2


class ClosableNode(Protocol):
    """An rclpy node that ends what it has begun."""

    def close(self) -> None:
        """End all work; the graph is still there."""

    def destroy_node(self) -> None:
        """As rclpy's."""


def spin(
    name: str,
    make_node: Callable[[], ClosableNode],
    cannot_start: tuple[type[Exception], ...],
    args: Sequence[str] | None = None,
) -> int:
    """Run a node until SIGINT or SIGTERM, close it; returns the exit code, 2 where `make_node` raises `cannot_start`.

    rclpy's own handlers would take the graph down first, and the last states could not be published any more.
    """
    end_with_parent()
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    asked = threading.Event()

    def ask(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process even while a model is loading

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    try:
        node = make_node()
    except cannot_start as error:
        print(f"{name}: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return _CANNOT_START
    executor = fast_executor()
    executor.add_node(node)
    try:
        # spin() and spin_once() without a timeout never deliver in some builds of the events executor
        while rclpy.ok() and not asked.is_set():
            executor.spin_once(timeout_sec=SPIN_S)
    finally:
        node.close()
        executor.remove_node(node)
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def fast_executor(context: Context | None = None) -> Any:
    """The events executor, several times faster than the others for images; else the single-threaded one."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:  # before Kilted
        from rclpy.executors import SingleThreadedExecutor

        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)
