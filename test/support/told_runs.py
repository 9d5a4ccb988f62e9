"""Runs of a node whose right answer is known: written down, not made by a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from small_bags import stamp, tracklets, write_bag

from villa.masks import RleMask, encode
from villa_ros.bags.run import Run, Timed
from villa_ros.evaluation.demo import Demonstration, demo_scenario
from villa_ros.evaluation.replay_run import score_run
from villa_ros.evaluation.results import Asked
from villa_ros.pipeline.events import AnswerEvent, FinishReason, TrackedInstance, TracksEvent, TrackState
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.request import Request

RECEIVED_NS = 5_000_000_000  # the recorder's clock has nothing to do with the bag's
HEIGHT, WIDTH = 48, 64  # px


def box(x: int, y: int = 10, width: int = 12, height: int = 12) -> RleMask:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[y : y + height, x : x + width] = True
    return encode(mask)


def write_truth_bag(folder: Path, red: str = "the red box") -> Path:
    """The red box is asked for, in these words, at 0.45 s, a banana at 1.25 s; the blue box is the larger one."""
    commands = [
        Request("red", red, stamp_ns=stamp(4.5)),
        Request("banana", "a banana", stamp_ns=stamp(12.5)),
    ]
    boxes = [box(2 + index) for index in range(20)]
    blue = [box(30, 25, 20, 20)] * 20
    topic = "/ground_truth/tracklets"
    extra = [
        (topic, stamp(12), tracklets("red", [stamp(i) for i in range(5, 13)], [boxes[5:13]])),
        (topic, stamp(19), tracklets("banana", [stamp(i) for i in range(13, 20)], [])),
        (topic, stamp(19), tracklets("", [stamp(i) for i in range(20)], [boxes, blue])),
    ]
    return write_bag(folder, commands=commands, extra=extra)


def shown(index: int, mask: RleMask, state: TrackState = TrackState.TRACKED, request_id: str = "red") -> Timed:
    """A track on one frame, received 125 ms after that on the frame before."""
    instance = TrackedInstance("t-1", request_id, 1, state, "red box", 0.9, 0.9, mask)
    event = TracksEvent(FrameHeader(stamp(index), "optical"), "camera", index, (instance,), 0)
    return Timed(RECEIVED_NS + index * 125_000_000, event)


def answered(request_id: str, text: str, index: int, *track_ids: str) -> Timed:
    """An answer that names these tracks."""
    header = FrameHeader(stamp(index), "optical")
    offsets = (0,) * len(track_ids)
    event = AnswerEvent(header, request_id, "", text, text, offsets, track_ids, 0, True, FinishReason.STOP)
    return Timed(RECEIVED_NS + index * 125_000_000, event)


ANSWERS = {"red": answered("red", "The red box.", 6, "t-1"), "banana": answered("banana", "There is no banana.", 14)}


def run_of(tracks: Sequence[Timed], answers: dict[str, Timed]) -> Run:
    """The run in which red was asked for when the frame of index 4 would have been received."""
    commands = {name: Timed(RECEIVED_NS + 500_000_000, Request(name, name, stamp_ns=0)) for name in ("red", "banana")}
    return Run(commands=commands, tracks=list(tracks), answers=answers)


def scored(bag: Path, run: Run, *, live: bool = True) -> tuple[Demonstration, list[Asked]]:
    """The requests of a bag whose run this was, as `villa eval` and `villa demo` score them."""
    given = demo_scenario(bag)
    sizes = {"camera": {stamp(index): (HEIGHT, WIDTH) for index in range(20)}}
    return given, score_run(given.opened, run, sizes, given.scenario, first_masks={}, live=live)
