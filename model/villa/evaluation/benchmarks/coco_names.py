"""Photos in the format of COCO, asked by name: "the banana", "all the cups", and names of what is not there.

Each picture is a clip of three equal frames, of which the middle one counts. A name is asked for where its instances
are few and neither tiny nor most of the picture. Where a picture's source labels everything that it has a name for, one
name that does not occur is asked for, too. Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from villa.data.coco_folder import CocoError, CocoFolder, Picture
from villa.data.referring_videos import Expression, Video
from villa.evaluation.benchmarks.interface import Benchmark, BenchmarkError
from villa.evaluation.protocols import Row, Score, present_row
from villa.interface import Rgb
from villa.masks import Mask
from villa.modeling.language.plurals import plural

FRAMES, FPS = 3, 5.0
MOST, SMALLEST, LARGEST = 4, 0.003, 0.45  # instances of a name; share of the picture that they cover together
# Of COCO's names those of things that a robot meets in a house: what is not there is asked for by one of these.
HOUSEHOLD = (
    "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "orange", "carrot", "broccoli",
    "donut", "sandwich", "cake", "hot dog", "book", "scissors", "remote", "cell phone", "mouse", "keyboard", "vase",
    "teddy bear", "toothbrush", "clock", "sports ball",
)  # fmt: skip
# Sources of which it is known that they leave things without a label, though they have a name for them.
PARTLY_LABELLED = frozenset(
    {"pantry", "food", "cocoperson", "circuitboard", "breadboard", "screw", "mugs", "bottles", "tools"}
)


class CocoNames(Benchmark):
    """Requests by name about every photo of a split."""

    name = "coco-names"
    splits: ClassVar[tuple[str, ...]] = ("val", "train", "test", "all")
    source = "cocodataset.org/#format-data"

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        try:
            self._data = CocoFolder(root, None if split == "all" else split)
        except CocoError as error:
            raise BenchmarkError(str(error)) from error
        self._pictures = {picture.identity: picture for picture in self._data.pictures}

    @cached_property
    def videos(self) -> tuple[Video, ...]:
        """Every photo of which something is asked."""
        made = (self._video(picture) for picture in self._data.pictures)
        return tuple(video for video in made if video.expressions)

    @property
    def masks_public(self) -> bool:
        """Yes."""
        return True

    def rgb(self, video: Video, frame: int) -> Rgb:
        """The photo [H, W, 3] uint8, the same for each frame."""
        try:
            return self._data.rgb(self._pictures[video.name])
        except CocoError as error:
            raise BenchmarkError(str(error)) from error

    def mask(self, video: Video, expression: Expression, frame: int, shape: tuple[int, int]) -> Mask:
        """Union [H, W] of all instances of the name."""
        picture = self._pictures[video.name]
        if shape != (picture.height, picture.width):
            seen, said = f"{shape[1]}x{shape[0]}", f"{picture.width}x{picture.height}"
            raise BenchmarkError(f"{picture.path}: masks of {seen} px, the picture is {said}")
        union = np.zeros(shape, np.bool_)
        try:
            for name in expression.masks:
                union |= self._of(picture, name)
        except CocoError as error:
            raise BenchmarkError(str(error)) from error
        return union

    def _row(self, scores: list[Score]) -> Row:
        """By source, and of everyday scenes the household names once more."""
        row = present_row(scores)
        household = [s for s in scores if s["kind"] == "coco" and s["target"] and str(s["key"]) in HOUSEHOLD]
        if household:
            row["parts"]["coco, household"] = present_row(household) | {"parts": {}}
        return row

    def _video(self, picture: Picture) -> Video:
        named: dict[str, int] = defaultdict(int)
        crowds = set()
        for instance in picture.instances:
            named[instance.name] += 1
            if instance.crowd:
                crowds.add(instance.name)
        expressions = []
        for name, count in named.items():
            if name in crowds or count > MOST:
                continue
            share = float(self._of(picture, name).mean())
            if SMALLEST <= share <= LARGEST:
                text = f"the {name}" if count == 1 else f"all the {plural(name)}"
                expressions.append(Expression(text, (name,), key=name, kind=picture.source))
        absent = self._absent(picture, set(named))
        if absent is not None:
            expressions.append(Expression(f"the {absent}", (), key=f"no {absent}", kind=picture.source))
        return Video(
            picture.identity,
            (picture.path,) * FRAMES,
            tuple(expressions),
            FPS,
            tuple(named),
            {name: (name,) for name in named},
            (FRAMES // 2,),
        )

    def _absent(self, picture: Picture, present: set[str]) -> str | None:
        """A name that nothing on the picture has, the same at every call; None where labels may lack."""
        if picture.source in PARTLY_LABELLED:
            return None
        of_source = self._names_of(picture.source)
        household = [name for name in HOUSEHOLD if name in of_source]
        known = [name for name in household or sorted(of_source) if name not in present]
        if not known:
            return None
        digest = hashlib.sha256(picture.path.name.encode()).digest()
        return known[int.from_bytes(digest[:4], "big") % len(known)]

    def _names_of(self, source: str) -> frozenset[str]:
        return self._by_source[source]

    @cached_property
    def _by_source(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for picture in self._data.pictures:
            found[picture.source].update(instance.name for instance in picture.instances)
        found[""].update(self._data.names.values())
        return {source: frozenset(names) for source, names in found.items()}

    def _of(self, picture: Picture, name: str) -> Mask:
        union = np.zeros((picture.height, picture.width), np.bool_)
        for instance in picture.instances:
            if instance.name == name:
                union |= self._data.mask(picture, instance)
        return union
