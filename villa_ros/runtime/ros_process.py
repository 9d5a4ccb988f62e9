"""The process of a node: it runs until it is asked to end, and ends in order."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import rclpy
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions

from villa_ros.runtime.process import end_with_parent

SPIN_S = 0.1
_AFTER_FAULT_S = 0.01  # what raises at once, each time, must not take a whole core
_CANNOT_START = 2


class ClosableNode(Protocol):
    """An rclpy node that ends what it has begun."""

    def fault(self, name: str, error: Exception) -> None:
        """Report what a callback raised; called while `error` is handled."""

    def close(self) -> bool:
        """End all work; the graph is still there. False: a thread is still in a call that nobody can end."""

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
    ended = False
    try:
        spin_while(executor, lambda: not asked.is_set(), node.fault)
    finally:
        ended = node.close()
        executor.remove_node(node)
        node.destroy_node()
        rclpy.try_shutdown()
    if not ended:  # an interpreter that ends while a thread computes is aborted by it, with exit code -6
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def spin_while(executor: Any, goes_on: Callable[[], bool], fault: Callable[[str, Exception], None]) -> None:
    """Spin while `goes_on` says so and the executor's context is not shut down.

    What comes out of the executor goes to `fault` under the name "executor", and spinning goes on with the next event.
    What is no Exception (KeyboardInterrupt, SystemExit) ends it. Guard the callbacks as well (`guarded_callbacks`): who
    calls a service that raises is never answered, and the events executor forgets what else waited for that callback
    before it knew of it.
    """
    while goes_on() and executor.context.ok():
        _spin_once(executor, fault)


def _spin_once(executor: Any, fault: Callable[[str, Exception], None]) -> None:
    try:
        # spin() and spin_once() without a timeout never deliver in some builds of the events executor
        executor.spin_once(timeout_sec=SPIN_S)
    except Exception as error:
        if executor.context.ok():  # else it is how an executor says that the context is gone, in one of several ways
            fault("executor", error)
            time.sleep(_AFTER_FAULT_S)


def fast_executor(context: Context | None = None) -> Any:
    """The events executor, several times faster than the others for images; else the single-threaded one."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:  # before Kilted
        from rclpy.executors import SingleThreadedExecutor

        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)
