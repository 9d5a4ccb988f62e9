"""Ref-YouTube-VOS: expressions that mean one object each.

`meta_expressions/<split>/meta_expressions.json`, `<split>/JPEGImages/<video>/`, and for `train` alone label images in
`train/Annotations/<video>/`. Read from github.com/wjn922/ReferFormer (`docs/data.md`, `inference_ytvos.py`,
`datasets/ytvos.py`) and github.com/cilinyan/VISA (`utils/d2_datasets/refytvos_utils.py`). Not run on the set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from villa.data.referring_videos import Expression, Video
from villa.evaluation.benchmarks.interface import Benchmark, BenchmarkError
from villa.evaluation.benchmarks.layout import needed_folder, referred_videos, video_entries
from villa.evaluation.benchmarks.palette_masks import read_labels
from villa.evaluation.submission import MaskFolders
from villa.masks import Mask

_FPS = 6.0  # every fifth frame of videos of 30 frames/s


class RefYouTubeVOS(Benchmark):
    """The split `valid` can only be sent to its server; `train` is scored here."""

    name = "ref-youtube-vos"
    splits = ("valid", "train", "test")
    source = "github.com/wjn922/ReferFormer, inference_ytvos.py"
    submission = MaskFolders(prefix="Annotations")

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        meta = self._meta(split)
        entries = video_entries(meta)
        if split == "valid":
            # The file of the validation split holds the videos of the test split as well.
            test = video_entries(self._meta("test"))
            entries = {name: entry for name, entry in entries.items() if name not in test}
            if not entries:
                raise BenchmarkError(f"{meta}: wanted videos that {self._meta('test')} does not hold, saw none")
        self._videos = referred_videos(meta, entries, root / split / "JPEGImages", _FPS)
        if self.masks_public:
            needed_folder(root / split / "Annotations", "label images of each video")
            for video in self._videos:
                for expression in video.expressions:
                    if not all(identity.isdigit() for identity in expression.masks) or not expression.masks:
                        raise BenchmarkError(
                            f"{meta}: video {video.name!r}, expression {expression.key!r}: wanted 'obj_id', a label"
                        )

    @property
    def videos(self) -> tuple[Video, ...]:
        """All videos of the split."""
        return self._videos

    @property
    def masks_public(self) -> bool:
        """Can the split be scored here?"""
        return self.split == "train"

    def mask(self, video: Video, expression: Expression, frame: int, shape: tuple[int, int]) -> Mask:
        """True mask [H, W] of the one object."""
        if not self.masks_public:
            raise BenchmarkError(f"the masks of {self.name}, {self.split}, are not public: it can only be submitted")
        path = self.root / self.split / "Annotations" / video.name / f"{video.frames[frame].stem}.png"
        return np.isin(read_labels(path, shape), [int(identity) for identity in expression.masks])

    def _meta(self, split: str) -> Path:
        return self.root / "meta_expressions" / split / "meta_expressions.json"
