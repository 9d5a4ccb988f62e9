"""ReasonVOS: expressions that need reasoning, as phrases and as sentences, on videos of four other sets.

`meta_expressions.json`, `JPEGImages/<video>/`, and for each object that is meant a folder of binary masks
`Annotations/<source>_<video>_<obj_id>/`, not on every frame. Read from github.com/showlab/VideoLISA
(`benchmark_check.py`, `evaluation/reason_vos/`). Not run on the set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from villa.data.referring_videos import Expression, Video
from villa.evaluation.benchmarks.interface import Benchmark, BenchmarkError
from villa.evaluation.benchmarks.layout import frame_paths, needed_folder, video_entries, words
from villa.evaluation.protocols import Row, Score, reason_vos_row
from villa.evaluation.submission import MaskFolders
from villa.images.png_chunks import read_picture
from villa.masks import Mask

_FPS = 6.0  # not said; the sets it is made of differ
_FIELDS = ("obj_id", "exp_id", "is_sent")


class ReasonVOS(Benchmark):
    """One split. Frames without a mask file do not count."""

    name = "reason-vos"
    splits = ("test",)
    source = "github.com/showlab/VideoLISA, benchmark_check.py and evaluation/reason_vos/eval_reason_vos.py"
    submission = MaskFolders(zipped=False)

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        meta = root / "meta_expressions.json"
        self._annotated: dict[str, tuple[int, ...]] = {}  # frames with a mask, by folder
        self._videos = tuple(
            self._video(f"{meta}: video {name!r}", name, entry) for name, entry in video_entries(meta).items()
        )

    @property
    def videos(self) -> tuple[Video, ...]:
        """All videos."""
        return self._videos

    @property
    def masks_public(self) -> bool:
        """Can the split be scored here?"""
        return True

    def scored_frames(self, video: Video, expression: Expression) -> tuple[int, ...]:
        """Frames of which the object has a mask file."""
        return self._annotated[expression.masks[0]]

    def mask(self, video: Video, expression: Expression, frame: int, shape: tuple[int, int]) -> Mask:
        """True mask [H, W] of the one object: all that is not 0."""
        path = self.root / "Annotations" / expression.masks[0] / f"{video.frames[frame].stem}.png"
        image = read_picture(path, cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise BenchmarkError(f"{path}: wanted a mask, it is missing or does not decode")
        if image.shape != shape:
            raise BenchmarkError(
                f"{path}: {image.shape[1]}x{image.shape[0]} px, its image is {shape[1]}x{shape[0]}: wanted one size"
            )
        return np.asarray(image > 0, np.bool_)

    def place(self, video: Video, expression: Expression) -> str:
        """Folder of an expression's masks, as the evaluator wants it."""
        return f"{expression.masks[0]}/{expression.key.split('/', 1)[1]}"

    def _row(self, scores: list[Score]) -> Row:
        return reason_vos_row(scores)

    def _video(self, where: str, name: str, entry: dict[str, Any]) -> Video:
        if not isinstance(entry.get("source"), str):
            raise BenchmarkError(f"{where}: wanted 'source', the set it comes from")
        if not isinstance(entry["expressions"], list):
            raise BenchmarkError(f"{where}: wanted 'expressions' as a list, saw {type(entry['expressions']).__name__}")
        # The frames that a model is given are all that lie in the folder, as in the published inference.
        images = needed_folder(self.root / "JPEGImages" / name, "the frames of the video")
        there = sorted(path.stem for path in images.glob("*.jpg"))
        frames = frame_paths(images, [*there] or [str(frame) for frame in entry["frames"]])
        expressions = tuple(
            self._expression(f"{where}, expression {number}", name, entry["source"], value, there)
            for number, value in enumerate(entry["expressions"])
        )
        keys = [expression.key for expression in expressions]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise BenchmarkError(f"{where}: wanted each 'exp_id' once for an object, saw {twice[0]} twice")
        objects = tuple(sorted({identity for e in expressions for identity in e.masks}))
        return Video(name, frames, expressions, _FPS, objects, {}, tuple(range(len(frames))))

    def _expression(self, where: str, video: str, source: str, value: Any, frames: list[str]) -> Expression:
        text = words(where, value, "exp_text")
        for field in _FIELDS:
            if field not in value:
                raise BenchmarkError(f"{where}: wanted {field!r}, saw {', '.join(sorted(value))}")
        identity = f"{source}_{video}_{value['obj_id']}"
        if identity not in self._annotated:
            folder = needed_folder(self.root / "Annotations" / identity, "the masks of the object")
            number = {name: at for at, name in enumerate(frames)}
            named = sorted(path.stem for path in folder.glob("*.png"))
            if strange := [name for name in named if name not in number]:
                raise BenchmarkError(f"{folder / strange[0]}.png: wanted a frame of that name in JPEGImages/{video}")
            if not named:
                raise BenchmarkError(f"{folder}: wanted at least one mask, a PNG file; it holds none")
            self._annotated[identity] = tuple(number[name] for name in named)
        kind = "sentence" if value["is_sent"] else "phrase"
        return Expression(text, (identity,), key=f"{value['obj_id']}/{value['exp_id']}", kind=kind)
