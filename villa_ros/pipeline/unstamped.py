"""Images that their driver does not stamp: all bear one time, 0 mostly. Inside they go by when they came."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice

from villa_ros.pipeline.frame import Frame

_ENOUGH = 5  # images with one stamp: a driver that sends one twice is another matter


def by_arrival(frame: Frame) -> Frame:
    """The same frame, timed by its arrival; what is published of it bears its own header."""
    return replace(frame, header=replace(frame.header, came_ns=frame.arrival_ns))


def timed(frames: Iterable[Frame], unstamped: Callable[[int], None]) -> Iterator[Frame]:
    """Frames of a recording, by their arrival where the first ones are not stamped; `unstamped` is told their stamp."""
    coming = iter(frames)
    first = list(islice(coming, _ENOUGH))
    stamps = {frame.header.stamp_ns for frame in first}
    if len(stamps) == 1 and (len(first) == _ENOUGH or (stamps == {0} and len(first) > 1)):
        unstamped(stamps.pop())
        return map(by_arrival, chain(first, coming))
    return chain(first, coming)
