"""Bags written: raw messages, and the pipeline's events under the names that the node publishes them by."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rosbags.rosbag2 import StoragePlugin, Writer

from villa_ros.bags.reader import BagError
from villa_ros.bags.typestore import villa_typestore
from villa_ros.conversions.events import (
    MESSAGE_OF_EVENT,
    command_message,
    journal_line,
    rosbags_types,
    to_message,
)
from villa_ros.pipeline.events import (
    AnswerEvent,
    Event,
    JournalEvent,
    StatusEvent,
    TrackletsEvent,
    TracksEvent,
)

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

    from villa_ros.pipeline.request import Request

NODE = "/villa_node"
COMMAND_TOPIC = f"{NODE}/command"


class BagWriter:
    """A rosbag2 folder `path` with one MCAP file in it. It replaces an older folder once it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._store = villa_typestore()
        self._connections: dict[tuple[str, str], Connection] = {}

    def __enter__(self) -> BagWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._part, ignore_errors=True)
            # rosbags names the file after the folder, so the folder of that name goes inside
            self._writer = Writer(self._part / self.path.name, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except OSError as error:
            raise BagError(f"cannot write a bag at {self.path} ({error}); choose another --out") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
        except OSError as failed:
            shutil.rmtree(self._part, ignore_errors=True)
            if error is None:
                raise self._full(failed) from failed
            return
        if error is None:
            shutil.rmtree(self.path, ignore_errors=True)
            (self._part / self.path.name).rename(self.path)
        shutil.rmtree(self._part, ignore_errors=True)

    @property
    def file(self) -> Path:
        """The MCAP file, once the writer is closed."""
        return self.path / f"{self.path.name}.mcap"

    def write_raw(self, topic: str, msgtype: str, log_ns: int, data: bytes | memoryview) -> None:
        """Append one serialized message."""
        key = (topic, msgtype)
        if key not in self._connections:
            self._connections[key] = self._writer.add_connection(topic, msgtype, typestore=self._store)
        try:
            self._writer.write(self._connections[key], log_ns, data)
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> BagError:
        return BagError(f"cannot write the bag {self.path} ({error}): is the disk full? Choose another --out")

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """Append one message of the typestore's own classes."""
        msgtype = message.__msgtype__
        self.write_raw(topic, msgtype, log_ns, self._store.serialize_cdr(message, msgtype))


class EventBag:
    """Writes pipeline events to a bag under the names that the node publishes them by."""

    def __init__(self, writer: BagWriter) -> None:
        self._writer = writer
        self._types = rosbags_types(villa_typestore())
        self._requests: dict[str, Request] = {}

    def remember(self, request: Request) -> None:
        """Let the journal entry of this request carry it."""
        self._requests[request.request_id] = request

    def carried(self, event: Event) -> Request | None:
        """The request that this event carries: a journal entry of a submit does."""
        if isinstance(event, JournalEvent) and event.op == "submit":
            return self._requests.get(event.request_id)
        return None

    def command(self, request: Request, log_ns: int) -> None:
        """Record a command, and let its journal entry carry it."""
        self.remember(request)
        self._writer.write(COMMAND_TOPIC, log_ns, command_message(request, self._types))

    def event(self, event: Event, log_ns: int) -> None:
        """Record one event."""
        if isinstance(event, JournalEvent):
            line = journal_line(event, self.carried(event))
            message = self._types.cls(MESSAGE_OF_EVENT[JournalEvent])(data=line)
        else:
            message = to_message(event, self._types, stamp_ns=log_ns)
        self._writer.write(topic_of(event), log_ns, message)


def topic_of(event: Event) -> str:
    """Where the node publishes this event."""
    if isinstance(event, TracksEvent):
        return f"{NODE}/{event.camera}/tracks"
    if isinstance(event, TrackletsEvent):
        return f"{NODE}/{event.camera}/tracklets"
    if isinstance(event, AnswerEvent):
        return f"{NODE}/answer"
    return f"{NODE}/{'status' if isinstance(event, StatusEvent) else 'journal'}"
