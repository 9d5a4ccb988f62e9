"""Bags in SQLite, as rosbag2 has written them since its first version, also while a recorder still writes or crashed.

Schema: https://github.com/ros2/rosbag2/blob/rolling/rosbag2_storage_sqlite3 (topics, messages, message_definitions).
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from villa_ros.bags.storage import Channel, StorageError, Stored, unpacked

# SQLite cites the damaged text in its messages, and Python does not decode what is no UTF-8
_FAULTS = (sqlite3.Error, UnicodeDecodeError)
_SIDES = ("-wal", "-shm")  # of a file that is being written


class SqliteStorage:
    """One .db3 file.

    Raises:
        StorageError: it is no bag, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[str] = []
        self._stack = ExitStack()
        try:
            self._base = self._connected()
            self._by_id = self._channels()
            self.channels = list(self._by_id.values())
            first, last = self._base.execute("SELECT min(timestamp), max(timestamp) FROM messages").fetchone()
            for time in (first, last):  # text sorts behind numbers, and no column need be of its type
                if not isinstance(time, int | None):
                    raise StorageError(_damaged(path, f"a message has the time {time!r}"))
        except _FAULTS as error:
            self._stack.close()
            raise StorageError(_damaged(path, error)) from error
        except BaseException:
            self._stack.close()
            raise
        self.start_ns: int = 0 if first is None else first
        self.end_ns: int = -1 if last is None else last

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def messages(self, wanted: Callable[[Channel], bool], start_ns: int, stop_ns: int) -> Iterator[Stored]:
        """As `Storage.messages`.

        Raises:
            StorageError: the file is damaged at this place.
        """
        ids = [number for number, channel in self._by_id.items() if wanted(channel)]
        if not ids:
            return
        marks = ", ".join("?" * len(ids))
        query = (
            f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) "
            "AND timestamp >= ? AND timestamp < ? ORDER BY timestamp, id"
        )
        try:
            for number, log_ns, data in self._base.execute(query, (*ids, start_ns, stop_ns)):
                if not isinstance(data, bytes):
                    raise StorageError(_damaged(self.path, f"a message is {type(data).__name__}, no bytes"))
                yield self._by_id[number], int(log_ns), unpacked(data)
        except _FAULTS as error:
            raise StorageError(_damaged(self.path, error)) from error

    def _connected(self) -> sqlite3.Connection:
        """The database with what is still in its write-ahead log.

        SQLite makes a file beside it to read that: where it may not, it reads a copy.
        """
        try:
            return self._opened(self.path)
        except sqlite3.OperationalError:
            log = self.path.with_name(self.path.name + _SIDES[0])
            if not log.exists():
                raise
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="villa_bag_")))
        for side in ("", _SIDES[0]):
            shutil.copy(self.path.with_name(self.path.name + side), folder)
        return self._opened(folder / self.path.name)

    def _opened(self, path: Path) -> sqlite3.Connection:
        base = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, check_same_thread=False)
        try:
            base.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except _FAULTS:
            base.close()
            raise
        self._stack.callback(base.close)
        return base

    def _channels(self) -> dict[int, Channel]:
        columns = {row[1] for row in self._base.execute("PRAGMA table_info(topics)")}
        if not {"id", "name", "type", "serialization_format"} <= columns:
            raise StorageError(
                f"{self.path} is an SQLite database without the tables of a bag; give an .mcap or .db3 file"
            )
        digest = "type_description_hash" if "type_description_hash" in columns else "''"
        counts = dict(self._base.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"))
        definitions = {}
        if self._base.execute("PRAGMA table_info(message_definitions)").fetchone():
            told = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            definitions = {kind: (encoding, text) for kind, encoding, text in self._base.execute(told) if text}
        channels = {}
        told = f"SELECT id, name, type, serialization_format, {digest} FROM topics"
        for number, name, kind, encoding, hashed in self._base.execute(told):
            if not all(isinstance(text, str) for text in (name, kind, encoding)):
                raise StorageError(_damaged(self.path, f"a topic is named {name!r}, of type {kind!r}"))
            channels[number] = Channel(name, kind, encoding, definitions.get(kind), counts.get(number, 0), hashed or "")
        return channels


def _damaged(path: Path, error: Exception | str) -> str:
    return (
        f"{path} cannot be read ({error}); it is damaged or was cut short. "
        f"It may be repaired with: sqlite3 {path.name} .recover, its folder with: ros2 bag reindex"
    )
