"""Ref-DAVIS17: four expressions for each object of the 30 validation videos of DAVIS 2017.

Either as published, `DAVIS/` (frames, `Annotations_unsupervised/480p`, `ImageSets/2017`) and `davis_text_annotations/`,
or as github.com/wjn922/ReferFormer, `tools/data/convert_davis_to_ytvos.py`, makes it: `meta_expressions/<split>/`,
`<split>/JPEGImages/` and `<split>/Annotations/`. Both were read from that script, `docs/data.md`, `inference_davis.py`
and `eval_davis.py` there. Not run on the set.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from villa.data.referring_videos import Expression, Video
from villa.evaluation.benchmarks.davis_texts import TEXTS, davis_entries
from villa.evaluation.benchmarks.interface import Benchmark, BenchmarkError, Prediction, Predictions
from villa.evaluation.benchmarks.layout import needed_folder, referred_videos, video_entries
from villa.evaluation.benchmarks.palette_masks import read_labels
from villa.evaluation.davis_objects import Labels, merged, unsupervised
from villa.evaluation.protocols import Row, Score, ref_davis_row
from villa.evaluation.referring import FrameMasks, score_expression
from villa.evaluation.submission import write_labels
from villa.masks import Mask

_FPS = 24.0
# The order in which the script lists the four expressions of an object: from its first frame, from the full video.
ANNOTATORS = (
    "annotator 1, first",
    "annotator 1, full",
    "annotator 2, first",
    "annotator 2, full",
)


class RefDAVIS17(Benchmark):
    """Scored for each of the four sets of expressions with all objects of a video in one label image."""

    name = "ref-davis17"
    splits = ("valid", "train")
    source = "github.com/wjn922/ReferFormer, tools/data/convert_davis_to_ytvos.py, inference_davis.py and eval_davis.py"

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        meta = root / "meta_expressions" / split / "meta_expressions.json"
        if (root / TEXTS).is_dir() and not meta.is_file():
            davis = root / "DAVIS"
            meta, entries = root / TEXTS, davis_entries(root, split)
            images, self._labels = davis / "JPEGImages/480p", davis / "Annotations_unsupervised/480p"
        else:
            entries = video_entries(meta)
            images, self._labels = root / split / "JPEGImages", root / split / "Annotations"
        needed_folder(self._labels, "label images of each video")
        videos = referred_videos(meta, entries, images, _FPS)
        self._videos = tuple(self._by_annotator(f"{meta}: video {video.name!r}", video) for video in videos)

    @property
    def videos(self) -> tuple[Video, ...]:
        """All videos of the split."""
        return self._videos

    @property
    def masks_public(self) -> bool:
        """Can the split be scored here?"""
        return True

    def mask(self, video: Video, expression: Expression, frame: int, shape: tuple[int, int]) -> Mask:
        """True mask [H, W] of the one object."""
        true: Mask = self._true(video, frame, shape) == int(expression.masks[0])
        return true

    def score(self, video: Video, predictions: Predictions) -> list[Score]:
        """Scores of a video's expressions, in their order: `j`, `f` as published, `j_direct`, `f_direct` one by one."""
        shape = next(iter(predictions.values())).shape
        truth = np.stack([self._true(video, t, shape) for t in range(len(video.frames))])
        scores: dict[str, Score] = {}
        for kind in ANNOTATORS:
            own = self._of(video, kind)
            found = unsupervised(self._merged(own, predictions, len(truth)), truth)
            if len(found) != len(own):
                raise BenchmarkError(
                    f"{self._labels / video.name}: the first frame shows {len(found)} objects, "
                    f"expressions name {len(own)}: wanted equally many"
                )
            for expression, (j, f) in zip(own, found, strict=True):
                alone = self._direct(expression, predictions[expression.key], truth)
                direct = {f"{name}_direct": alone[name] for name in ("j", "f", "jf")}
                scores[expression.key] = (
                    self.about(video, expression) | alone | direct | {"j": j, "f": f, "jf": (j + f) / 2}
                )
        return [scores[expression.key] for expression in video.expressions]

    def failed(self, video: Video, expression: Expression) -> Score:
        """The score of an expression whose video could not be run."""
        return super().failed(video, expression) | dict.fromkeys(("j_direct", "f_direct", "jf_direct"), 0.0)

    def write(self, video: Video, predictions: Predictions, folder: Path) -> list[Path]:
        """Write four label images for each frame, one for each set of expressions."""
        names = [path.stem for path in video.frames]
        written: list[Path] = []
        for number, kind in enumerate(ANNOTATORS):
            labels = self._merged(self._of(video, kind), predictions, len(names))
            written += write_labels(folder, f"anno_{number}/{video.name}", names, list(labels))
        return written

    def _row(self, scores: list[Score]) -> Row:
        return ref_davis_row(scores)

    def _true(self, video: Video, frame: int, shape: tuple[int, int]) -> Labels:
        return read_labels(self._labels / video.name / f"{video.frames[frame].stem}.png", shape)

    @staticmethod
    def _of(video: Video, kind: str) -> list[Expression]:
        """The expressions of one annotator, in the order of the objects."""
        return sorted((e for e in video.expressions if e.kind == kind), key=lambda e: int(e.masks[0]))

    @staticmethod
    def _merged(own: list[Expression], predictions: Predictions, frames: int) -> Labels:
        mine = [predictions[expression.key] for expression in own]
        return np.stack([merged([one.at(t) for one in mine], mine[0].shape) for t in range(frames)])

    @staticmethod
    def _direct(expression: Expression, prediction: Prediction, truth: Labels) -> Score:
        label = int(expression.masks[0])
        frames = (FrameMasks(prediction.at(t), true == label) for t, true in enumerate(truth))
        score = score_expression(frames, target=True, answered=prediction.answered)
        return {"answer": prediction.text, "choice": None} | asdict(score) | {"jf": score.jf}

    @staticmethod
    def _by_annotator(where: str, video: Video) -> Video:
        """Name the four expressions of each object by who wrote them, and when."""
        told = video.expressions
        if len(told) % len(ANNOTATORS):
            raise BenchmarkError(f"{where}: wanted four expressions for each object, saw {len(told)}")
        objects = [told[at : at + len(ANNOTATORS)] for at in range(0, len(told), len(ANNOTATORS))]
        for number, four in enumerate(objects, start=1):
            if {expression.masks for expression in four} != {(str(number),)}:
                saw = ", ".join(identity for expression in four for identity in expression.masks) or "none"
                raise BenchmarkError(
                    f"{where}: expressions {4 * number - 4} to {4 * number - 1}: wanted 'obj_id' {number}, saw {saw}"
                )
        named = [replace(e, kind=kind) for four in objects for e, kind in zip(four, ANNOTATORS, strict=True)]
        return replace(video, expressions=tuple(named))
