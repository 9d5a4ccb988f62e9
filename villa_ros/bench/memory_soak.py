"""Resident memory over thousands of frames, with objects and requests coming and going."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from villa_ros.bench.tracking import EndlessStream, Progress, Tracker
from villa_ros.runtime.allocator import keep_large_blocks, reserve, resident_mb

if TYPE_CHECKING:
    from villa.interface import SegmentationModel

WANTED_MB_PER_1000 = 1.0
OBJECTS = 3
REQUEST_EVERY = 100  # frames
REPLACE_EVERY = 200  # frames
_CURVE_PX = (480, 960)
_MARGIN_PX = 48


@dataclass(frozen=True)
class Soak:
    """What came out. Memory is in MB (10^6 bytes)."""

    frames: int
    slope_mb_per_1000: float
    lowest_mb: float
    highest_mb: float
    requests: int
    table: Path
    curve: Path

    @property
    def flat(self) -> bool:
        """Is the slope below what is wanted?"""
        return self.slope_mb_per_1000 < WANTED_MB_PER_1000

    def text(self) -> str:
        """For people."""
        return (
            f"resident memory over {self.frames} frames with {OBJECTS} objects and {self.requests} requests: "
            f"{self.slope_mb_per_1000:+.2f} MB per 1,000 frames (wanted below {WANTED_MB_PER_1000:g}), "
            f"{self.lowest_mb:.0f} to {self.highest_mb:.0f} MB\ntable: {self.table}\ncurve: {self.curve}"
        )


def slope(values: Sequence[float]) -> float:
    """Least-squares slope per 1,000 items."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) * 1000.0


def run(
    bag_path: Path,
    model: SegmentationModel,
    folder: Path,
    *,
    frames: int = 2000,
    warm_up: int = 500,
    progress: Progress = lambda items, count, doing: items,
) -> Soak:
    """Track three objects; replace one every 200 frames, make a request every 100; write table and curve.

    The warm-up has the same rhythm as the rest, so that what grows only once has grown by then.

    Raises:
        BagError: the bag cannot be read.
        BenchError: the model does not find three objects.
    """
    keep_large_blocks()  # both as in the node's process
    reserve()
    tracker = Tracker(model, EndlessStream(bag_path))
    for _ in range(REQUEST_EVERY // 5):
        tracker.frame()
    tracker.track_at_least(OBJECTS)
    rows: list[tuple[int, float, int]] = []
    requests = 0
    total = warm_up + frames
    for number in progress(range(total), total, "soaking"):
        if number % REPLACE_EVERY == REPLACE_EVERY - 1:
            oldest = next(iter(tracker.live.values()))
            tracker.engine.stop(oldest)
            tracker.live = {track: request for track, request in tracker.live.items() if request != oldest}
            tracker.track_at_least(OBJECTS)
            requests += 1
        elif number % REQUEST_EVERY == REQUEST_EVERY - 1:
            tracker.ask(track=False)
            requests += 1
        tracker.frame()
        if len(tracker.live) < OBJECTS:  # the model let one go by itself
            tracker.track_at_least(OBJECTS)
        rows.append((number, resident_mb(), len(tracker.live)))
    folder.mkdir(parents=True, exist_ok=True)
    table, curve = folder / "soak.csv", folder / "soak.png"
    with table.open("w", newline="", encoding="utf-8") as sink:
        csv.writer(sink).writerows([("frame", "resident_mb", "objects"), *rows])
    measured = [row[1] for row in rows[warm_up:]]
    cv2.imwrite(str(curve), draw_curve([row[1] for row in rows], warm_up, slope(measured)))
    return Soak(frames, slope(measured), min(measured), max(measured), requests, table, curve)


def draw_curve(values: Sequence[float], warm_up: int, per_1000: float) -> NDArray[np.uint8]:
    """Memory over frames as a picture [H, W, 3] BGR; the warm-up is shaded."""
    height, width = _CURVE_PX
    picture = np.full((height, width, 3), 255, np.uint8)
    low, high = min(values) - 5.0, max(values) + 5.0
    x = np.linspace(_MARGIN_PX, width - _MARGIN_PX / 2, len(values))
    y = height - _MARGIN_PX - (np.asarray(values) - low) / (high - low) * (height - 2 * _MARGIN_PX)
    edge = int(x[min(warm_up, len(x) - 1)])
    picture[_MARGIN_PX : height - _MARGIN_PX, _MARGIN_PX:edge] = 235
    cv2.polylines(picture, [np.stack([x, y], 1).round().astype(np.int32)], False, (180, 90, 20), 2, cv2.LINE_AA)
    for text, at in (
        (f"{high:.0f} MB", (4, _MARGIN_PX)),
        (f"{low:.0f} MB", (4, height - _MARGIN_PX)),
        (f"frame 0 .. {len(values) - 1}, warm-up grey", (width // 3, height - 16)),
        (f"resident memory, {per_1000:+.2f} MB per 1,000 frames after the warm-up", (_MARGIN_PX, 28)),
    ):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return picture
