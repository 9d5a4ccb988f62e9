"""Replays of a bag by its path, opened for the one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from villa_ros.bags.reader import Bag
from villa_ros.bags.run import Run
from villa_ros.pipeline.request import Request
from villa_ros.replay.bag_replay import Replayed, TimedTexts, recorded_requests, replay, replay_like
from villa_ros.replay.run_watch import show_run
from villa_ros.replay.track_comparison import Comparison


def replayed(
    path: Path, requests: Sequence[Request] | TimedTexts, model: Any, folder: Path, **options: Any
) -> Replayed:
    with Bag(path) as bag:
        return replay(bag, requests, model, folder, **options)


def repeated(path: Path, run: Path, model: Any, folder: Path, **options: Any) -> tuple[Replayed, Comparison]:
    with Bag(path) as bag:
        return replay_like(bag, run, model, folder, **options)


def commands_of(path: Path, **options: Any) -> list[Request]:
    with Bag(path) as bag:
        return recorded_requests(bag, **options)


def drafted(path: Path, topic: str, camera: str, run: Run, folder: Path) -> Any:
    """Labels of a recorded run, on the frames of the bag that it was made from."""
    from villa_ros.evaluation.labels.draft import DraftLabelsWriter

    with Bag(path) as bag, DraftLabelsWriter(folder, topic) as writer:
        for _ in show_run(bag.frames(topic, camera), run, [writer], camera):
            pass
        return writer.finish(run, bag.bad_images)
