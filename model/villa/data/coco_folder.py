"""Pictures with instance masks in the format of COCO: https://cocodataset.org/#format-data

One JSON file with `images`, `annotations` and `categories`, and the pictures beside it. Read as COCO lays it out
(`annotations/instances_<split>.json` and a folder for each split), as Roboflow exports it
(`<split>/_annotations.coco.json`), and as one file `instances.json` with a folder `images`. An image may say its
`split` and its `source`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.files.plain_data import PlainDataError, is_there, read_json, shaped
from villa.files.run_lengths import RunLengthsError, mask_of
from villa.images.png_chunks import read_picture
from villa.interface import Rgb

_FILES = ("instances.json", "annotations/instances*.json", "_annotations.coco.json", "annotations.json")
_SPLIT_FILES = ("annotations/instances_{split}*.json", "{split}/_annotations.coco.json", "instances_{split}*.json")
_OTHER_NAMES = {"val": "valid"}  # what Roboflow calls a split


class CocoError(ValueError):
    """A folder is not in this format; the message names the first thing that does not fit."""


Identity = int | str  # COCO numbers; exporters write both


@dataclass(frozen=True)
class _ImageEntry:
    id: Identity
    file_name: str
    width: int
    height: int
    split: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class _CategoryEntry:
    id: Identity
    name: str


@dataclass(frozen=True)
class _AnnotationEntry:
    image_id: Identity
    category_id: Identity
    segmentation: Any
    bbox: list[float] | None = None
    iscrowd: int | bool = 0


Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Instance:
    """One thing on a picture."""

    name: str  # of its category
    crowd: bool  # many of its kind in one mask
    bbox: tuple[float, float, float, float]  # left, top, width, height px
    segmentation: Any  # polygons, or run lengths


@dataclass(frozen=True)
class Picture:
    """A picture and what is labelled on it."""

    identity: str
    path: Path
    width: int  # px
    height: int
    source: str  # where a folder holds pictures of several; else empty
    instances: tuple[Instance, ...]


class CocoFolder:
    """All pictures of one split; masks are decoded when asked for.

    Raises:
        CocoError: a file is missing, is no JSON, or does not hold what the format says.
    """

    def __init__(self, root: Path | str, split: str | None = None) -> None:
        """`root`: the folder, or its JSON file; `split`: None takes every picture."""
        self.root = Path(root)
        self.file = self.root if self.root.suffix == ".json" else _file_of(self.root, split)
        data = _read(self.file)
        self.names = _categories(self.file, data["categories"])
        entries = [_entry(self.file, "image", entry, _ImageEntry) for entry in data["images"]]
        if split is not None and any(entry.split is not None for entry in entries):
            entries = [entry for entry in entries if entry.split == split]
        if not entries:
            raise CocoError(f"{self.file}: no image{'' if split is None else f' of split {split!r}'}: choose another")
        self._folder = _pictures_of(self.file, entries[0].file_name)
        instances = self._instances(data["annotations"])
        self.pictures = tuple(
            Picture(
                str(entry.id),
                self._folder / entry.file_name,
                entry.width,
                entry.height,
                entry.source or "",
                tuple(instances[entry.id]),
            )
            for entry in entries
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def rgb(self, picture: Picture) -> Rgb:
        """The picture [H, W, 3] uint8, red first.

        Raises:
            CocoError: the file is missing, does not decode, or has another size than the annotation says.
        """
        image = read_picture(picture.path)
        if image is None:
            raise CocoError(f"{picture.path}: wanted a picture, it is missing or does not decode")
        if image.shape[:2] != (picture.height, picture.width):
            seen, said = f"{image.shape[1]}x{image.shape[0]}", f"{picture.width}x{picture.height}"
            raise CocoError(f"{picture.path} is {seen} px, {self.file.name} says {said}: masks would not lie on it")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def mask(self, picture: Picture, instance: Instance) -> NDArray[np.bool_]:
        """Mask [H, W] of one instance.

        Raises:
            CocoError: neither polygons nor run lengths of the picture's size.
        """
        try:
            return mask_of(instance.segmentation, picture.height, picture.width)
        except RunLengthsError as error:
            where = f"{self.file}: image {picture.identity}, {instance.name!r}"
            raise CocoError(f"{where}: wanted polygons or run lengths of the picture's size: {error}") from error

    def _instances(self, annotations: list[Any]) -> dict[Any, list[Instance]]:
        found: dict[Any, list[Instance]] = defaultdict(list)
        for number, annotation in enumerate(annotations):
            entry = _entry(self.file, f"annotation {number}", annotation, _AnnotationEntry)
            if entry.category_id not in self.names:
                raise CocoError(f"{self.file}: annotation {number} is of category {entry.category_id!r}, which is none")
            box = entry.bbox or [0.0, 0.0, 0.0, 0.0]
            if len(box) != 4:
                raise CocoError(f"{self.file}: annotation {number} has a bbox of {len(box)} numbers, wanted 4")
            name = self.names[entry.category_id]
            found[entry.image_id].append(
                Instance(name, bool(entry.iscrowd), (box[0], box[1], box[2], box[3]), entry.segmentation)
            )
        return found


def _file_of(root: Path, split: str | None) -> Path:
    if not root.is_dir():
        raise CocoError(f"{root} is no folder and no JSON file: give the folder that holds the annotations")
    patterns = [*_FILES]
    if split is not None:
        calls = [split, _OTHER_NAMES.get(split, split)]
        patterns = [pattern.format(split=call) for pattern in _SPLIT_FILES for call in calls] + patterns
    for pattern in patterns:
        found = sorted(root.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            seen = ", ".join(path.name for path in found)
            raise CocoError(f"{root}: several files {pattern}: {seen}: name a split, or give the file itself")
    raise CocoError(f"{root}: no annotations: looked for {', '.join(patterns)}")


def _read(path: Path) -> dict[str, list[Any]]:
    try:
        data = read_json(path)
    except PlainDataError as error:
        raise CocoError(f"{path} is not readable as JSON: {error}") from error
    lists = ("images", "annotations", "categories")
    for name in lists:
        if not isinstance(data, dict) or not isinstance(data.get(name), list):
            raise CocoError(f"{path}: wanted a list {name!r}, as COCO has it")
    return {name: data[name] for name in lists}


def _entry(path: Path, what: str, entry: Any, kind: type[Entry]) -> Entry:
    wanted = [row.name for row in fields(kind) if row.default is MISSING]  # type: ignore[arg-type]
    missing = [name for name in wanted if not isinstance(entry, dict) or name not in entry]
    if missing:
        raise CocoError(f"{path}: {what} has no {missing[0]!r}")
    try:
        return shaped(entry, kind)
    except PlainDataError as error:
        raise CocoError(f"{path}: {what}: {error}") from error


def _categories(path: Path, entries: list[Any]) -> dict[Any, str]:
    named = (_entry(path, "category", entry, _CategoryEntry) for entry in entries)
    return {entry.id: entry.name for entry in named}


def _pictures_of(file: Path, first: str) -> Path:
    """The folder that file names of pictures are relative to."""
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    split = file.stem.removeprefix("instances_")
    tried = [file.parent, root / "images", root, root / split, root / "images" / split, root / "JPEGImages"]
    for folder in tried:
        if is_there(folder / first):
            return folder
    raise CocoError(f"{file}: its first picture {first} is not there: looked in {', '.join(map(str, tried))}")
