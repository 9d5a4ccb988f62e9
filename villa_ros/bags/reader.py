"""Bags in: MCAP or SQLite, a file or a rosbag2 folder, packed or not, read without ROS.

Whatever is wrong with a bag comes out as one `BagError` that says what was seen and what to do.
"""

from __future__ import annotations

import heapq
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from villa_ros.bags.definitions import DefinitionError, Definitions
from villa_ros.bags.storage import Channel, StorageError
from villa_ros.bags.storages import Storages
from villa_ros.conversions.events import nanoseconds, request_from_message
from villa_ros.conversions.images import IMAGE_TYPES, BadImage, ImageType, image_type
from villa_ros.pipeline.image_reading import ImageReading
from villa_ros.pipeline.stamp_filter import StampFilter
from villa_ros.pipeline.unstamped import timed

if TYPE_CHECKING:
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.request import Request

IMAGES = tuple(one.name for one in IMAGE_TYPES)  # message types
COMMAND = "villa_msgs/msg/Command"
_STOPS = "/stop"  # the end of the topic on which a node takes its stops

# Messages are stored as they arrived, which over a network is not quite the order of their stamps.
_REORDER_FRAMES = 16
_LARGEST_TIME_NS = 2**63 - 1


class BagError(RuntimeError):
    """A bag that cannot be used, or does not hold what was asked of it."""


@dataclass(frozen=True)
class Recorded:
    """One message of a bag and when the recorder received it."""

    topic: str
    log_ns: int
    message: Any


class Bag:
    """An open bag. Use it as a context manager.

    Raises:
        BagError: nothing there, no bag, damaged, or of a version or compression that cannot be read.
    """

    def __init__(self, path: Path, reading: ImageReading | None = None) -> None:
        """`reading`: what the images of its cameras do not say of themselves."""
        self.path = path
        self.reading = reading or ImageReading()
        self.bad_images: Counter[str] = Counter()  # why frames were left out, over all calls of `frames`
        self._storages = Storages(path)
        self._unstamped: dict[str, str] = {}  # topics, and what to say of them
        self._definitions = Definitions()
        self._by_type: dict[tuple[str, str], Channel] = {}  # those that can be read, by topic and type

    def __enter__(self) -> Bag:
        try:
            self._storages.__enter__()
        except StorageError as error:
            raise BagError(str(error)) from error
        self._by_type = {(one.topic, one.type): one for one in self._storages.channels if one.encoding == "cdr"}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._storages.__exit__()

    @property
    def faults(self) -> Sequence[str]:
        """What of the bag cannot be read, or not as it should be, in words; the rest of it is read."""
        return [*self._storages.faults, *self._unstamped.values()]

    @property
    def topics(self) -> dict[str, str]:
        """Name -> message type of every topic that holds a message, with its encoding where that is not ROS 2's."""
        types: dict[str, set[str]] = {}
        for channel in self._storages.channels:
            if channel.count:
                types.setdefault(channel.topic, set()).add(channel.described)
        return {name: kinds.pop() if len(kinds) == 1 else "several types" for name, kinds in sorted(types.items())}

    @property
    def start_ns(self) -> int:
        """When the first message was received."""
        return self._storages.start_ns

    @property
    def duration_s(self) -> float:
        """From the first message to the last."""
        return (self._storages.end_ns - self._storages.start_ns) / 1e9

    def count(self, topic: str) -> int:
        """How many messages the topic holds; 0 if it is not there."""
        return sum(channel.count for channel in self._storages.channels if channel.topic == topic)

    def topics_of(self, *types: str) -> list[str]:
        """The topics of these message types, in alphabetical order."""
        return [name for name, kind in self.topics.items() if kind in types]

    def choose_topic(self, wanted: str | None, types: Sequence[str], what: str, option: str) -> str:
        """The topic asked for, or the only one of these types.

        Raises:
            BagError: it is not there, is of another type, or several would do and none was named; the message
                lists what the bag holds.
        """
        found = self.topics_of(*types)
        if wanted is not None:
            if wanted in found:
                return wanted
            seen = f"is {self.topics[wanted]}" if wanted in self.topics else "is not in the bag"
            raise BagError(f"topic {wanted} {seen}; {self._holding(found, what, types)}")
        if len(found) == 1:
            return found[0]
        if found:
            raise BagError(f"{self.path} holds several {what} topics; choose one with {option}: {', '.join(found)}")
        raise BagError(f"{self.path}: {self._holding(found, what, types)}")

    def colour_topics(self) -> list[str]:
        """The image topics that are no depth by their names, without compressed twins of raw ones."""
        found = [name for name in self.topics_of(*IMAGES) if not any(part in name for part in ("depth", "Depth"))]
        return [name for name in found if name.rpartition("/")[0] not in found]

    def choose_image_topic(self, wanted: str | None = None) -> str:
        """The image topic to use; no depth, and a raw topic rather than the compressed twin under its name.

        Raises:
            BagError: as `choose_topic`.
        """
        colour = self.colour_topics()
        if wanted is None and len(colour) == 1:
            return colour[0]
        return self.choose_topic(wanted, IMAGES, "image", "--camera-topic")

    def choose_command_topic(self, wanted: str | None, option: str) -> str:
        """The topic of commands to use; a node's topic of stops goes with that of its commands (`commands`).

        Raises:
            BagError: as `choose_topic`.
        """
        commands = self.topics_of(COMMAND)
        asking = [name for name in commands if not (name.endswith(_STOPS) and _beside(name, "command") in commands)]
        if wanted is None and len(asking) == 1:
            return asking[0]
        return self.choose_topic(wanted, (COMMAND,), "command", option)

    def _holding(self, found: Sequence[str], what: str, types: Sequence[str]) -> str:
        lost = "".join(f"; {fault}" for fault in self.faults)
        if found:
            return f"its {what} topics are {', '.join(found)}{lost}"
        listed = ", ".join(f"{name} ({kind})" for name, kind in self.topics.items()) or "nothing"
        return f"no {what} topic ({' or '.join(types)}) in the bag; it holds {listed}{lost}"

    def raw(
        self, topics: Sequence[str] = (), span_ns: tuple[int, int] | None = None
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """(topic, message type, log time in ns, serialized bytes) in log order, of these topics or of all.

        `span_ns` are the first log time that is wanted and the first that is not; an index is used where there is one.

        Raises:
            BagError: the file is damaged at this place.
        """
        asked = set(topics)

        def wanted(channel: Channel) -> bool:
            return channel.encoding == "cdr" and (not asked or channel.topic in asked)

        try:
            for channel, log_ns, data in self._storages.messages(wanted, *(span_ns or ())):
                yield channel.topic, channel.type, log_ns, data
        except StorageError as error:
            raise BagError(str(error)) from error

    def messages(self, topics: Sequence[str] = (), span_ns: tuple[int, int] | None = None) -> Iterator[Recorded]:
        """The messages of these topics, or of all, in log order; see `raw` for `span_ns`.

        Raises:
            BagError: the file is damaged, or a message's type is defined neither in the bag nor here.
        """
        for topic, msgtype, log_ns, data in self.raw(topics, span_ns):
            yield Recorded(topic, log_ns, self.deserialize(topic, msgtype, data))

    def deserialize(self, topic: str, msgtype: str, data: bytes) -> Any:
        """Serialized bytes of this bag -> message.

        Raises:
            BagError: unknown type, or bytes that are no such message.
        """
        try:
            return self._definitions.of(self._by_type[topic, msgtype]).deserialize_cdr(data, msgtype)
        except DefinitionError as error:
            raise BagError(f"topic {topic} holds {msgtype}, {error}") from error
        except Exception as error:  # generated code meets any error in damaged bytes
            raise BagError(f"topic {topic} holds a message that is no {msgtype} ({error}); record it again") from error

    def frames(
        self,
        topic: str,
        camera: str,
        on_bad: Callable[[int, BadImage], None] | None = None,
        span_ns: tuple[int, int] | None = None,
        beside: Mapping[str, Callable[[Any], None]] | None = None,
    ) -> Iterator[Frame]:
        """The usable images of an image topic in the order of their stamps; see `raw` for `span_ns`.

        A bad image is left out, counted in `bad_images` and told to `on_bad` together with its log time. Messages of
        the topics in `beside` are handed over as they are met, in the same reading.

        Raises:
            BagError: the file is damaged, or not an image topic.
        """
        kind = image_type(self.topics.get(topic))
        if kind is None:
            raise BagError(f"topic {topic} is {self.topics.get(topic, 'not in the bag')}; wanted {' or '.join(IMAGES)}")
        waiting: list[tuple[int, int, Frame]] = []
        followed = self._followed(kind, topic, camera, on_bad, span_ns, beside or {})
        for place, frame in enumerate(followed):
            heapq.heappush(waiting, (frame.header.time_ns, place, frame))
            if len(waiting) > _REORDER_FRAMES:
                yield heapq.heappop(waiting)[2]
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _followed(
        self,
        kind: ImageType,
        topic: str,
        camera: str,
        on_bad: Callable[[int, BadImage], None] | None,
        span_ns: tuple[int, int] | None,
        beside: Mapping[str, Callable[[Any], None]],
    ) -> Iterator[Frame]:
        """The frames as they were logged, without those whose stamps are bad."""

        def leave_out(log_ns: int, bad: BadImage) -> None:
            self.bad_images[bad.reason] += 1
            if on_bad:
                on_bad(log_ns, bad)

        def astray(frame: Frame) -> None:
            said = f"stamp {frame.header.stamp_ns / 1e9:.3f} s does not follow those before and after it"
            leave_out(frame.arrival_ns, BadImage("bad_stamp", f"{said}: check the driver's clock"))

        def unstamped(stamp_ns: int) -> None:
            said = f"every image of {topic} is stamped {stamp_ns / 1e9:g} s: the driver does not stamp them"
            self._unstamped.setdefault(topic, f"{said}; they are taken by the times at which they were recorded")

        read = kind.reader()

        def logged() -> Iterator[Frame]:
            for recorded in self.messages([topic, *beside], span_ns):
                if recorded.topic != topic:
                    beside[recorded.topic](recorded.message)
                    continue
                try:
                    frame = read(recorded.message, camera, recorded.log_ns, self.reading.tones)
                    yield self.reading.mounted(frame)
                except BadImage as bad:
                    leave_out(recorded.log_ns, bad)

        stamps: StampFilter[Frame] = StampFilter(astray)
        for frame in timed(logged(), unstamped):
            for passed in stamps.offer(frame, frame.header.time_ns, frame.arrival_ns, 0):
                yield passed.item
        for passed in stamps.rest(0):
            yield passed.item

    def commands(self, topic: str, camera: str) -> list[Request]:
        """The commands of a topic in the order of their stamps; a command without a stamp has its log time.

        With those of `<namespace>/stop`, where a node takes its stops. A command without request_id is named after its
        place, "command-3".

        Raises:
            BagError: the file is damaged, or the topic holds no commands.
        """
        if self.topics.get(topic) != COMMAND:
            raise BagError(f"topic {topic} is {self.topics.get(topic, 'not in the bag')}; wanted {COMMAND}")
        requests = []
        stops = _beside(topic, "stop")
        topics = [topic, stops] if stops != topic and self.topics.get(stops) == COMMAND else [topic]
        for place, recorded in enumerate(self.messages(topics), 1):
            if nanoseconds(recorded.message.header.stamp) == 0:
                recorded.message.header.stamp = _time_like(recorded.message.header.stamp, recorded.log_ns)
            requests.append(request_from_message(recorded.message, request_id=f"command-{place}", camera=camera))
        return sorted(requests, key=lambda request: request.stamp_ns)

    def stamp_range(self, topic: str) -> tuple[int, int]:
        """First and last header stamp of a topic in ns, reading no more of a message than its header.

        Raises:
            BagError: the topic is empty or its messages have no header.
        """
        first, last = _LARGEST_TIME_NS, -1
        for stamp_ns, _ in self.stamps(topic):
            first, last = min(first, stamp_ns), max(last, stamp_ns)
        if last < 0:
            raise BagError(f"topic {topic} holds no message")
        return first, last

    def stamps(self, topic: str) -> Iterator[tuple[int, int]]:
        """Header stamp and log time in ns of each message, as logged, reading no more of it than its header.

        Raises:
            BagError: the file is damaged, or a message is too short for a header.
        """
        for _, msgtype, log_ns, data in self.raw([topic]):
            yield header_stamp(data, msgtype), log_ns


def _beside(topic: str, name: str) -> str:
    """The topic of this name in the same namespace."""
    return f"{topic.rpartition('/')[0]}/{name}"


def header_stamp(data: bytes, msgtype: str) -> int:
    """The stamp in ns of a serialized message that begins with a std_msgs/Header (CDR, either byte order).

    Raises:
        BagError: too short to hold one.
    """
    if len(data) < 12:
        raise BagError(f"a {msgtype} of {len(data)} bytes is too short to hold a header; record it again")
    sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


def _time_like(stamp: Any, stamp_ns: int) -> Any:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return type(stamp)(sec=sec, nanosec=nanosec)
