"""The cameras of a recording, and short names for them out of their topics."""

from __future__ import annotations

import re
from collections.abc import Sequence

from villa_ros.bags.reader import IMAGES, Bag

ALONE = "camera"  # the name of the only one
CAMERA_NAME = re.compile(r"[a-z][a-z0-9_]*")


def cameras_of(bag: Bag) -> dict[str, str]:
    """Names and image topics of the cameras in a bag; no depth, and a raw topic rather than a compressed twin.

    Raises:
        BagError: there is no image topic.
    """
    found = bag.colour_topics() or [bag.choose_topic(None, IMAGES, "image", "--camera-topic")]
    return dict(zip(names_of(found), found, strict=True))


def names_of(topics: Sequence[str]) -> list[str]:
    """A name for each of some topics: what tells it from the others, or "camera" for one alone."""
    parts = [topic.strip("/").split("/") for topic in topics]
    if len(parts) > 1:
        while all(len(one) > 1 for one in parts) and len({one[0] for one in parts}) == 1:
            parts = [one[1:] for one in parts]
        while all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
            parts = [one[:-1] for one in parts]
    else:
        parts = [[ALONE]] * len(parts)
    names: list[str] = []
    for one in parts:
        name = re.sub(r"[^a-z0-9_]+", "_", "_".join(one).lower())
        name = name if CAMERA_NAME.fullmatch(name) else f"{ALONE}_{name}".rstrip("_")
        same = sum(other == name or other.startswith(f"{name}_again") for other in names)
        names.append(f"{name}_again{same}" if same else name)
    return names
