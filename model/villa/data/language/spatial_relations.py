"""Spatial relations in one frame, as the camera sees them: clearly so, clearly not so, or too close to call."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from villa.data.clips import View


class Holds(Enum):
    """Whether a relation holds; UNCLEAR is neither asked for nor denied."""

    YES = 1
    NO = 0
    UNCLEAR = -1


def left_of(a: View, b: View) -> Holds:
    """`a` is left of `b` in the image."""
    gap = b.centroid[0] - a.centroid[0]
    if gap > max(14.0, 0.5 * b.bbox[2]) and a.bbox[0] + a.bbox[2] < b.centroid[0]:
        return Holds.YES
    return Holds.NO if gap < 2.0 else Holds.UNCLEAR


def right_of(a: View, b: View) -> Holds:
    """`a` is right of `b` in the image."""
    gap = a.centroid[0] - b.centroid[0]
    if gap > max(14.0, 0.5 * b.bbox[2]) and a.bbox[0] > b.centroid[0]:
        return Holds.YES
    return Holds.NO if gap < 2.0 else Holds.UNCLEAR


def _in_line(a: View, b: View) -> Holds:
    gap = abs(a.centroid[0] - b.centroid[0])
    width = max(a.bbox[2], b.bbox[2])
    if gap < 0.7 * width + 6:
        return Holds.YES
    return Holds.NO if gap > 1.8 * width + 30 else Holds.UNCLEAR


def behind(a: View, b: View) -> Holds:
    """`a` stands farther from the camera than `b` and roughly in line with it."""
    if a.depth_m < b.depth_m + 0.01:
        return Holds.NO
    line = _in_line(a, b)
    if line is Holds.NO:
        return Holds.NO
    return Holds.YES if line is Holds.YES and a.depth_m > b.depth_m + 0.055 else Holds.UNCLEAR


def in_front_of(a: View, b: View) -> Holds:
    """`a` stands nearer to the camera than `b` and roughly in line with it."""
    return behind(b, a)


def distance_m(a: View, b: View) -> float:
    """Distance of the two middles in space."""
    return float(sum((p - q) ** 2 for p, q in zip(a.position_m, b.position_m, strict=True)) ** 0.5)


def next_to(a: View, b: View) -> Holds:
    """`a` stands close to `b`."""
    gap = distance_m(a, b)
    return Holds.YES if gap < 0.15 else Holds.NO if gap > 0.24 else Holds.UNCLEAR


RELATIONS: dict[str, Callable[[View, View], Holds]] = {
    "left of": left_of,
    "right of": right_of,
    "behind": behind,
    "in front of": in_front_of,
    "next to": next_to,
}


def between(a: View, b: View, c: View) -> Holds:
    """`a` stands between `b` and `c`: near the line from one middle to the other, and not at its ends."""
    start, end, at = (tuple(view.position_m[:2]) for view in (b, c, a))
    way = (end[0] - start[0], end[1] - start[1])
    length = (way[0] ** 2 + way[1] ** 2) ** 0.5
    if length < 0.12:  # too close for anything to be between them
        return Holds.NO
    along = ((at[0] - start[0]) * way[0] + (at[1] - start[1]) * way[1]) / length**2
    aside = abs((at[0] - start[0]) * way[1] - (at[1] - start[1]) * way[0]) / length
    if 0.2 < along < 0.8 and aside < 0.22 * length:
        return Holds.YES
    return Holds.NO if along < 0.0 or along > 1.0 or aside > 0.5 * length else Holds.UNCLEAR
