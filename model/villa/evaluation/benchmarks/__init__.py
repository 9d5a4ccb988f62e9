"""Public benchmarks of video segmentation, by words or from a first mask, from the folders that their authors publish.

Every format was read from public code and not run on the set; docs/benchmark_sets.md says where each is from.
"""

from __future__ import annotations

from pathlib import Path

from villa.evaluation.benchmarks.coco_names import CocoNames
from villa.evaluation.benchmarks.davis2016 import Davis2016
from villa.evaluation.benchmarks.interface import Benchmark, BenchmarkError, Prediction, Predictions
from villa.evaluation.benchmarks.mevis import MeViS, MeViSv2
from villa.evaluation.benchmarks.own import Tabletop, VideoReasonSeg
from villa.evaluation.benchmarks.real_clips import RealClips
from villa.evaluation.benchmarks.reason_vos import ReasonVOS
from villa.evaluation.benchmarks.ref_davis17 import RefDAVIS17
from villa.evaluation.benchmarks.ref_youtube_vos import RefYouTubeVOS
from villa.evaluation.benchmarks.revos import ReVOS

BENCHMARKS: dict[str, type[Benchmark]] = {
    kind.name: kind
    for kind in (
        ReVOS,
        MeViS,
        MeViSv2,
        RefDAVIS17,
        RefYouTubeVOS,
        ReasonVOS,
        VideoReasonSeg,
        Tabletop,
        CocoNames,
        RealClips,
        Davis2016,
    )
}

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkError", "Prediction", "Predictions", "open_benchmark"]


def open_benchmark(name: str, root: Path, split: str | None = None) -> Benchmark:
    """Open a split of a benchmark; without a split the one to report.

    Args:
        name: One of `BENCHMARKS`.
        root: The folder as published, the one that holds all splits.
        split: One of the benchmark's `splits`.

    Raises:
        BenchmarkError: no such benchmark or split, or the folder is not as published: the first mismatch is named.
    """
    if name not in BENCHMARKS:
        raise BenchmarkError(f"there is no benchmark {name!r}: wanted one of {', '.join(BENCHMARKS)}")
    kind = BENCHMARKS[name]
    return kind(Path(root), kind.splits[0] if split is None else split)
