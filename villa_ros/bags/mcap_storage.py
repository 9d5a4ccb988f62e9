"""MCAP files, with an index or without, whole or cut off. Records are read by the `mcap` package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import lz4.frame
import zstandard
from mcap.reader import SeekingReader
from mcap.records import Channel as McapChannel
from mcap.records import Chunk, Footer, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.summary import Summary

from villa_ros.bags.storage import Channel, StorageError, Stored, in_order, unpacked

_LARGEST_RECORD = 2 * 2**30  # bytes; what is longer is damaged
_LARGEST_CHUNK = 512 * 2**20  # bytes, unpacked: rosbag2 begins a new one after 0.75 MB, others after 4


@dataclass(frozen=True)
class _Part:
    """A chunk, or messages that lie in no chunk."""

    offset: int  # bytes in the file, of its record
    first_ns: int
    last_ns: int
    channels: frozenset[int] = frozenset()  # of its messages; empty: not known


class McapStorage:
    """One MCAP file.

    Raises:
        StorageError: not even its beginning can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[str] = []
        self._file: BinaryIO = path.open("rb")
        self._schemas: dict[int, Schema] = {}
        self._known: dict[int, McapChannel] = {}
        self._parts: list[_Part] = []
        self._counts: Counter[int] = Counter()
        self.start_ns, self.end_ns = 0, -1
        try:
            summary = self._summary()
            if summary is None:
                self._scan()
            else:
                self._take(summary)
        except BaseException:
            self._file.close()
            raise
        self._by_id = {number: self._channel(channel) for number, channel in self._known.items()}
        self.channels = list(self._by_id.values())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(self, wanted: Callable[[Channel], bool], start_ns: int, stop_ns: int) -> Iterator[Stored]:
        """As `Storage.messages`.

        Raises:
            StorageError: the file is damaged at this place.
        """
        ids = {number for number, channel in self._by_id.items() if wanted(channel)}
        if not ids:
            return
        parts = [
            part
            for part in self._parts
            if part.first_ns < stop_ns and part.last_ns >= start_ns and (not part.channels or part.channels & ids)
        ]
        for stored in in_order(parts, lambda part: self._of_part(part, ids)):
            if start_ns <= stored[1] < stop_ns:
                yield stored

    def _summary(self) -> Summary | None:
        """What the end of the file says of it; None where that does not say enough to find every message."""
        try:
            self._file.seek(0)
            summary = SeekingReader(self._file, record_size_limit=_LARGEST_RECORD).get_summary()
        except Exception:  # its parsers meet any error in damaged bytes
            return None
        if summary is None or summary.statistics is None or not summary.chunk_indexes:
            return None
        statistics = summary.statistics
        named = set(statistics.channel_message_counts) <= set(summary.channels)
        schemas = {channel.schema_id for channel in summary.channels.values()} - {0}
        whole = statistics.chunk_count == len(summary.chunk_indexes)
        return summary if named and whole and schemas <= set(summary.schemas) else None

    def _take(self, summary: Summary) -> None:
        statistics = summary.statistics
        assert statistics is not None
        self._schemas, self._known = summary.schemas, summary.channels
        self._counts.update(statistics.channel_message_counts)
        self._parts = [
            _Part(
                index.chunk_start_offset,
                index.message_start_time,
                index.message_end_time,
                frozenset(index.message_index_offsets),
            )
            for index in sorted(summary.chunk_indexes, key=lambda index: index.chunk_start_offset)
        ]
        if statistics.message_count:
            self.start_ns, self.end_ns = statistics.message_start_time, statistics.message_end_time

    def _scan(self) -> None:
        """Read it once from the beginning, as far as that goes."""
        size = self.path.stat().st_size
        self._file.seek(0)
        reader = StreamReader(self._file, emit_chunks=True, record_size_limit=_LARGEST_RECORD)
        at, seen, ended = 0, 0, False
        try:
            for record in reader.records:
                for inner in _unpacked_chunk(record) if isinstance(record, Chunk) else (record,):
                    self._note(inner, at)
                ended = ended or isinstance(record, Footer)
                seen += 1
                at = self._file.tell()
        except Exception as error:
            if not seen:
                raise StorageError(_damaged(self.path, error)) from error
            if not ended:
                why = f" ({error})" if isinstance(error, _TooLargeError) else ""
                self.faults.append(
                    f"{self.path.name} is damaged or was cut off after {at} of {size} bytes{why}: the "
                    f"{sum(self._counts.values())} messages before that are read; try: mcap recover {self.path.name}"
                )
        if not seen:
            raise StorageError(f"{self.path} holds nothing but the beginning of an MCAP file; try: mcap recover")

    def _note(self, record: McapRecord, offset: int) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, McapChannel):
            self._known[record.id] = record
        elif isinstance(record, Message):
            time = record.log_time
            self._counts[record.channel_id] += 1
            self.start_ns = time if self.end_ns < self.start_ns else min(self.start_ns, time)
            self.end_ns = max(self.end_ns, time)
            if self._parts and self._parts[-1].offset == offset:
                part = self._parts[-1]
                self._parts[-1] = _Part(offset, min(part.first_ns, time), max(part.last_ns, time))
            else:
                self._parts.append(_Part(offset, time, time))

    def _of_part(self, part: _Part, ids: set[int]) -> Iterator[tuple[int, Stored]]:
        try:
            self._file.seek(part.offset)
            reader = StreamReader(self._file, skip_magic=True, emit_chunks=True, record_size_limit=_LARGEST_RECORD)
            record = next(iter(reader.records))
            records = _unpacked_chunk(record) if isinstance(record, Chunk) else [record]
        except Exception as error:
            raise StorageError(_damaged(self.path, error)) from error
        for place, message in enumerate(records):
            if isinstance(message, Message) and message.channel_id in ids:
                stored = (self._by_id[message.channel_id], message.log_time, unpacked(message.data))
                yield (part.offset << 20) + place, stored

    def _channel(self, channel: McapChannel) -> Channel:
        schema = self._schemas.get(channel.schema_id)
        definition = None
        if schema is not None and schema.encoding in ("ros2msg", "ros2idl"):
            definition = schema.encoding, schema.data.decode("utf-8", "replace")
        name = schema.name if schema is not None else ""
        return Channel(channel.topic, name, channel.message_encoding, definition, self._counts[channel.id])


class _TooLargeError(ValueError):
    """Nobody writes a chunk like this one."""


def _unpacked_chunk(chunk: Chunk) -> list[McapRecord]:
    """Its records. How large it will be is looked at first: 20 kB may promise gigabytes.

    Raises:
        _TooLargeError: it would be larger than any chunk.
    """
    size = chunk.uncompressed_size
    if chunk.compression == "zstd":  # the frame's own word counts for the decoder, where it says one
        size = max(size, zstandard.frame_content_size(chunk.data))
    elif chunk.compression == "lz4":
        size = max(size, int(lz4.frame.get_frame_info(chunk.data)["content_size"]))
    if size > _LARGEST_CHUNK:
        raise _TooLargeError(f"a chunk of {len(chunk.data)} bytes is more than {_LARGEST_CHUNK >> 20} MiB unpacked")
    return breakup_chunk(chunk)


def _damaged(path: Path, error: Exception) -> str:
    """What to say of a file that ends or errs where it should not."""
    seen = " ".join(str(error).split()) or type(error).__name__
    return f"{path} cannot be read ({seen}); it is damaged or was cut short. It may be repaired with: mcap recover"
