"""What the demonstration says of a judged run: its requests beside two baselines, and the means of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from villa.evaluation.davis_jf import mean_over_frames
from villa_ros.evaluation.request_scores import counted_frames, masks_by_frame, published_tracks, score_masks

if TYPE_CHECKING:
    from villa_ros.bags.run import MasksAt, Run
    from villa_ros.evaluation.ground_truth import RequestTruth
    from villa_ros.evaluation.results import Asked


@dataclass(frozen=True)
class Row:
    """One request, and the J&F of the baselines on the frames that its own J&F is a mean over.

    A baseline is None for a request for what is not there, and where it was not measured.
    """

    asked: Asked
    words_ignored: float | None
    largest_object: float | None


@dataclass(frozen=True)
class Report:
    """All requests of the run."""

    rows: tuple[Row, ...]

    @property
    def present(self) -> list[Row]:
        """Requests for what is there."""
        return [row for row in self.rows if row.asked.present]

    @property
    def absent(self) -> list[Row]:
        """Requests for what is not there."""
        return [row for row in self.rows if row.asked.present is False]

    @property
    def absent_correct(self) -> int:
        """How many of these were answered in words that name no object, without a mask."""
        return sum(row.asked.right is True for row in self.absent)

    @property
    def mean_jf(self) -> float | None:
        """Mean J&F over the requests for what is there; None where there is none."""
        return mean([row.asked.jf for row in self.present])

    @property
    def mean_words_ignored(self) -> float | None:
        """The same of the model when it ignores the words."""
        return mean([row.words_ignored for row in self.present])

    @property
    def mean_largest_object(self) -> float | None:
        """The same of the largest object of each frame."""
        return mean([row.largest_object for row in self.present])

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values; a number that does not exist is null."""
        summary = {
            "mean_jf": self.mean_jf,
            "mean_jf_words_ignored": self.mean_words_ignored,
            "mean_jf_largest_object": self.mean_largest_object,
            "present_requests": len(self.present),
            "absent_requests": len(self.absent),
            "absent_correct": self.absent_correct,
        }
        return {"summary": summary, "requests": [_as_json(row) for row in self.rows]}


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that exist; None of none."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def report_on(
    requests: Sequence[Asked],
    truths: Mapping[str, RequestTruth],
    *,
    every_frame: bool,
    words_ignored: Run | None = None,
    objects: RequestTruth | None = None,
) -> Report:
    """The requests of a judged run, with the baselines on the same frames.

    Args:
        requests: As the run was judged.
        truths: What each of them means, by id.
        every_frame: Whether frames without masks count in the run.
        words_ignored: A run of the same requests in which all asked for the same words; None: not measured.
        objects: All objects of the recording; None: not known.
    """
    largest = {} if objects is None else {stamp: _largest(objects, stamp) for stamp in objects.stamps}

    def row(asked: Asked) -> Row:
        counted = counted_frames(asked.moments, every_frame=every_frame)
        if not counted:
            return Row(asked, None, None)

        def jf(drawn: MasksAt) -> float:
            return mean_over_frames(list(score_masks(drawn, truths[asked.request_id], counted).values())).jf

        return Row(
            asked,
            None if words_ignored is None else jf(masks_by_frame(published_tracks(words_ignored, asked.request_id))),
            jf(largest) if largest else None,
        )

    return Report(tuple(map(row, requests)))


def _largest(objects: RequestTruth, stamp_ns: int) -> list[Any]:
    return sorted(objects.masks(stamp_ns), key=lambda mask: mask.area)[-1:]


def _as_json(row: Row) -> dict[str, Any]:
    asked = row.asked
    return {
        "request_id": asked.request_id,
        "text": asked.text,
        "answer": asked.answer,
        "state": asked.state,
        "present": asked.present,
        "correct": asked.right,
        "jf": asked.jf,
        "j": asked.j,
        "f": asked.f,
        "words_ignored": row.words_ignored,
        "largest_object": row.largest_object,
        "coverage": asked.coverage,
        "first_mask_s": asked.first_mask_s,
        "frames": asked.frames,
        "frames_published": sum(moment.published for moment in asked.moments),
        "frames_per_s": asked.frames_per_s,
    }
