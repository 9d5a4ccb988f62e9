"""How well a run answered the requests of a bag that carries ground truth, beside two baselines.

Measured on what was published: J&F of a request is the mean over the frames that the node published for it
within the request's window, between the union of its masks and the union of the true ones (DAVIS 2017). A
present request that got nothing counts as 0. Coverage says how many of the frames after the first mask were
published at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from villa.masks import RleMask
from villa_ros.bags.reader import Bag, BagError
from villa_ros.bags.run import MasksAt, Run, Timed, masks_at
from villa_ros.conversions.events import nanoseconds
from villa_ros.evaluation.ground_truth import TRACKLETS, TRUTH_TOPIC
from villa_ros.evaluation.request_scores import first_mask_s, union
from villa_ros.pipeline.events import TracksEvent, TrackState
from villa_ros.pipeline.request import Action

if TYPE_CHECKING:
    from villa_ros.pipeline.request import Request


@dataclass(frozen=True)
class TruthWindow:
    """What one request should have found, on every frame from its command to the next."""

    request: Request
    stamps: tuple[int, ...]  # ns, ascending
    targets: MasksAt

    @property
    def present(self) -> bool:
        """Is any target of the request visible on any frame of its window?"""
        return any(mask.area for masks in self.targets.values() for mask in masks)


@dataclass(frozen=True)
class Truth:
    """The ground truth of a bag: a window for each request, and the largest object of every frame."""

    windows: tuple[TruthWindow, ...]
    largest: MasksAt


@dataclass(frozen=True)
class Scores:
    """Mean J, F and J&F over frames; `frames` says how many."""

    j: float
    f: float
    frames: int

    @property
    def jf(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2


@dataclass(frozen=True)
class Row:
    """One request of the table. Times are None where they were not measured or never came."""

    request_id: str
    text: str
    answer: str
    present: bool
    correct: bool  # present: it has masks. Absent: no [SEG] and no mask
    scores: Scores | None  # None for an absent request
    words_ignored: Scores | None
    largest_object: Scores | None
    coverage: float | None
    first_mask_s: float | None
    frames_in: int
    frames_used: int
    frames_dropped: int
    frames_per_s: float | None


@dataclass(frozen=True)
class Report:
    """The whole table."""

    rows: tuple[Row, ...] = field(default=())

    @property
    def present(self) -> list[Row]:
        """Rows of requests whose targets are there."""
        return [row for row in self.rows if row.present]

    @property
    def absent(self) -> list[Row]:
        """Rows of requests for what is not there."""
        return [row for row in self.rows if not row.present]

    @property
    def mean_jf(self) -> float:
        """Mean J&F over the present requests; NaN when there is none."""
        return mean([row.scores.jf for row in self.present if row.scores])

    @property
    def mean_words_ignored(self) -> float:
        """The same of the baseline that ignores the words."""
        return mean([row.words_ignored.jf for row in self.present if row.words_ignored])

    @property
    def mean_largest_object(self) -> float:
        """The same of the baseline that always takes the largest object."""
        return mean([row.largest_object.jf for row in self.present if row.largest_object])

    @property
    def absent_correct(self) -> int:
        """How many absent requests were answered "no" without a mask."""
        return sum(row.correct for row in self.absent)

    def problem(self) -> str:
        """Why the run as a whole is a failure: nothing was answered or nothing segmented.

        Empty: it is none.
        """
        if not any(row.answer for row in self.rows):
            return "no request was answered; see the node's log and the status messages in the recording"
        if self.present and not any(row.correct for row in self.present):
            return "no request for something present got a mask"
        return ""

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values; a number that does not exist is null."""

        def clean(value: Any) -> Any:
            if isinstance(value, float) and math.isnan(value):
                return None
            if isinstance(value, dict):
                return {key: clean(item) for key, item in value.items()}
            return [clean(item) for item in value] if isinstance(value, (list, tuple)) else value

        rows = [asdict(row) | {"jf": row.scores.jf if row.scores else None} for row in self.rows]
        summary = {
            "mean_jf": self.mean_jf,
            "mean_jf_words_ignored": self.mean_words_ignored,
            "mean_jf_largest_object": self.mean_largest_object,
            "present_requests": len(self.present),
            "absent_requests": len(self.absent),
            "absent_correct": self.absent_correct,
        }
        cleaned: dict[str, Any] = clean({"summary": summary, "requests": rows})
        return cleaned


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return fmean(values) if values else math.nan


def read_truth(path: Path, command_topic: str, camera: str) -> Truth:
    """The ground truth of a bag.

    `/ground_truth/tracklets` holds one TrackletArray for each command, over every frame of its window, and
    one without request_id with all objects over the whole bag.

    Raises:
        BagError: no such topic, or a command without ground truth.
    """
    targets: dict[str, Any] = {}
    with Bag(path) as bag:
        topic = bag.choose_topic(TRUTH_TOPIC, (TRACKLETS,), "ground truth", TRUTH_TOPIC)
        for recorded in bag.messages([topic]):
            targets[recorded.message.request_id] = recorded.message
        commands = bag.commands(command_topic, camera)
    windows = []
    for request in commands:
        if request.action not in (Action.SEGMENT, Action.FOLLOW_UP):
            continue
        message = targets.get(request.request_id)
        if message is None:
            raise BagError(f"{path}: {topic} holds nothing for request {request.request_id!r}; build the bag again")
        stamps = tuple(sorted(nanoseconds(stamp) for stamp in message.clip.stamps))
        windows.append(TruthWindow(request, stamps, masks_at(message)))
    everything = masks_at(targets[""]) if "" in targets else {}
    return Truth(
        tuple(windows),
        {stamp: [max(masks, key=lambda mask: mask.area)] for stamp, masks in everything.items() if masks},
    )


def published_masks(run: Run, window: TruthWindow) -> dict[int, list[RleMask]]:
    """What the run published for a request on the frames of its window: stamp in ns -> masks.

    A frame on which the request's tracks were only taken away is no published frame.
    """
    inside = set(window.stamps)
    found: dict[int, list[RleMask]] = {}
    for timed in run.tracks_of(window.request.request_id):
        event: TracksEvent = timed.value
        masks = [
            instance.mask
            for instance in event.instances
            if instance.request_id == window.request.request_id and instance.state != TrackState.REMOVED
        ]
        if masks and event.header.stamp_ns in inside:
            found[event.header.stamp_ns] = masks
    return found


def score(published: MasksAt, truth: MasksAt, stamps: Iterable[int]) -> Scores:
    """Mean J and F over these frames; a frame that `published` lacks counts as an empty mask."""
    from villa.evaluation.davis_jf import boundary_accuracy, region_similarity

    values = []
    for stamp in stamps:
        mine, true = union(published.get(stamp, ())), union(truth.get(stamp, ()))
        shape = mine.shape if mine is not None else true.shape if true is not None else (1, 1)
        mine = np.zeros(shape, np.bool_) if mine is None else mine
        true = np.zeros(shape, np.bool_) if true is None else true
        values.append((region_similarity(mine, true), boundary_accuracy(mine, true)))
    if not values:
        return Scores(0.0, 0.0, 0)
    return Scores(fmean(j for j, _ in values), fmean(f for _, f in values), len(values))


def evaluate(run: Run, truth: Truth, words_ignored: MasksAt | None = None, *, live: bool) -> Report:
    """The table of a run.

    `words_ignored` is what the model segments whatever it is asked; `live` runs have times.
    """
    return Report(tuple(_row(run, truth, window, words_ignored, live) for window in truth.windows))


def _row(run: Run, truth: Truth, window: TruthWindow, words_ignored: MasksAt | None, live: bool) -> Row:
    request_id = window.request.request_id
    published = published_masks(run, window)
    shown = sorted(stamp for stamp, masks in published.items() if any(mask.area for mask in masks))
    measured = sorted(published) or window.stamps
    answer = run.answers.get(request_id)
    named = bool(answer and answer.value.seg_track_ids)
    timed = [entry for entry in run.tracks_of(request_id) if entry.value.header.stamp_ns in published]
    clip = run.tracklets[request_id].value if request_id in run.tracklets else {}
    begin = sorted(published)[0] if published else None
    after = [stamp for stamp in window.stamps if begin is not None and stamp >= begin]
    used = set(published) | (set(clip) & set(window.stamps))
    received = [stamp for stamp in window.stamps if stamp in _ingested(run)]
    return Row(
        request_id=request_id,
        text=window.request.text,
        answer=answer.value.text if answer else "",
        present=window.present,
        correct=bool(shown) if window.present else bool(answer) and not named and not shown,
        scores=score(published, window.targets, sorted(published)) if window.present else None,
        words_ignored=(
            score(words_ignored, window.targets, measured) if window.present and words_ignored is not None else None
        ),
        largest_object=(score(truth.largest, window.targets, measured) if window.present and truth.largest else None),
        coverage=len(published) / len(after) if after else None,
        first_mask_s=first_mask_s(run, request_id) if live else None,
        frames_in=len(received),
        frames_used=len(used),
        frames_dropped=sum(stamp not in published for stamp in after),
        frames_per_s=_rate(timed) if live else None,
    )


def _ingested(run: Run) -> set[int]:
    return {entry.stamp_ns for entry, _ in run.journal if entry.op == "ingest"}


def _rate(timed: Sequence[Timed]) -> float | None:
    span_s = (timed[-1].log_ns - timed[0].log_ns) / 1e9 if len(timed) > 1 else 0.0
    return (len(timed) - 1) / span_s if span_s > 0 else None
