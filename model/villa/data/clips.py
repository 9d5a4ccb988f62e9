"""A clip on disk: its facts, how it is written once and how it is read.

One folder a clip: `frames/0000.jpg`, `masks/0000.png` (uint8 instance id, 0 background), `depth/0000.png` (uint16
mm, on demand) and `clip.json`. Object i in the facts has mask id `objects[i].id`; what no frame shows is not
among them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.files.plain_data import PlainDataError, from_json, shaped
from villa.files.whole import write_text
from villa.images.png_chunks import read_picture

SCHEMA = 1


class ClipError(ValueError):
    """A clip folder is missing something or does not follow the schema."""


@dataclass(frozen=True)
class ObjectFacts:
    """What an object is, for the whole clip."""

    id: int  # value in the mask
    key: str
    kind: str
    name: str  # "red mug"
    names: tuple[str, ...]  # every noun that means it, without its colour
    colour: str  # the main one for every viewer; empty: there is none
    colours: tuple[str, ...]  # other colours that it shows; all of them where it has no main one
    material: str
    uses: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class View:
    """One object in one frame. `bbox` is x, y, width, height px; centroid and bbox are 0 when unseen."""

    id: int
    visible_px: int
    amodal_px: int  # inside the image, with nothing in front
    bbox: tuple[int, int, int, int]
    centroid: tuple[float, float]  # px, column then row
    depth_m: float  # along the optical axis, of its middle
    position_m: tuple[float, float, float]  # world, z up, the table at 0

    @property
    def occluded(self) -> float:
        """Share of it that something covers, 0..1."""
        return 1.0 - self.visible_px / self.amodal_px if self.amodal_px else 1.0


@dataclass(frozen=True)
class EventFacts:
    """Something that happens over frames first..last; `object_id` is 0 for the camera and the panel.

    `by` is the mask id of what moved it, where that is known and no motion of its own; 0 where it is not.
    """

    kind: str
    object_id: int
    first: int
    last: int
    by: int = 0


@dataclass(frozen=True)
class ClipFacts:
    """Everything known about a clip."""

    schema: int
    generator: int
    seed: int
    split: str
    fps: float
    width: int
    height: int
    intrinsics: tuple[float, float, float, float]  # fx, fy, cx, cy px
    camera_position_m: tuple[tuple[float, ...], ...]  # a frame each
    camera_rotation: tuple[tuple[float, ...], ...]  # row-major 3x3, columns right, up, back in the world
    table: str
    objects: tuple[ObjectFacts, ...]
    frames: tuple[tuple[View, ...], ...]
    events: tuple[EventFacts, ...]
    # Kinds that are known wherever they are in view, where not everything in view is known; empty: all of it is.
    labelled: tuple[str, ...] = ()

    def without_unseen(self) -> ClipFacts:
        """The same without the objects of which no frame shows a pixel, and without what happened to them.

        To who watches the clip they are not there. The others keep their mask ids, which then have gaps.
        """
        seen = {view.id for frame in self.frames for view in frame if view.visible_px}
        if len(seen) == len(self.objects):
            return self
        return replace(
            self,
            objects=tuple(thing for thing in self.objects if thing.id in seen),
            frames=tuple(tuple(view for view in frame if view.id in seen) for frame in self.frames),
            events=tuple(
                event if event.by in seen else replace(event, by=0)
                for event in self.events
                if event.object_id in seen or not event.object_id
            ),
        )

    def to_json(self) -> str:
        """Compact JSON."""
        data = asdict(self)
        if not self.labelled:  # clips without it stay as they were, to the byte
            del data["labelled"]
        for event in data["events"]:
            if not event["by"]:  # events without it too
                del event["by"]
        return json.dumps(data, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ClipFacts:
        """Read what `to_json` wrote.

        Raises:
            ClipError: not JSON, another schema or a field missing.
        """
        try:
            raw = from_json(text)
            schema = raw.get("schema") if isinstance(raw, dict) else raw
            if schema != SCHEMA:
                raise ClipError(f"clip schema {schema!r}, this reader knows {SCHEMA}: render it again")
            return shaped(raw, cls, exact=True)
        except PlainDataError as error:
            raise ClipError(f"clip.json does not follow schema {SCHEMA}: {error}") from error


def write_clip(
    folder: Path,
    facts: ClipFacts,
    frames: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.uint8]],
    depths: Sequence[NDArray[np.float32]] = (),
) -> None:
    """Write one clip; `clip.json` comes last, so that a folder with it is whole."""
    for name in ("frames", "masks", *(["depth"] if depths else [])):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, (rgb, mask) in enumerate(zip(frames, masks, strict=True)):
        _write(folder / "frames" / f"{index:04d}.jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        _write(folder / "masks" / f"{index:04d}.png", mask, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    for index, depth in enumerate(depths):
        millimetres = np.clip(depth * 1000.0, 0, 65535).astype(np.uint16)
        _write(folder / "depth" / f"{index:04d}.png", millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    write_text(folder / "clip.json", facts.to_json())


def _write(path: Path, image: NDArray[Any], options: list[int]) -> None:
    written, packed = cv2.imencode(path.suffix, image, options)
    if not written:
        raise ClipError(f"cannot encode {path} of shape {image.shape} and type {image.dtype}")
    path.write_bytes(packed.tobytes())


class ClipReader:
    """A clip folder, opened: facts at once, of what any frame shows; pictures when asked for.

    Raises:
        ClipError: no clip.json there, or not one of ours.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        path = self.folder / "clip.json"
        if not path.is_file():
            raise ClipError(f"{self.folder} holds no clip.json: give the folder of one finished clip")
        # Clips that were made before version 7 of the generator tell of things that nobody sees.
        self.facts = ClipFacts.from_json(path.read_text(encoding="utf-8")).without_unseen()

    def __len__(self) -> int:
        return len(self.facts.frames)

    def rgb(self, index: int) -> NDArray[np.uint8]:
        """Frame [H, W, 3], red first."""
        return np.ascontiguousarray(self._read("frames", index, ".jpg", cv2.IMREAD_COLOR)[..., ::-1])

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Instance ids [H, W], 0 background."""
        return np.asarray(self._read("masks", index, ".png", cv2.IMREAD_UNCHANGED), np.uint8)

    def depth(self, index: int) -> NDArray[np.float32]:
        """Depth along the optical axis [H, W] m; only clips rendered with depth have it."""
        return self._read("depth", index, ".png", cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000.0

    def _read(self, part: str, index: int, suffix: str, flags: int) -> NDArray[Any]:
        path = self.folder / part / f"{index:04d}{suffix}"
        image = read_picture(path, flags)
        if image is None:
            raise ClipError(f"{path} is missing or cannot be decoded: render the clip again")
        return np.asarray(image)


def list_clips(root: Path | str) -> list[Path]:
    """Folders of finished clips under `root`, in order of their seeds."""
    return sorted(path.parent for path in Path(root).glob("*/clip.json"))
