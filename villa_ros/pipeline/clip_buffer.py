"""The newest frames of one camera, bounded in frames and in bytes."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from villa.interface import FrameFeatures
    from villa_ros.pipeline.frame import Frame

NS_PER_S = 1_000_000_000
_OVERTAKEN_NS = NS_PER_S // 2  # what is older by no more was sent before the newest; else the clock went back


class Ingested(Enum):
    """What became of a frame that was offered to the ring."""

    KEPT = "kept"
    DUPLICATE_STAMP = "duplicate_stamp"  # refused: the ring's newest frame has this stamp
    OUT_OF_ORDER = "out_of_order"  # refused: a little older than the newest, overtaken on its way
    CLOCK_JUMP = "clock_jump"  # kept, but it is much older than the newest: the ring was cleared first
    TOO_LARGE = "too_large"  # refused: this frame alone is over the byte bound
    UNKNOWN_CAMERA = "unknown_camera"  # refused: no ring for that camera


@dataclass(eq=False)
class RingEntry:
    """A frame in the ring with what is known about it."""

    frame: Frame
    features: FrameFeatures | None = None
    broken: bool = False  # its pixels could not be decoded

    @property
    def stamp_ns(self) -> int:
        """The source's stamp."""
        return self.frame.header.time_ns

    @property
    def stamp_s(self) -> float:
        """The source's stamp in seconds."""
        return self.frame.header.time_ns / NS_PER_S


class ClipBuffer:
    """A ring of frames in stamp order. Not thread-safe."""

    def __init__(self, max_frames: int, max_bytes: int, feature_frames: int) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._feature_frames = feature_frames
        self._entries: OrderedDict[int, RingEntry] = OrderedDict()
        self._encoded: deque[RingEntry] = deque()
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """What the kept frames cost, by their own account."""
        return self._nbytes

    @property
    def oldest(self) -> RingEntry | None:
        """The oldest frame, or None while the ring is empty."""
        return next(iter(self._entries.values())) if self._entries else None

    @property
    def newest(self) -> RingEntry | None:
        """The newest frame, or None while the ring is empty."""
        return next(reversed(self._entries.values())) if self._entries else None

    def add(self, frame: Frame) -> Ingested:
        """Keep `frame` as the newest; the oldest go until both bounds hold."""
        if frame.nbytes > self._max_bytes:
            return Ingested.TOO_LARGE
        outcome = Ingested.KEPT
        newest = self.newest
        if newest is not None and frame.header.time_ns == newest.stamp_ns:
            return Ingested.DUPLICATE_STAMP
        if newest is not None and frame.header.time_ns < newest.stamp_ns:
            if newest.stamp_ns - frame.header.time_ns <= _OVERTAKEN_NS:
                return Ingested.OUT_OF_ORDER
            self.clear()
            outcome = Ingested.CLOCK_JUMP
        self._entries[frame.header.time_ns] = RingEntry(frame)
        self._nbytes += frame.nbytes
        while len(self._entries) > self._max_frames or self._nbytes > self._max_bytes:
            self.remove(next(iter(self._entries.values())))
        return outcome

    def get(self, stamp_ns: int) -> RingEntry | None:
        """The frame with this stamp, or None when it is gone."""
        return self._entries.get(stamp_ns)

    def remove(self, entry: RingEntry) -> None:
        """Take one frame out; nothing happens when it is gone already."""
        if self._entries.get(entry.stamp_ns) is not entry:
            return
        del self._entries[entry.stamp_ns]
        self._nbytes -= entry.frame.nbytes
        if entry in self._encoded:
            self._encoded.remove(entry)
        entry.features = None

    def clear(self) -> None:
        """Forget every frame."""
        self._entries.clear()
        self._encoded.clear()
        self._nbytes = 0

    def keep_features(self, entry: RingEntry, features: FrameFeatures) -> None:
        """Remember the encoder's features of a frame, for the newest few frames only."""
        if self._entries.get(entry.stamp_ns) is not entry or entry.features is not None:
            return
        entry.features = features
        self._encoded.append(entry)
        while len(self._encoded) > self._feature_frames:
            self._encoded.popleft().features = None

    def clip(self, duration_s: float, candidates: int) -> list[RingEntry]:
        """At most `candidates` frames of the last `duration_s`, oldest first, evenly spread, with the newest.

        Frames of another size than the newest are left out: a clip has one size.
        """
        newest = self.newest
        if newest is None:
            return []
        begin_ns = newest.stamp_ns - round(duration_s * NS_PER_S)
        size = (newest.frame.height, newest.frame.width)
        fitting = [
            entry
            for entry in self._entries.values()
            if entry.stamp_ns >= begin_ns and (entry.frame.height, entry.frame.width) == size
        ]
        return evenly_spaced(fitting, candidates)

    def between(self, after_ns: int, before_ns: int) -> list[RingEntry]:
        """Frames strictly between two stamps, oldest first."""
        return [entry for entry in self._entries.values() if after_ns < entry.stamp_ns < before_ns]


def evenly_spaced(entries: list[RingEntry], count: int) -> list[RingEntry]:
    """At most `count` of `entries`, evenly spaced, the last always among them."""
    if len(entries) <= count:
        return entries
    if count == 1:
        return entries[-1:]
    chosen = np.linspace(0, len(entries) - 1, count).round().astype(int)
    return [entries[index] for index in chosen]
