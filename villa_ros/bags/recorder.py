"""Records topics of a live graph to MCAP: raw subscriptions, a queue, one writer thread."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from villa_ros.bags.player import message_class
from villa_ros.bags.writer import BagWriter

if TYPE_CHECKING:
    from rclpy.context import Context

_CLOSE_TIMEOUT_S = 10.0
_MOST_BYTES = 512 * 2**20  # that wait to be written


class RecorderError(RuntimeError):
    """What was received could not be written."""


class Recorder:
    """Subscribes to `topics` (name -> "package/msg/Name") and writes each message as received, with its time.

    Publishers may be best effort or reliable: subscriptions ask for best effort only where `best_effort`
    names the topic. Has its own node in the initialised rclpy `context` (None: the default one), executor and
    threads. Subscribes in the order of `topics`. Use it as a context manager.
    """

    def __init__(
        self,
        path: Path,
        topics: Mapping[str, str],
        best_effort: frozenset[str] = frozenset(),
        context: Context | None = None,
    ) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.latest: dict[str, bytes] = {}
        self._topics = topics
        self._best_effort = best_effort
        self._context = context
        self._subscriptions: dict[str, Any] = {}
        self._queue: queue.SimpleQueue[tuple[str, int, bytes] | None] = queue.SimpleQueue()
        self._held, self._counting = 0, threading.Lock()  # bytes that wait
        self._stop = threading.Event()
        self._error: BaseException | None = None

    def __enter__(self) -> Recorder:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy

        self._writer = BagWriter(self.path)
        self._writer.__enter__()
        self._node = rclpy.create_node("villa_recorder", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        for topic, kind in self._topics.items():
            reliable = topic not in self._best_effort
            policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            self._subscriptions[topic] = self._node.create_subscription(
                message_class(kind),
                topic,
                self._receive(topic),
                QoSProfile(depth=1000, reliability=policy),
                raw=True,
            )
        self._spinner = threading.Thread(target=self._spin, name="recorder-spin", daemon=True)
        self._scribe = threading.Thread(target=self._write, name="recorder-write", daemon=True)
        self._spinner.start()
        self._scribe.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._spinner.join(_CLOSE_TIMEOUT_S)
        self._executor.shutdown()
        self._node.destroy_node()
        self._queue.put(None)
        self._scribe.join(_CLOSE_TIMEOUT_S)
        failed = error or self._error
        self._writer.__exit__(type(failed) if failed else None, failed, None)
        if self._error and not error:
            raise RecorderError(f"recording to {self.path} failed: {self._error}") from self._error

    @property
    def file(self) -> Path:
        """The MCAP file, once recording has ended."""
        return self._writer.file

    def missing(self) -> set[str]:
        """The topics that are not received yet from anybody."""
        return {topic for topic, mine in self._subscriptions.items() if not self._sources(topic, mine)}

    def _sources(self, topic: str, subscription: Any) -> int:
        if hasattr(subscription, "get_publisher_count"):
            return int(subscription.get_publisher_count())
        return self._node.count_publishers(topic)  # before Kilted: seen in the graph, perhaps not yet matched

    def _receive(self, topic: str) -> Any:
        def callback(data: bytes) -> None:
            self.counts[topic] += 1
            self.latest[topic] = data
            with self._counting:
                self._held += len(data)
            if self._held > _MOST_BYTES and self._error is None:
                self._error = RecorderError(
                    f"the disk is slower than what comes in, {_MOST_BYTES >> 20} MiB wait: record fewer topics"
                )
            if self._error is None:
                self._queue.put((topic, time.time_ns(), data))

        return callback

    def _spin(self) -> None:
        from villa_ros.runtime.ros_process import spin_while

        spin_while(self._executor, lambda: not self._stop.is_set(), self._fault)

    def _fault(self, name: str, error: Exception) -> None:
        self._node.get_logger().error(f"{name}: {type(error).__name__}: {error}")

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            topic, log_ns, data = item
            if self._error is not None:
                continue  # keep the queue from growing; __exit__ reports
            with self._counting:
                self._held -= len(data)
            try:
                self._writer.write_raw(topic, self._topics[topic], log_ns, data)
            except Exception as error:  # a full disk, say; told when the recording is closed
                self._error = error
