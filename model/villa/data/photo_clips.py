"""Photos with outlines as clips: a camera moves before each, and requests can be made about what is labelled on it.

What is not labelled on a photo may be there all the same. A source labels what it has names for, on all of its
pictures: those names can be asked for where they are missing, and no others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.data.benchmark import annotate
from villa.data.clip_making import each, view_of, write_whole
from villa.data.clips import SCHEMA, ClipFacts, ObjectFacts
from villa.data.coco_folder import CocoFolder, Instance, Picture
from villa.data.language.vocabulary import COLOURS, TABLETOP, kind_named, kind_of
from villa.data.photo_views import camera_path, ids_seen, labels_of, seen
from villa.data.splits import split_of

GENERATOR = 2_002  # apart from the other makers' numbers; raise it when the same seed would give another picture
SPLIT = "train"
_PIXELS, _FRAMES, _FPS = 416 * 320, 4, 5.0
_ASPECTS = (0.7, 1.8)  # width to height of the narrowest and the widest clip
# What people also call what has this label: COCO's cups are mugs and glasses as well.
_AS_WELL = {"cup": ("mug",)}
_MOST_THINGS = 60  # of a photo: of more no request means one
_WHOLE = (0.8, 1.0)  # share of the picture's width that is seen


@dataclass(frozen=True)
class PhotoClipReport:
    """What a call of `build` did."""

    folder: Path
    made: int
    kept: int  # clips that were there before
    passed_over: int  # photos with crowds, with too many things or with none


@dataclass(frozen=True)
class _Job:
    folder: str
    root: str
    split: str | None
    index: int  # of the photo
    seed: int


def build(
    out: Path, photos: Path, views: int, split: str | None = "train", workers: int = 1, *, quiet: bool = False
) -> PhotoClipReport:
    """Make `views` clips of every photo that can be one in `out/train`, leaving finished ones as they are.

    Requests about them are written beside them, in the format that `villa tune` and `villa eval` read.

    Raises:
        CocoError: the photos are not in the format.
    """
    from rich.progress import track

    folder = out / SPLIT
    folder.mkdir(parents=True, exist_ok=True)
    data, _ = _loaded(str(photos), split)
    fit = [index for index, picture in enumerate(data.pictures) if _fits(picture)]
    every = [(index, index * views + view) for view in range(views) for index in fit]
    jobs = [
        _Job(str(folder / f"{seed:07d}"), str(photos), split, index, seed)
        for index, seed in every
        if not (folder / f"{seed:07d}" / "clip.json").is_file()
    ]
    for _ in track(each(_run, jobs, workers), "filming photos", len(jobs), disable=quiet):
        pass
    annotate(folder, split_of(SPLIT), workers)
    return PhotoClipReport(folder, len(jobs), len(every) - len(jobs), len(data.pictures) - len(fit))


def film(
    data: CocoFolder, picture: Picture, labelled: Sequence[str], seed: int
) -> tuple[ClipFacts, list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """The clip of one photo and seed: facts, frames [H, W, 3] and masks [H, W].

    `labelled`: kinds that are labelled wherever the source of the photo shows them.
    """
    rng = np.random.default_rng([GENERATOR, seed])
    things = [one for one in picture.instances if not one.crowd]
    image, labels = data.rgb(picture), labels_of(data, picture, things)
    aim = _aim(picture, rng)
    views = camera_path((picture.width, picture.height), aim, _FRAMES, rng)
    # In the shape in which it was taken: a model squeezes it itself, and knows by how much.
    width, height = (round(float(np.sqrt(_PIXELS * ratio))) for ratio in (aim[2] / aim[3], aim[3] / aim[2]))
    frames = [seen(image, view, (width, height)) for view in views]
    masks = [ids_seen(labels, view, (width, height)) for view in views]
    shown = sorted({int(value) for mask in masks for value in np.unique(mask) if value})
    number = np.zeros(256, np.uint8)
    number[shown] = np.arange(1, len(shown) + 1)
    masks = [number[mask] for mask in masks]
    # It stands before the camera, who knows how far: all at one distance, which no request is made of.
    position = np.array([0.0, 1.0, 0.0])
    facts = ClipFacts(
        schema=SCHEMA,
        generator=GENERATOR,
        seed=seed,
        split=SPLIT,
        fps=_FPS,
        width=width,
        height=height,
        intrinsics=(float(width), float(width), width / 2.0, height / 2.0),
        camera_position_m=((0.0, 0.0, 0.0),) * _FRAMES,
        camera_rotation=((1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),) * _FRAMES,
        table="photo",
        objects=tuple(_facts(row + 1, things[value - 1], picture) for row, value in enumerate(shown)),
        frames=tuple(
            tuple(
                view_of(row + 1, mask == row + 1, int((mask == row + 1).sum()), position, 1.0)
                for row in range(len(shown))
            )
            for mask in masks
        ),
        events=(),
        labelled=tuple(labelled),
    )
    return facts, frames, masks


def _facts(identity: int, thing: Instance, picture: Picture) -> ObjectFacts:
    kind = kind_of(_kind(thing))
    # A label tells less than the words for a kind of the table-top.
    nouns = (thing.name.lower(), *_AS_WELL.get(thing.name.lower(), ())) if kind.name in TABLETOP else kind.nouns
    return ObjectFacts(
        identity,
        f"photo/{picture.identity}/{identity}",
        kind.name,
        kind.name,
        nouns,
        "",
        COLOURS,
        "",
        kind.uses,
        "photo",
    )


def _aim(picture: Picture, rng: np.random.Generator) -> tuple[float, ...]:
    """Left, top, width and height in px of what is seen: most of the picture, in the shape of the clip."""
    width, height = float(picture.width), float(picture.height)
    aspect = float(np.clip(width / height * np.exp(rng.normal(0, 0.1)), *_ASPECTS))
    wide = min(width, height * aspect) * float(rng.uniform(*_WHOLE))
    tall = wide / aspect
    return (float(rng.uniform(0, width - wide)), float(rng.uniform(0, height - tall)), wide, tall)


def _kind(thing: Instance) -> str:
    """What a label calls it, in the words of the vocabulary where that knows it."""
    return kind_named(thing.name) or thing.name.lower()


def _fits(picture: Picture) -> bool:
    things = picture.instances
    return 0 < len(things) <= _MOST_THINGS and not any(one.crowd for one in things)


@cache
def _loaded(root: str, split: str | None) -> tuple[CocoFolder, dict[str, tuple[str, ...]]]:
    """The photos, and the kinds that each source has names for."""
    data = CocoFolder(root, split)
    kinds: dict[str, set[str]] = defaultdict(set)
    for picture in data.pictures:
        kinds[picture.source] |= {_kind(thing) for thing in picture.instances}
    return data, {source: tuple(sorted(own)) for source, own in kinds.items()}


def _run(job: _Job) -> int:
    cv2.setNumThreads(1)
    data, labelled = _loaded(job.root, job.split)
    picture = data.pictures[job.index]
    facts, frames, masks = film(data, picture, labelled[picture.source], job.seed)
    write_whole(Path(job.folder), facts, frames, masks)
    return len(frames)
