"""What every public benchmark offers: videos with expressions, their true masks, its protocol and its file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from villa import masks
from villa.data.referring_videos import Expression, Video
from villa.evaluation.protocols import Row, Score, mean_row, unscored_row
from villa.evaluation.referring import FrameMasks, score_expression
from villa.evaluation.submission import MaskFolders
from villa.images.png_chunks import read_picture
from villa.interface import Rgb
from villa.masks import Mask, RleMask


class BenchmarkError(ValueError):
    """A folder is not that of a benchmark as published; the message names the first mismatch."""


@dataclass(frozen=True)
class Prediction:
    """What a model answered to one expression about a video of T frames."""

    masks: tuple[RleMask | None, ...]  # [T] all that was segmented together; None: nothing on this frame
    shape: tuple[int, int]  # H, W
    text: str = ""
    choice: bool | None = None  # was the right one of the given answers chosen? None: none were given

    def at(self, frame: int) -> Mask:
        """Mask [H, W] of one frame."""
        mask = self.masks[frame]
        return np.zeros(self.shape, np.bool_) if mask is None else masks.decode(mask)

    @property
    def answered(self) -> bool:
        """Is any px of any frame segmented?"""
        return any(mask is not None and mask.area for mask in self.masks)


Predictions = Mapping[str, Prediction]  # by the key of the expression


class Benchmark(ABC):
    """One split of a benchmark, as it lies in the folder that its authors publish.

    Made by `villa.evaluation.benchmarks.open_benchmark`. Nothing but the annotations is held in memory.
    """

    name: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]  # the first is the one to report
    source: ClassVar[str]  # public file that the layout was read from
    submission: ClassVar[MaskFolders | None] = None  # format of the masks that a server or evaluator reads
    first_mask: ClassVar[bool] = False  # the mask of a video's first frame is given, and nothing is asked in words

    def __init__(self, root: Path, split: str) -> None:
        if split not in self.splits:
            raise BenchmarkError(f"{self.name} has no split {split!r}: wanted one of {', '.join(self.splits)}")
        if not root.is_dir():
            raise BenchmarkError(f"{root} is no folder: wanted the one that holds {self.name}")
        self.root, self.split = root, split

    @property
    @abstractmethod
    def videos(self) -> tuple[Video, ...]:
        """All videos of the split, in the annotation's order."""

    @property
    @abstractmethod
    def masks_public(self) -> bool:
        """Can the split be scored here? Otherwise it is run for the submission alone."""

    @abstractmethod
    def mask(self, video: Video, expression: Expression, frame: int, shape: tuple[int, int]) -> Mask:
        """True mask [H, W] of all that an expression means on a frame.

        Raises:
            BenchmarkError: a mask is missing, damaged or of another size.
        """

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the scores has to know of this copy of the set, a sentence each."""
        return ()

    def given(self, video: Video) -> Mask:
        """Mask [H, W] of the first frame, which is carried on; only of sets with `first_mask`.

        Raises:
            BenchmarkError: it is missing, damaged, empty or of another size; or the set gives none.
        """
        raise BenchmarkError(f"{self.name} gives no mask of the first frame: its requests are sentences")

    def foreground(self, video: Video, frame: int, shape: tuple[int, int]) -> Mask | None:
        """Mask [H, W] of all objects on a frame; None where the set has none of its own."""
        return None

    def rgb(self, video: Video, frame: int) -> Rgb:
        """One frame [H, W, 3] uint8.

        Raises:
            BenchmarkError: the file is missing or does not decode.
        """
        path = video.frames[frame]
        image = read_picture(path)
        if image is None:
            raise BenchmarkError(f"{path}: wanted an image, it is missing or does not decode")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def scored_frames(self, video: Video, expression: Expression) -> tuple[int, ...]:
        """Frames that count for an expression."""
        return video.scored

    def asked(self, video: Video) -> tuple[Expression, ...]:
        """The expressions of a video that are scored."""
        return video.expressions

    def about(self, video: Video, expression: Expression) -> Score:
        """What a score says of its expression before anything is scored."""
        return {"video": video.name, "key": expression.key, "kind": expression.kind, "request": expression.text}

    def score(self, video: Video, predictions: Predictions) -> list[Score]:
        """Predictions for all expressions of a video -> their scores, JSON objects as `row` takes them.

        Raises:
            BenchmarkError: a true mask cannot be read.
        """
        return [self.about(video, e) | self._scored(video, e, predictions[e.key]) for e in self.asked(video)]

    def _scored(self, video: Video, expression: Expression, prediction: Prediction) -> Score:
        said: Score = {"answer": prediction.text, "answered": prediction.answered, "choice": prediction.choice}
        if not self.masks_public:
            return said
        shape = prediction.shape
        frames = (
            FrameMasks(prediction.at(t), self.mask(video, expression, t, shape), self.foreground(video, t, shape))
            for t in self.scored_frames(video, expression)
        )
        score = score_expression(frames, target=bool(expression.masks), answered=prediction.answered)
        return said | asdict(score) | {"jf": score.jf}

    def failed(self, video: Video, expression: Expression) -> Score:
        """The score of an expression whose video could not be run."""
        score = self.about(video, expression) | {"answer": "", "answered": False, "failed": True}
        score["choice"] = False if expression.choices else None
        if self.masks_public:
            zeros = dict.fromkeys(("j", "f", "jf", "accuracy", "robustness", "iou"), 0.0)
            score |= {**zeros, "intersection": 0, "union": 0, "frames": len(video.scored)}
            score["target"] = bool(expression.masks)
        return score

    def row(self, scores: list[Score]) -> Row:
        """Scores of all videos -> the table row of this set, see `villa.evaluation.protocols`."""
        return self._row(scores) if self.masks_public else unscored_row(scores)

    def _row(self, scores: list[Score]) -> Row:
        return mean_row(scores)

    def place(self, video: Video, expression: Expression) -> str:
        """Folder of an expression's masks in a submission."""
        return f"{video.name}/{expression.key}"

    def write(self, video: Video, predictions: Predictions, folder: Path) -> list[Path]:
        """Write the masks of a video's expressions for the submission; returns the files.

        Raises:
            SubmissionError: a name leads out of the folder.
            OSError: a file cannot be written.
        """
        if self.submission is None:
            return []
        names = [path.stem for path in video.frames]
        written: list[Path] = []
        for expression in self.asked(video):
            prediction, place = predictions[expression.key], self.place(video, expression)
            for t, name in enumerate(names):  # one decoded mask at a time
                written += self.submission.write(folder, place, [name], [prediction.at(t)])
        return written
