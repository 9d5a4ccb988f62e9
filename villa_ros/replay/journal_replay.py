"""Repeats exactly the steps of a live run: its journal, on the frames of the bag that was played to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from villa_ros.bags.reader import BagError
from villa_ros.bags.run import Run, request_in
from villa_ros.pipeline.journal import JournalError, repeat

if TYPE_CHECKING:
    from villa_ros.pipeline.engine import Engine
    from villa_ros.pipeline.events import JournalEvent
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.request import Request

_SKIPPED_FRAMES = 64  # frames kept for a journal that names them a little later than their stamps' order


class FrameFinder:
    """Finds frames by stamp in a stream that is read once, forwards."""

    def __init__(self, frames: Iterator[Frame], name: str) -> None:
        self._frames = frames
        self._name = name
        self._skipped: deque[Frame] = deque(maxlen=_SKIPPED_FRAMES)

    def find(self, stamp_ns: int) -> Frame:
        """The frame with this stamp.

        Raises:
            BagError: the bag has no such frame, so it is not the one that was played.
        """
        for frame in self._skipped:
            if frame.header.time_ns == stamp_ns:
                self._skipped.remove(frame)
                return frame
        for frame in self._frames:
            if frame.header.time_ns == stamp_ns:
                return frame
            self._skipped.append(frame)
        raise BagError(
            f"the run used a frame stamped {stamp_ns / 1e9:.9f} s, which {self._name} does not hold; "
            "give the bag that was played to the node, and its image topic"
        )


def check_journal(run: Run, name: str) -> None:
    """Refuse a journal that would not repeat the run.

    Raises:
        BagError: it is empty, does not begin with the first step, has a gap, or speaks of several cameras.
    """
    if not run.journal:
        raise BagError(f"{name} holds no journal; record the topic ~/journal of the node from its start")
    for wanted, (entry, _) in enumerate(run.journal, run.journal[0][0].index):
        if entry.index != wanted:
            raise BagError(f"the journal of {name} lacks step {wanted}; record ~/journal reliably")
    first = run.journal[0][0].index
    if first > 1:  # counted from 0 or 1
        raise BagError(f"the journal of {name} begins with step {first}; start recording before the node")
    cameras = sorted({entry.camera for entry, _ in run.journal if entry.op == "ingest"})
    if len(cameras) > 1:
        raise BagError(f"{name} used cameras {', '.join(cameras)}; only runs of one camera can be repeated")


def repeat_run(engine: Engine, run: Run, finder: FrameFinder) -> Iterator[tuple[JournalEvent, Frame | Request | None]]:
    """Do what the journal says, step by step, yielding each entry before it is done with what it is about.

    Raises:
        BagError: a frame or the words of a request are missing, or an entry names an operation unknown here.
    """
    for entry, carried in run.journal:
        frame = finder.find(entry.stamp_ns) if entry.op == "ingest" else None
        request = request_in(run, entry.request_id, carried) if entry.op == "submit" else None
        yield entry, frame or request
        try:
            # each callable is asked only by the operation that its value was found for
            repeat(engine, entry, lambda *_, it=frame: it, lambda *_, it=request: it)
        except JournalError as error:
            raise BagError(str(error)) from error
