"""A rendered training clip as people look at it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rich.table import Table

from villa.data.clips import ClipReader, EventFacts
from villa.masks import encode
from villa_ros.pipeline.events import TrackedInstance, TrackState
from villa_ros.pipeline.overlay import contact_sheet, draw
from villa_ros.video.overlay_video import PictureError
from villa_ros.video.sampling import evenly_spaced

_TILES = 8


def describe(folder: Path) -> Table:
    """The objects of a clip with what is known of them, and its events."""
    facts = ClipReader(folder).facts
    happened = "; ".join(_event(event) for event in facts.events)
    title = f"{folder}: {len(facts.frames)} frames at {facts.fps:g} Hz, {facts.width}x{facts.height}"
    result = Table(title=title, caption=happened or "nothing happens", pad_edge=False)
    for heading in ("id", "name", "material", "uses", "source"):
        result.add_column(heading, overflow="fold")
    result.add_column("mean px", justify="right")
    for item in facts.objects:
        seen = [view.visible_px for frame in facts.frames for view in frame if view.id == item.id]
        pixels = f"{sum(seen) / max(1, len(seen)):.0f}"
        result.add_row(str(item.id), item.name, item.material, ", ".join(item.uses), item.source, pixels)
    return result


def _event(event: EventFacts) -> str:
    by = f"by {event.by}" if event.by else ""
    words = (event.kind, str(event.object_id or ""), f"{event.first}-{event.last}", by)
    return " ".join(word for word in words if word)


def write_sheet(folder: Path, path: Path) -> Path:
    """Draw a few frames of a clip with their masks.

    Raises:
        PictureError: the picture cannot be written.
    """
    clip = ClipReader(folder)
    tiles = []
    for index in evenly_spaced(len(clip), _TILES):
        ids = clip.mask(index)
        instances = [
            TrackedInstance(
                f"clip-{item.id}", "", item.id, TrackState.TRACKED, item.name, 1.0, 1.0, encode(ids == item.id)
            )
            for item in clip.facts.objects
            if np.any(ids == item.id)
        ]
        tiles.append((draw(clip.rgb(index), instances), f"frame {index}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(contact_sheet(tiles), cv2.COLOR_RGB2BGR)):
        raise PictureError(f"OpenCV cannot write {path}; is the folder writable, and does the name end with .png?")
    return path
