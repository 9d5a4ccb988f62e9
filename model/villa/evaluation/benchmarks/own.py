"""Sets in the project's own format, that of MeViS with answers, kinds and multiple choice.

See `villa.data.benchmark` for the fields. VideoReasonSeg, the set of the paper of ViLLa (arXiv 2407.14500), is not
published, so that its layout could not be read: a set like it is read in this format.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from villa.data.benchmark import OPENING
from villa.data.referring_videos import Expression, Video
from villa.data.splits import SPLITS
from villa.evaluation.benchmarks.interface import BenchmarkError
from villa.evaluation.benchmarks.mask_dict import MaskDictBenchmark
from villa.evaluation.protocols import Row, Score, present_row


class VideoReasonSeg(MaskDictBenchmark):
    """Segmentation and multiple choice; `kind` tells parts of the set apart, as short and long videos."""

    name = "video-reason-seg"
    splits: ClassVar[tuple[str, ...]] = ("test", "val", "train")
    source = "no public file: VideoReasonSeg is not published; the project's own format, villa.data.benchmark"

    def _row(self, scores: list[Score]) -> Row:
        return present_row(scores)


class Tabletop(VideoReasonSeg):
    """Splits of the table-top benchmark whose requests are about whole videos; see docs/tabletop_benchmark.md."""

    name = "tabletop"
    splits = ("val", *(split for split in SPLITS if split != "val"), "real")
    source = "villa.data.benchmark"

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        for video in self._videos:
            for expression in video.expressions:
                if expression.asked_at is not None:
                    raise BenchmarkError(
                        f"{self.meta()}: video {video.name!r}, expression {expression.key!r} is asked live, at frame "
                        f"{expression.asked_at}; wanted requests about whole videos: use villa eval --data"
                    )

    def asked(self, video: Video) -> tuple[Expression, ...]:
        """All but those that only open a conversation."""
        return tuple(expression for expression in video.expressions if expression.kind != OPENING)
