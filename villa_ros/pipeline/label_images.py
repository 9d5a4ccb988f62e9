"""The same tracks as pictures that others can read: a label image, a mask of what is meant now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from villa.masks import RleMask, inside
from villa_ros.pipeline.events import TrackedInstance, TrackState

BACKGROUND, TARGET = 0, 255


def in_view(instances: Iterable[TrackedInstance]) -> list[TrackedInstance]:
    """Those that are seen on this frame."""
    return [entry for entry in instances if entry.mask.area and entry.state != TrackState.REMOVED]


def label_image(instances: Sequence[TrackedInstance], height: int, width: int) -> NDArray[np.uint16]:
    """Labels [height, width]: `TrackedInstance.label` where an object is seen, else 0.

    Where masks overlap, the object of the higher score is shown; of equal ones the smaller.
    """
    image = np.zeros((height, width), np.uint16)
    for entry in sorted(in_view(instances), key=lambda one: (one.score, -one.mask.area)):
        _part(image, entry.mask)[inside(entry.mask)] = entry.label
    return image


def target_mask(instances: Sequence[TrackedInstance], height: int, width: int) -> NDArray[np.uint8] | None:
    """255 where an object of the newest request is seen, else 0 [height, width]; None where none of them is.

    The newest request is the one whose tracks were begun last.
    """
    seen = in_view(instances)
    if not seen:
        return None
    newest = max(instances, key=lambda one: _begun(one.track_id)).request_id
    image = np.zeros((height, width), np.uint8)
    for entry in seen:
        if entry.request_id == newest:
            _part(image, entry.mask)[inside(entry.mask)] = TARGET
    return image if image.any() else None


def _part(image: NDArray[np.generic], mask: RleMask) -> NDArray[np.generic]:
    return image[mask.y : mask.y + mask.box_height, mask.x : mask.x + mask.box_width]


def _begun(track_id: str) -> int:
    """The count in a track's id: ids are counted up over the life of a process."""
    count = track_id.rpartition("-")[2]
    return int(count) if count.isdecimal() else 0
