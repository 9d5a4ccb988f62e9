"""Videos with referring expressions in the annotation format of MeViS and ReVOS.

`meta_expressions*.json` holds, for each video, its frame names and its expressions with the ids of the masks they
mean; `mask_dict.json` holds a list of COCO run lengths (or null) for each id, one a frame. The layout was read from
public code (github.com/bytedance/Sa2VA, projects/sa2va/datasets/sa2va_data_03_refvos.py and its configs), not run on
the published sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa.files.plain_data import PlainDataError, is_there, read_json, shaped
from villa.files.run_lengths import RunLengthsError, mask_of
from villa.images.png_chunks import read_picture
from villa.interface import Rgb
from villa.modeling.language import answer_text

META = "meta_expressions*.json"
MASKS = "mask_dict.json"
_FRAMES = ("JPEGImages", "")  # MeViS has its videos in a folder of their own, ReVOS beside the annotations
_SUFFIXES = (".jpg", ".png", ".jpeg")


class ExpressionsError(ValueError):
    """A folder is not in this format; the message names the first thing that does not fit."""


@dataclass(frozen=True)
class Expression:
    """One request about a video."""

    text: str
    masks: tuple[str, ...]  # ids of what it means; none: nothing there
    answer: str | None = None  # an answer with one [SEG] for each mask, in order; None: not said
    key: str = ""  # in its video
    # Only the project's own benchmark says what follows; see `villa.data.benchmark`.
    kind: str = ""
    asked_at: int | None = None  # frame at which it is asked live; None: about the whole video
    after: str | None = None  # key of the request that it follows up on
    choices: tuple[str, ...] = ()
    choice: int | None = None  # index of the right one


@dataclass(frozen=True)
class Video:
    """A video with its expressions."""

    name: str
    frames: tuple[Path, ...]
    expressions: tuple[Expression, ...]
    fps: float
    objects: tuple[str, ...]  # mask ids of all things that are known
    names: dict[str, tuple[str, ...]]  # of those, where the annotation says it: all words that name each
    scored: tuple[int, ...]  # frames that have true masks

    def chain(self, expression: Expression) -> tuple[Expression, ...]:
        """What an expression follows up on, oldest first."""
        by_key = {item.key: item for item in self.expressions}
        earlier: list[Expression] = []
        while expression.after is not None and len(earlier) < len(by_key):
            expression = by_key[expression.after]
            earlier.insert(0, expression)
        return tuple(earlier)

    def before(self, expression: Expression) -> tuple[tuple[str, str], ...]:
        """Requests and answers that an expression follows up on, as a session remembers them: without marks."""
        return tuple((turn.text, answer_text.read(turn.answer or "").text) for turn in self.chain(expression))


class Expressions:
    """All videos of one split.

    Raises:
        ExpressionsError: a file is missing, is no JSON, or does not hold what the format says.
    """

    def __init__(self, root: Path, meta: Path | None = None, masks: Path | None = None) -> None:
        """`root` is a split's folder; where it holds several meta files, `meta` says which."""
        self.root = root
        meta = _one(root, META) if meta is None else meta
        self._masks = _object(_one(root, MASKS) if masks is None else masks, "masks by id")
        videos = _object(meta, "an object with 'videos'").get("videos")
        if not isinstance(videos, dict) or not videos:
            raise ExpressionsError(f"{meta}: wanted 'videos' with at least one video, saw {type(videos).__name__}")
        self.videos = tuple(self._video(meta, name, entry) for name, entry in videos.items())

    def __len__(self) -> int:
        return len(self.videos)

    def __iter__(self) -> Iterator[Video]:
        return iter(self.videos)

    def mask(self, identity: str, frame: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Mask [H, W] of one id on one frame; all False where the object is not there."""
        coded = self._masks[identity][frame]
        if coded is None:
            return np.zeros(shape, np.bool_)
        try:
            return mask_of(coded, *shape)
        except RunLengthsError as error:
            raise ExpressionsError(f"{self.root}: mask {identity!r} of frame {frame}: {error}") from error

    def rgb(self, video: Video, frame: int) -> Rgb:
        """One frame [H, W, 3].

        Raises:
            ExpressionsError: the file does not decode.
        """
        image = read_picture(video.frames[frame])
        if image is None:
            raise ExpressionsError(f"{video.frames[frame]} does not decode: it is damaged or no image")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def _video(self, meta: Path, name: str, entry: Any) -> Video:
        where = f"{meta}: video {name!r}"
        if not isinstance(entry, dict) or not isinstance(entry.get("frames"), list) or not entry["frames"]:
            raise ExpressionsError(f"{where}: wanted 'frames' with at least one name")
        asked = entry.get("expressions")
        if not isinstance(asked, dict):
            raise ExpressionsError(f"{where}: wanted 'expressions', saw {type(asked).__name__}")
        _check(where, entry, _VideoEntry)
        frames = tuple(str(f) for f in entry["frames"])
        expressions = tuple(
            self._expression(f"{where}, expression {key!r}", str(key), value, len(frames))
            for key, value in asked.items()
        )
        keys = {expression.key for expression in expressions}
        for expression in expressions:
            if expression.after is not None and expression.after not in keys:
                raise ExpressionsError(
                    f"{where}, expression {expression.key!r}: comes after {expression.after!r}, which is not there"
                )
        asked_for = sorted({identity for expression in expressions for identity in expression.masks})
        objects = tuple(map(str, entry.get("objects", asked_for)))
        if unknown := [identity for identity in objects if identity not in self._masks]:
            raise ExpressionsError(f"{where}: object {unknown[0]!r} is not in {MASKS}")
        scored = tuple(entry.get("scored", range(len(frames))))
        if not scored or not set(scored) <= set(range(len(frames))):
            raise ExpressionsError(f"{where}: wanted 'scored' as indices of its {len(frames)} frames, saw {scored}")
        names = entry.get("names", {})
        if not isinstance(names, dict) or any(not isinstance(words, list) for words in names.values()):
            raise ExpressionsError(f"{where}: wanted 'names' as lists of words by mask id")
        return Video(
            name,
            self._paths(where, name, frames),
            expressions,
            float(entry.get("fps", 6.0)),
            objects,
            {str(identity): tuple(map(str, words)) for identity, words in names.items()},
            scored,
        )

    def _expression(self, where: str, key: str, value: Any, frames: int) -> Expression:
        if not isinstance(value, dict) or not isinstance(value.get("exp"), str) or not value["exp"].strip():
            raise ExpressionsError(f"{where}: wanted 'exp', the words")
        identities = value.get("anno_id", [])
        if not isinstance(identities, list):
            raise ExpressionsError(f"{where}: wanted 'anno_id', a list of mask ids")
        _check(where, value, _ExpressionEntry)
        ids = tuple(str(i) for i in identities)
        for identity in ids:
            track = self._masks.get(identity)
            if track is None:
                raise ExpressionsError(f"{where}: mask {identity!r} is not in {MASKS}")
            if not isinstance(track, list):
                raise ExpressionsError(f"{where}: mask {identity!r} is {type(track).__name__}, wanted one a frame")
            if len(track) != frames:
                raise ExpressionsError(f"{where}: mask {identity!r} has {len(track)} frames, the video {frames}")
        answer = value.get("answer")
        if answer is not None and str(answer).count("[SEG]") != len(ids):
            raise ExpressionsError(f"{where}: the answer has {str(answer).count('[SEG]')} [SEG] for {len(ids)} masks")
        asked_at, after = value.get("asked_at"), value.get("after")
        if asked_at is not None and not (isinstance(asked_at, int) and 0 <= asked_at < frames):
            raise ExpressionsError(f"{where}: asked_at is {asked_at!r}, the video has {frames} frames")
        choices, choice = tuple(map(str, value.get("choices", ()))), value.get("choice")
        if bool(choices) != (choice is not None) or (choices and choice not in range(len(choices))):
            raise ExpressionsError(f"{where}: choice is {choice!r} of {len(choices)} choices")
        return Expression(
            value["exp"].strip(),
            ids,
            None if answer is None else str(answer),
            key,
            str(value.get("kind", "")),
            asked_at,
            None if after is None else str(after),
            choices,
            choice,
        )

    def _paths(self, where: str, name: str, frames: tuple[str, ...]) -> tuple[Path, ...]:
        for folder in _FRAMES:
            for suffix in _SUFFIXES:
                if is_there(self.root / folder / name / f"{frames[0]}{suffix}"):
                    return tuple(self.root / folder / name / f"{frame}{suffix}" for frame in frames)
        tried = ", ".join(str(Path(folder) / name / f"{frames[0]}.jpg") for folder in _FRAMES)
        raise ExpressionsError(f"{where}: its first frame is not there: looked for {tried} in {self.root}")


@dataclass(frozen=True)
class _VideoEntry:
    """What a video's entry may hold beside its expressions."""

    frames: list[str | int]
    objects: list[str | int] | None = None
    scored: list[int] | None = None
    fps: float = 6.0


@dataclass(frozen=True)
class _ExpressionEntry:
    """What an expression's entry may hold."""

    exp: str
    anno_id: list[str | int] = field(default_factory=list)
    answer: str | None = None
    kind: str = ""
    asked_at: int | None = None
    after: str | int | None = None
    choices: list[str] = field(default_factory=list)
    choice: int | None = None


def _check(where: str, entry: Any, kind: type) -> None:
    try:
        shaped(entry, kind)
    except PlainDataError as error:
        raise ExpressionsError(f"{where}: {error}") from error


def _one(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        seen = ", ".join(path.name for path in found) or "none"
        advice = "name the one to read" if found else "give a split's folder, as `villa data build` makes them"
        raise ExpressionsError(f"{root}: wanted one file {pattern}, saw {seen}: {advice}")
    return found[0]


def _object(path: Path, what: str) -> dict[str, Any]:
    try:
        data = read_json(path)
    except PlainDataError as error:
        raise ExpressionsError(f"{path} is not readable as JSON: {error}") from error
    if not isinstance(data, dict):
        raise ExpressionsError(f"{path}: wanted {what}, saw {type(data).__name__}")
    return data
