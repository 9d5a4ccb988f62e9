"""Are two runs the same up to the names of their tracks?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from villa.masks import RleMask, decode
from villa_ros.pipeline.events import TracksEvent

WANTED_IOU = 0.99
_LISTED = 5  # differences told in full; the rest is counted


@dataclass
class Comparison:
    """What comparing found. `differences` is empty when the runs are the same."""

    frames: int = 0
    instances: int = 0
    worst_iou: float = 1.0
    differences: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Same frames, isomorphic track ids, and every mask within the wanted IoU."""
        return not self.differences

    def verdict(self) -> str:
        """One line for people, and the first differences below it."""
        summary = (
            f"{self.frames} frames, {self.instances} instances, worst mask IoU {self.worst_iou:.4f} "
            f"(wanted {WANTED_IOU} or more)"
        )
        if self.same:
            return f"same: {summary}, track ids isomorphic"
        more = len(self.differences) - _LISTED
        told = [*self.differences[:_LISTED], *([f"and {more} more"] if more > 0 else [])]
        return "\n  ".join([f"different: {summary}", *told])


def mask_iou(first: RleMask, second: RleMask) -> float:
    """Intersection over union of two masks of one image; 1 when both are empty, 0 when the sizes differ."""
    if (first.height, first.width) != (second.height, second.width):
        return 0.0
    if first == second:
        return 1.0
    mine, its = decode(first), decode(second)
    return float(np.count_nonzero(mine & its) / np.count_nonzero(mine | its))


def compare(recorded: Sequence[TracksEvent], repeated: Sequence[TracksEvent]) -> Comparison:
    """Compare the tracks of a run with those of its repetition, message by message.

    Messages belong together by camera and sequence number. What a best-effort recording lost shows as a gap
    in its numbers and is not compared; apart from that, each side must have what the other has.
    """
    result = Comparison()
    mine = {(event.camera, event.sequence): event for event in recorded}
    its = {(event.camera, event.sequence): event for event in repeated}
    if not mine:
        result.differences.append("the run holds no tracks to compare with")
        return result
    for camera, sequence in sorted(mine.keys() - its.keys()):
        result.differences.append(f"{camera} message {sequence} of the run was not repeated")
    last = {camera: max(s for c, s in mine if c == camera) for camera, _ in mine}
    for camera, sequence in sorted(its.keys() - mine.keys()):
        if sequence > last.get(camera, -1):
            result.differences.append(f"{camera} message {sequence} came only in the repetition")
    forth: dict[str, str] = {}
    back: dict[str, str] = {}
    for key in sorted(mine.keys() & its.keys()):
        _compare_frame(mine[key], its[key], forth, back, result)
    return result


def _compare_frame(
    one: TracksEvent, two: TracksEvent, forth: dict[str, str], back: dict[str, str], result: Comparison
) -> None:
    where = f"{one.camera} message {one.sequence} at {one.header.time_ns / 1e9:.3f} s"
    result.frames += 1
    if one.header != two.header:
        result.differences.append(f"{where}: the repetition's is about {two.header.time_ns / 1e9:.3f} s")
        return
    if len(one.instances) != len(two.instances):
        result.differences.append(f"{where}: {len(one.instances)} instances, repeated {len(two.instances)}")
        return
    for mine, its in zip(one.instances, two.instances, strict=True):
        result.instances += 1
        known = forth.setdefault(mine.track_id, its.track_id), back.setdefault(its.track_id, mine.track_id)
        if known != (its.track_id, mine.track_id):
            result.differences.append(f"{where}: track {mine.track_id} is {its.track_id}, was {known[0]} before")
        if mine.state != its.state:
            result.differences.append(f"{where}: track {mine.track_id} is {mine.state.name}, repeated {its.state.name}")
        iou = mask_iou(mine.mask, its.mask)
        result.worst_iou = min(result.worst_iou, iou)
        if iou < WANTED_IOU:
            result.differences.append(f"{where}: mask IoU of track {mine.track_id} is {iou:.4f}")
