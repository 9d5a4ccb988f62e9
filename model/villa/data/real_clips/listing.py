"""What ships of the real clips: where each video is from, and what is outlined and asked in its excerpt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.masks import Mask

HELD, SEEN = "held", "seen"
HALVES = (HELD, SEEN)
ABSENT = "absent"  # kind of a request for what is not there
_FOLDER = Path(__file__).parent
_SOURCES = _FOLDER / "sources.json"

Ring = tuple[tuple[int, int], ...]  # corners x, y in px of the excerpt's frames


class RealClipError(ValueError):
    """A video cannot be had, is not the one that was outlined, or cannot be cut."""


@dataclass(frozen=True)
class Excerpt:
    """Which frames of a video are used: every `step`-th from `first` on, `count` of them, at 1/`shrink` of its size."""

    first: int
    step: int
    count: int
    shrink: int

    @property
    def frames(self) -> tuple[int, ...]:
        """Their numbers in the video."""
        return tuple(range(self.first, self.first + self.step * self.count, self.step))


@dataclass(frozen=True)
class Source:
    """The file that a clip is cut from."""

    file: str  # its name; with a field for a number, `frame_{:06d}.jpg`: one picture a frame
    sha256: str  # of the file without gzip; of the excerpt's pictures one after the other
    debian: str | None  # package that has it
    address: str | None  # of the file, or of the folder of pictures
    source: str  # in words
    licence: str

    @property
    def is_pictures(self) -> bool:
        """One picture for each frame?"""
        return "{" in self.file


@dataclass(frozen=True)
class Request:
    """One thing that somebody says about a clip."""

    text: str
    kind: str
    things: tuple[str, ...]  # what it means; none: nothing that is there


@dataclass(frozen=True)
class Clip:
    """An excerpt of a real video, with everything that was drawn and written about it."""

    name: str
    half: str
    source: Source
    excerpt: Excerpt
    fps: float  # frames/s of the excerpt
    width: int  # px, of the excerpt
    height: int
    things: dict[str, tuple[str, ...]]  # words that name each
    requests: tuple[Request, ...]
    outlines: dict[int, dict[str, tuple[Ring, ...]]]  # by frame of the excerpt, by thing; a frame lists all it shows

    def mask(self, thing: str, frame: int) -> Mask | None:
        """Mask [H, W] of a thing on an outlined frame; None where it is not visible.

        A ring inside another is a hole: a pixel is the thing's if it is inside an odd number of rings.
        """
        rings = self.outlines[frame].get(thing)
        if not rings:
            return None
        drawn: NDArray[np.uint8] = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(drawn, [np.asarray(ring, np.int32) for ring in rings], [1])
        return np.asarray(drawn, np.bool_)


def list_clips(half: str | None = None) -> tuple[Clip, ...]:
    """The clips of a half, or all, in the order of the list.

    Raises:
        RealClipError: there is no such half.
    """
    if half is not None and half not in HALVES:
        raise RealClipError(f"there is no half {half!r}: wanted one of {', '.join(HALVES)}")
    listed: dict[str, dict[str, Any]] = json.loads(_SOURCES.read_text("utf-8"))
    return tuple(_clip(name, entry) for name, entry in listed.items() if half in (None, entry["half"]))


def _clip(name: str, entry: dict[str, Any]) -> Clip:
    drawn: dict[str, Any] = json.loads((_FOLDER / entry["half"] / f"{name}.json").read_text("utf-8"))
    where = entry["where"]
    excerpt = Excerpt(**entry["excerpt"])
    return Clip(
        name,
        entry["half"],
        Source(
            entry["file"],
            entry["sha256"],
            where.get("debian"),
            where.get("address"),
            entry["source"],
            entry["licence"],
        ),
        excerpt,
        entry["fps"] / excerpt.step,
        entry["width"],
        entry["height"],
        {thing: tuple(words) for thing, words in drawn["things"].items()},
        tuple(Request(asked["exp"], asked["kind"], tuple(asked["things"])) for asked in drawn["requests"]),
        {
            int(frame): {thing: tuple(tuple((x, y) for x, y in ring) for ring in rings) for thing, rings in of.items()}
            for frame, of in drawn["outlines"].items()
        },
    )
