"""Pictures of single things with their outlines, from photos with masks and from files with an alpha channel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.coco_folder import CocoFolder, Instance, Picture
from villa.data.language.vocabulary import KIND, kind_named

Rgba = NDArray[np.uint8]  # [h, w, 4], red first; alpha 255 inside

_LEAST_PX = 900  # of an outline
_LEAST_WHOLE = 0.85  # of it in one piece
_EDGE_PX = 3  # what lies so close to a picture's edge is cut off by it
LARGEST_M = 0.55  # what may be larger stands on no table
_NO_THINGS = frozenset({"people", "animal", "furniture", "vehicle"})
_SUFFIXES = (".webp", ".png")
VIEW_MARK = "@"  # in a file's name, before what tells views of one thing apart


@dataclass(frozen=True)
class Cutout:
    """One thing as one picture shows it."""

    key: str  # of the thing: the same for several views of it
    kind: str
    rgba: Rgba
    source: str

    @property
    def aspect(self) -> float:
        """Width to height."""
        return float(self.rgba.shape[1] / self.rgba.shape[0])


def of_photos(folder: CocoFolder, partly: Sequence[str] = ()) -> Iterator[Cutout]:
    """What stands whole on a photo, is no larger than a table and has a kind; `partly`: sources to leave out."""
    for picture in folder.pictures:
        if picture.source in partly:
            continue
        wanted = [one for one in picture.instances if _may_stand(one, picture)]
        if not wanted:
            continue
        image = folder.rgb(picture)
        for number, instance in enumerate(wanted):
            mask = folder.mask(picture, instance)
            if _is_whole(mask) and not _is_covered(mask, instance, picture, folder):
                kind = kind_named(instance.name)
                assert kind is not None
                key = f"{picture.source or 'photo'}/{picture.path.stem}-{number}"
                yield Cutout(key, kind, _cut(image, mask), picture.source or "photo")


def of_files(folder: Path) -> Iterator[Cutout]:
    """Files with an alpha channel; a thing's kind is read from the words of its file name ("red_mug_2.png").

    Files of one folder whose names differ after an @ alone ("mug@1.png") are views of one thing. Files whose name
    holds no kind are left out.
    """
    for path in sorted(one for suffix in _SUFFIXES for one in folder.rglob(f"*{suffix}")):
        name = path.stem.partition(VIEW_MARK)[0]
        kind = kind_of_name(name)
        rgba = None if kind is None else read_rgba(path)
        if kind is not None and rgba is not None:
            key = (Path(folder.name) / path.relative_to(folder).with_name(name)).as_posix()
            yield Cutout(key, kind, rgba, folder.name)


def read_rgba(path: Path) -> Rgba | None:
    """A picture with alpha, cropped to what it shows; None where it has none, or does not decode."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        return None
    rows, columns = np.nonzero(image[..., 3].max(axis=1) > 127)[0], np.nonzero(image[..., 3].max(axis=0) > 127)[0]
    if not rows.size:
        return None
    part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(cv2.cvtColor(part, cv2.COLOR_BGRA2RGBA), np.uint8)


def kind_of_name(name: str) -> str | None:
    """The kind that a file's name tells: the noun with the most words; of nouns near to each other the longest."""
    words = re.findall(r"[a-z]+", name.lower())
    for count in (3, 2, 1):
        found = [" ".join(words[at : at + count]) for at in range(len(words) - count + 1)]
        kinds = {noun: kind for noun in found if (kind := kind_named(noun)) is not None}
        if kinds:
            first = next(iter(kinds.values()))
            alike = [noun for noun, kind in kinds.items() if kind in (first, *KIND[first].near)]
            return kinds[max(alike, key=len)]
    return None


def _may_stand(one: Instance, picture: Picture) -> bool:
    kind = KIND.get(kind_named(one.name) or "")
    if one.crowd or kind is None or kind.size_m is None or kind.size_m[1] > LARGEST_M or _NO_THINGS & set(kind.groups):
        return False
    x, y, w, h = one.bbox
    inside = x > _EDGE_PX and y > _EDGE_PX and x + w < picture.width - _EDGE_PX and y + h < picture.height - _EDGE_PX
    return inside and w * h >= _LEAST_PX


def _is_whole(mask: NDArray[np.bool_]) -> bool:
    area = int(mask.sum())
    if area < _LEAST_PX:
        return False
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return float(stats[1:, cv2.CC_STAT_AREA].max()) >= _LEAST_WHOLE * area


def _is_covered(mask: NDArray[np.bool_], one: Instance, picture: Picture, folder: CocoFolder) -> bool:
    """Does something else that is labelled touch it from inside its box? Then it is seldom seen whole."""
    x, y, w, h = one.bbox
    others = np.zeros_like(mask)
    for other in picture.instances:
        ox, oy, ow, oh = other.bbox
        if other is not one and ox < x + w and x < ox + ow and oy < y + h and y < oy + oh:
            others |= folder.mask(picture, other)
    if not others.any():
        return False
    hull = np.zeros(mask.shape, np.uint8)
    points = np.argwhere(mask)[:, ::-1].astype(np.int32)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return int((others & (hull > 0) & ~mask).sum()) > 0.06 * int(mask.sum())


def _cut(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Rgba:
    """Cropped, with an edge one pixel further in and soft: outlines drawn by hand take some of what is behind along."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inner = cv2.erode(mask[part].astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    alpha = cv2.GaussianBlur(inner.astype(np.float32) * 255, (0, 0), 0.8)
    return np.dstack([image[part], alpha.astype(np.uint8)])
