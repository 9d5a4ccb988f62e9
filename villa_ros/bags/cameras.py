"""The cameras of a recording: short names for them out of their topics, and their frames together."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from villa_ros.bags.reader import IMAGES, Bag
from villa_ros.pipeline.config import CAMERA_NAME, DEFAULT_CAMERA
from villa_ros.pipeline.frame import Frame


def cameras_of(bag: Bag) -> dict[str, str]:
    """Names and image topics of the cameras in a bag; no depth, and a raw topic rather than a compressed twin.

    Raises:
        BagError: there is no image topic.
    """
    found = bag.colour_topics() or [bag.choose_topic(None, IMAGES, "image", "--camera-topic")]
    return dict(zip(names_of(found), found, strict=True))


def frames_together(
    bags: Mapping[str, Bag], topics: Mapping[str, str], beside: Mapping[str, Callable[[Any], None]] | None = None
) -> Iterator[Frame]:
    """The frames of several cameras in the order of their times; each has its own opening of the bag.

    `beside` as of `Bag.frames`, of the first camera.

    Raises:
        BagError: as `Bag.frames`.
    """
    first = next(iter(bags))
    own = [bag.frames(topics[name], name, beside=beside if name == first else None) for name, bag in bags.items()]
    return heapq.merge(*own, key=lambda frame: frame.header.time_ns)


def faults_of(bags: Mapping[str, Bag]) -> tuple[str, ...]:
    """What all openings of a bag say of it, each once."""
    return tuple(dict.fromkeys(fault for bag in bags.values() for fault in bag.faults))


def names_of(topics: Sequence[str]) -> list[str]:
    """A name for each of some topics: what tells it from the others, or "camera" for one alone."""
    parts = [topic.strip("/").split("/") for topic in topics]
    if len(parts) > 1:
        while all(len(one) > 1 for one in parts) and len({one[0] for one in parts}) == 1:
            parts = [one[1:] for one in parts]
        while all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
            parts = [one[:-1] for one in parts]
    else:
        parts = [[DEFAULT_CAMERA]] * len(parts)
    names: list[str] = []
    for one in parts:
        name = re.sub(r"[^a-z0-9_]+", "_", "_".join(one).lower())
        name = name if CAMERA_NAME.fullmatch(name) else f"{DEFAULT_CAMERA}_{name}".rstrip("_")
        same = sum(other == name or other.startswith(f"{name}_again") for other in names)
        names.append(f"{name}_again{same}" if same else name)
    return names
