"""Benchmarks whose true masks are COCO run lengths in one file: MeViS, ReVOS, and the project's own format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from villa.data.referring_videos import Expression, Expressions, ExpressionsError, Video
from villa.evaluation.benchmarks.interface import Benchmark, BenchmarkError
from villa.evaluation.benchmarks.layout import needed_file, needed_folder, referred_videos, video_entries
from villa.masks import Mask

MASKS, FRAMES = "mask_dict.json", "JPEGImages"


class MaskDictBenchmark(Benchmark):
    """A split that `villa.data.referring_videos.Expressions` reads."""

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        meta = self.meta()
        masks = self.mask_file()
        if masks is None:
            self._data = None
            entries = video_entries(meta)
            self._videos = referred_videos(meta, entries, meta.parent / FRAMES, self.fps)
            return
        needed_file(masks, "the true masks as COCO run lengths by id")
        video_entries(meta)
        try:
            self._data = Expressions(meta.parent, meta, masks)
        except ExpressionsError as error:
            raise BenchmarkError(str(error)) from error
        self._videos = self._data.videos

    fps = 6.0  # where the annotation does not say it

    def meta(self) -> Path:
        """File with the expressions."""
        folder = needed_folder(self.root / self.split, f"the split {self.split} of {self.name}")
        return needed_file(folder / "meta_expressions.json", "the expressions")

    def mask_file(self) -> Path | None:
        """File with the true masks; None: those of this split are not public."""
        return self.root / self.split / MASKS

    @property
    def videos(self) -> tuple[Video, ...]:
        """All videos of the split."""
        return self._videos

    @property
    def masks_public(self) -> bool:
        """Can the split be scored here?"""
        return self._data is not None

    def mask(self, video: Video, expression: Expression, frame: int, shape: tuple[int, int]) -> Mask:
        """Union [H, W] of the masks that an expression means."""
        union = np.zeros(shape, np.bool_)
        if self._data is None:
            raise BenchmarkError(f"the masks of {self.name}, {self.split}, are not public: it can only be submitted")
        try:
            for identity in expression.masks:
                union |= self._data.mask(identity, frame, shape)
        except (ExpressionsError, ValueError, KeyError, TypeError) as error:
            raise BenchmarkError(
                f"{video.name}: a true mask of expression {expression.key!r}, frame {frame}, is not usable: {error}"
            ) from error
        return union
