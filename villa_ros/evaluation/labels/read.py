"""Labels that a person corrected, read back: the palette images say where things are, `labels.json` what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from villa.files.plain_data import from_json, shaped
from villa.files.run_lengths import mask_of
from villa.masks import RleMask, decode, encode
from villa_ros.evaluation.labels.format import (
    ANNOTATIONS,
    BACKGROUND,
    IGNORE,
    LABELS,
    MOST_OBJECTS,
    Indices,
    davis_palette,
    flatten,
)
from villa_ros.pipeline.request import Action, Request


class LabelsError(ValueError):
    """A folder of labels that cannot be read; the message names the file, what was seen and what was wanted."""


@dataclass(frozen=True)
class LabelledObject:
    """One object of the folder."""

    number: int  # its value in the palette images
    track_id: str  # of the run; "new-NUMBER" where a person added it
    name: str
    masks: Mapping[int, RleMask]  # stamp in ns -> mask, on every labelled frame


@dataclass(frozen=True)
class LabelledRequest:
    """One request and the numbers of what it means."""

    request: Request
    objects: tuple[int, ...]
    begin_ns: int
    end_ns: int | None  # the first stamp after it; None: to the end


@dataclass(frozen=True)
class RequestLabels:
    """The ground truth of one request."""

    request: Request
    stamps: tuple[int, ...]  # ns, ascending: the labelled frames that it is about
    objects: Mapping[str, Mapping[int, RleMask]]  # track id -> stamp in ns -> mask; empty where it is out of view


@dataclass(frozen=True)
class Labels:
    """A folder of labels."""

    folder: Path
    camera: str
    topic: str
    height: int  # px
    width: int  # px
    stamps: tuple[int, ...]  # ns, ascending
    objects: tuple[LabelledObject, ...]
    requests: tuple[LabelledRequest, ...]  # by stamp
    ignored: Mapping[int, RleMask]  # stamp in ns -> pixels of which nobody can tell, where there are any
    corrected: tuple[int, ...]  # stamps of the frames that are not as they were drafted

    def truth(self) -> dict[str, RequestLabels]:
        """What each request should have found, by request id. Ignored pixels belong to no object here."""
        by_number = {one.number: one for one in self.objects}
        found = {}
        for asked in self.requests:
            stamps = tuple(t for t in self.stamps if asked.begin_ns <= t and (asked.end_ns is None or t < asked.end_ns))
            objects = {
                by_number[number].track_id: {t: by_number[number].masks[t] for t in stamps} for number in asked.objects
            }
            found[asked.request.request_id] = RequestLabels(asked.request, stamps, objects)
        return found


def read_labels(folder: Path) -> Labels:
    """A folder of `villa_ros.evaluation.labels.draft`, corrected or not.

    A pixel that is as it was drafted keeps all objects of the draft, also those that others cover; a changed one
    belongs to the object that was painted and to no other. A number that `labels.json` does not know is a new object,
    which is there and which no request means unless its `objects` say so.

    Raises:
        LabelsError: a file is missing, cannot be read or does not fit; the message says which.
    """
    path = folder / LABELS
    try:
        draft = _Draft.read(shaped(from_json(path.read_bytes()), _File))
    except OSError as error:
        raise LabelsError(f"{path} cannot be read ({error}): give a folder that `--draft-labels` wrote") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise LabelsError(
            f"{path} is no file of labels ({type(error).__name__}: {error}): wanted what `--draft-labels` wrote, with "
            "no more changed than its requests"
        ) from error
    return _corrected(folder, draft)


@dataclass(frozen=True)
class _Draft:
    """What `labels.json` says."""

    camera: str
    topic: str
    height: int
    width: int
    stamps: tuple[int, ...]
    tracks: Mapping[int, tuple[str, str]]  # number -> track id, name
    masks: Mapping[int, Mapping[int, RleMask]]  # stamp -> number -> mask
    requests: tuple[LabelledRequest, ...]

    @classmethod
    def read(cls, file: _File) -> _Draft:
        (video,) = file.videos
        stamps = video.stamps_ns
        names = {category.id: category.name for category in file.categories}
        masks: dict[int, dict[int, RleMask]] = {stamp: {} for stamp in stamps}
        tracks = {}
        for entry in file.annotations:
            if not 0 < entry.id <= MOST_OBJECTS:
                raise ValueError(f"object {entry.id} is none of 1 to {MOST_OBJECTS}, which an image can hold")
            tracks[entry.id] = entry.track_id, names[entry.category_id]
            for stamp, coded in zip(stamps, entry.segmentations, strict=True):
                if coded is not None:
                    masks[stamp][entry.id] = encode(mask_of(coded, video.height, video.width))
        requests = sorted(map(_request, file.requests), key=lambda asked: asked.request.stamp_ns)
        return cls(
            video.camera, video.topic, video.height, video.width, tuple(sorted(stamps)), tracks, masks, tuple(requests)
        )


@dataclass(frozen=True)
class _VideoEntry:
    camera: str
    topic: str
    height: int
    width: int
    stamps_ns: list[int]


@dataclass(frozen=True)
class _Category:
    id: int
    name: str


@dataclass(frozen=True)
class _Annotation:
    id: int
    track_id: str
    category_id: int
    segmentations: list[Any]


@dataclass(frozen=True)
class _Command:
    """What a request was beside its words, as `Request` has it."""

    action: Action
    camera: str
    stamp_ns: int
    conversation_id: str
    locale: str
    confidence: float | None
    track: bool
    clip_duration_s: float
    timeout_s: float


@dataclass(frozen=True)
class _RequestEntry:
    request_id: str
    text: str
    objects: list[int]
    begin_ns: int
    end_ns: int | None
    command: _Command


@dataclass(frozen=True)
class _File:
    videos: list[_VideoEntry]
    categories: list[_Category]
    annotations: list[_Annotation]
    requests: list[_RequestEntry]


def _request(entry: _RequestEntry) -> LabelledRequest:
    command = dict(vars(entry.command))
    if command["confidence"] is None:
        command["confidence"] = math.nan
    request = Request(request_id=entry.request_id, text=entry.text, **command)
    return LabelledRequest(request, tuple(dict.fromkeys(entry.objects)), entry.begin_ns, entry.end_ns)


def _corrected(folder: Path, draft: _Draft) -> Labels:
    """The draft as its palette images now say it is."""
    annotations = folder / ANNOTATIONS
    there = {file.stem: file for file in annotations.glob("*.png")}
    wanted = {str(stamp): stamp for stamp in draft.stamps}
    if missing := sorted(set(wanted) - set(there)):
        raise LabelsError(
            f"{annotations / missing[0]}.png is not there ({len(missing)} of {len(wanted)} are missing): wanted one "
            "image for each frame, also for those without objects"
        )
    if unknown := sorted(set(there) - set(wanted)):
        raise LabelsError(
            f"{there[unknown[0]]} is of no frame that {LABELS} knows: wanted names such as {draft.stamps[0]}.png; take "
            "it away"
        )
    shape = (draft.height, draft.width)
    masks: dict[int, dict[int, RleMask]] = {number: {} for number in draft.tracks}
    ignored: dict[int, RleMask] = {}
    changed: list[int] = []
    for name, stamp in wanted.items():
        drafted = draft.masks[stamp]
        painted = _numbers(there[name], shape, len(draft.tracks))
        kept = painted == flatten(drafted, *shape)
        if not kept.all():
            changed.append(stamp)
        present = {int(number) for number in np.unique(painted)} - {BACKGROUND, IGNORE}
        for number in present | set(drafted):
            if kept.all() and number in drafted:
                masks[number][stamp] = drafted[number]
                continue
            mask = painted == number
            if number in drafted:
                mask |= kept & decode(drafted[number])
            masks.setdefault(number, {})[stamp] = encode(mask)
        if (nobody := painted == IGNORE).any():
            ignored[stamp] = encode(nobody)
    empty = RleMask.empty(*shape)
    objects = tuple(
        LabelledObject(
            number,
            *draft.tracks.get(number, (f"new-{number}", f"object {number}")),
            {stamp: masks[number].get(stamp, empty) for stamp in draft.stamps},
        )
        for number in sorted(masks)
    )
    for asked in draft.requests:
        if unknown_numbers := [number for number in asked.objects if number not in masks]:
            raise LabelsError(
                f"{folder / LABELS}: request {asked.request.request_id!r} means object {unknown_numbers[0]}, which is "
                f"on no image; there are {sorted(masks)}: paint it, or take it out of the request's objects"
            )
    return Labels(
        folder, draft.camera, draft.topic, *shape, draft.stamps, objects, draft.requests, ignored, tuple(changed)
    )


def _numbers(file: Path, shape: tuple[int, int], objects: int) -> Indices:
    """The numbers of a palette or gray image [H, W].

    Raises:
        LabelsError: it is neither, does not decode, is of another size, or its palette was sorted anew.
    """
    try:
        with Image.open(file) as image:
            mode, palette = image.mode, image.getpalette()
            numbers = np.array(image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise LabelsError(f"{file} cannot be read as an image ({error}): wanted a PNG; save it again") from error
    if mode not in ("P", "L"):
        raise LabelsError(
            f"{file} is of mode {mode}: wanted an indexed (palette) or 8-bit gray image that holds objects' numbers; "
            "save it without turning it into colours"
        )
    if numbers.shape != shape:
        raise LabelsError(
            f"{file} is {numbers.shape[1]}x{numbers.shape[0]} px: wanted {shape[1]}x{shape[0]}, the size of its frame"
        )
    if palette is not None:
        _check_palette(file, np.reshape(palette, (-1, 3)), np.unique(numbers), objects)
    return numbers.astype(np.uint8)


def _check_palette(file: Path, palette: np.ndarray[Any, Any], used: np.ndarray[Any, Any], objects: int) -> None:
    """Refuse a palette that an editor sorted or shrank: its numbers would be those of other objects, unnoticed."""
    ours = davis_palette()
    known = {tuple(ours[number].tolist()): number for number in range(objects + 1)}
    for number in used[used < len(palette)].tolist():
        colour = tuple(palette[number].tolist())
        meant = known.get(colour, number)
        if meant != number and colour != tuple(ours[number].tolist()):
            raise LabelsError(
                f"{file}: number {number} has the colour {colour} of number {meant}, so the editor has sorted the "
                "palette anew: wanted the palette as it was; save without optimizing it"
            )
