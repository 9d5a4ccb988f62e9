"""Clips of real video with outlines drawn by hand, in two halves; see docs/benchmark_sets.md."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from villa.data.real_clips.listing import HELD, SEEN
from villa.evaluation.benchmarks.interface import BenchmarkError
from villa.evaluation.benchmarks.layout import json_object, needed_file
from villa.evaluation.benchmarks.mask_dict import MaskDictBenchmark
from villa.evaluation.protocols import Row, Score, present_row


class RealClips(MaskDictBenchmark):
    """A half, as `villa data real-clips` made it. Only the outlined frames count."""

    name = "real-clips"
    # Not the one to report first, as elsewhere: the held half is run once, and never because nobody named one.
    splits: ClassVar[tuple[str, ...]] = (SEEN, HELD)
    source = "villa.data.real_clips"

    def meta(self) -> Path:
        """File with the requests."""
        made = self.root / self.split / "meta_expressions.json"
        if not made.is_file():
            raise BenchmarkError(f"{made} is not there: make it with `villa data real-clips --out {self.root}`")
        return needed_file(made, "the requests")

    @property
    def notes(self) -> tuple[str, ...]:
        """The clips that could not be had: scores without them compare with no others."""
        if not self._missing:
            return ()
        return (f"left out, the video could not be had: {', '.join(self._missing)}",)

    def _row(self, scores: list[Score]) -> Row:
        return present_row(scores) | {"missing": list(self._missing)}

    @cached_property
    def _missing(self) -> tuple[str, ...]:
        missing = json_object(self.meta(), "the requests").get("missing", {})
        if not isinstance(missing, dict):
            raise BenchmarkError(f"{self.meta()}: wanted 'missing' as reasons by clip, saw {type(missing).__name__}")
        return tuple(map(str, missing))
