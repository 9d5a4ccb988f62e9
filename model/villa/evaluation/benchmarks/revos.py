"""ReVOS: expressions that refer, and expressions that need reasoning.

`meta_expressions_<split>_.json`, `mask_dict.json` and `mask_dict_foreground.json` beside `JPEGImages/<video>/` (or
beside the videos themselves). Read from github.com/cilinyan/ReVOS-api (README) and github.com/cilinyan/VISA
(`tools/eval_revos.py`, `tools/generate_foreground_mask.py`). Not run on the set.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from villa.data.referring_videos import Video
from villa.evaluation.benchmarks.interface import BenchmarkError
from villa.evaluation.benchmarks.layout import json_object, needed_file, video_entries
from villa.evaluation.benchmarks.mask_dict import MASKS, MaskDictBenchmark
from villa.evaluation.protocols import HALLUCINATION, REASONING, REFERRING, Row, Score, revos_row
from villa.evaluation.submission import MaskFolders
from villa.files.run_lengths import RunLengthsError, mask_of
from villa.masks import Mask

_FOREGROUND = "mask_dict_foreground.json"
_KINDS = {0: REFERRING, 1: REASONING, 2: HALLUCINATION}  # by `type_id`; the evaluator calls the last one nan


class ReVOS(MaskDictBenchmark):
    """Referring and reasoning expressions, and robustness against what is not meant."""

    name = "revos"
    splits = ("valid", "train")
    source = "github.com/cilinyan/VISA, tools/eval_revos.py"
    # Its evaluator compares px with masks of 0 and 1.
    submission = MaskFolders(inside=1, zipped=False)

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        meta = self.meta()
        kinds = {
            (name, str(key)): self._kind(f"{meta}: video {name!r}, expression {key!r}", value.get("type_id"))
            for name, entry in video_entries(meta).items()
            for key, value in entry["expressions"].items()
        }
        self._videos = tuple(
            replace(v, expressions=tuple(replace(e, kind=kinds[v.name, e.key]) for e in v.expressions))
            for v in self._videos
        )
        where = root / _FOREGROUND
        self._foreground = json_object(where, "foreground masks by video (VISA's tools/generate_foreground_mask.py)")
        for video in self._videos:
            entry = self._foreground.get(video.name)
            frames = entry.get("masks_rle") if isinstance(entry, dict) else None
            if not isinstance(frames, list) or len(frames) != len(video.frames):
                saw = f"{len(frames)} masks" if isinstance(frames, list) else "none"
                raise BenchmarkError(
                    f"{where}: video {video.name!r}: wanted 'masks_rle' for {len(video.frames)} frames, saw {saw}"
                )

    def meta(self) -> Path:
        """File with the expressions."""
        return needed_file(self.root / f"meta_expressions_{self.split}_.json", "the expressions of ReVOS")

    def mask_file(self) -> Path | None:
        """File with the true masks, of both splits."""
        return self.root / MASKS

    def foreground(self, video: Video, frame: int, shape: tuple[int, int]) -> Mask | None:
        """Mask [H, W] of all that is annotated in the video."""
        coded = self._foreground[video.name]["masks_rle"][frame]
        try:
            return mask_of(coded, *shape)
        except RunLengthsError as error:
            raise BenchmarkError(
                f"{self.root / _FOREGROUND}: video {video.name!r}, frame {frame}: not COCO run lengths: {error}"
            ) from error

    @staticmethod
    def _kind(where: str, number: object) -> str:
        if not isinstance(number, int) or number not in _KINDS:
            raise BenchmarkError(f"{where}: wanted 'type_id' 0, 1 or 2, saw {number!r}")
        return _KINDS[number]

    def _row(self, scores: list[Score]) -> Row:
        return revos_row(scores)
