"""One file of a bag: what it must be able to do, and what all kinds of files do alike.

A storage knows its channels and hands out serialized messages in the order of their log times. It asks nothing of a
channel that nobody reads: what is not ROS 2, or has a definition that makes no sense, is named where it is wanted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import zstandard

ZSTD = b"\x28\xb5\x2f\xfd"
_MOST_BYTES = 256 * 2**20  # of a message that was packed alone: a large cloud has 64 MiB
LATEST_NS = 2**63 - 1


class StorageError(RuntimeError):
    """A file that cannot be read; the message says what was seen and what to do."""


@dataclass(frozen=True)
class Channel:
    """One topic of one type in one file."""

    topic: str
    type: str  # "sensor_msgs/msg/Image"
    encoding: str  # of its messages: "cdr", or what is not ROS 2
    definition: tuple[str, str] | None  # "ros2msg" or "ros2idl", and the text with all that it needs; None: not stored
    count: int  # messages
    digest: str = ""  # RIHS01 hash of the definition, where the recorder knew it

    @property
    def described(self) -> str:
        """Type, and encoding where that is another one than ROS 2's."""
        return self.type if self.encoding == "cdr" else f"{self.type or 'no type'} as {self.encoding or 'bytes'}"


Stored = tuple[Channel, int, bytes]  # log time in ns, serialized message


class Storage(Protocol):
    """One open file."""

    start_ns: int  # of its first message by log time; after `end_ns` where there is none
    end_ns: int  # of its last one

    @property
    def channels(self) -> Sequence[Channel]:
        """All that it knows of, with messages or without."""

    @property
    def faults(self) -> Sequence[str]:
        """What of it cannot be read, in words."""

    def messages(self, wanted: Callable[[Channel], bool], start_ns: int, stop_ns: int) -> Iterator[Stored]:
        """Those of wanted channels with start_ns <= log time < stop_ns, in log order."""

    def close(self) -> None:
        """Give the file back."""


def unpacked(data: bytes) -> bytes:
    """A message, unpacked where each was packed alone. CDR begins with 0, so that the two cannot be confused.

    Raises:
        StorageError: it is damaged, or would be larger than any message.
    """
    if data[:4] != ZSTD:
        return data
    whole = bytearray()
    try:
        for piece in zstandard.ZstdDecompressor().read_to_iter(data):
            whole += piece
            if len(whole) > _MOST_BYTES:
                raise StorageError(f"a message of {len(data)} bytes is more than {_MOST_BYTES >> 20} MiB unpacked")
        promised = zstandard.frame_content_size(data)
    except zstandard.ZstdError as error:
        raise StorageError(f"a message cannot be unpacked: {error}") from error
    if promised not in (-1, len(whole)):  # it is cut short, of which the loop above says nothing
        raise StorageError(f"a message cannot be unpacked: {len(whole)} of {promised} bytes are there")
    return bytes(whole)


def in_order(parts: Sequence[Any], load: Callable[[Any], Iterator[tuple[int, Stored]]]) -> Iterator[Stored]:
    """Messages by log time of parts (each with `first_ns`) that lie in a file as they came.

    A message waits until no part that is still to come can hold an earlier one. `load` gives the messages of one part,
    each with its place in the file.
    """
    earliest = [LATEST_NS]
    for part in reversed(parts):
        earliest.append(min(earliest[-1], part.first_ns))
    earliest.reverse()
    waiting: list[tuple[int, int, Stored]] = []
    for part, later_ns in zip(parts, earliest[1:], strict=True):
        for place, stored in load(part):
            heapq.heappush(waiting, (stored[1], place, stored))
        while waiting and waiting[0][0] <= later_ns:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
