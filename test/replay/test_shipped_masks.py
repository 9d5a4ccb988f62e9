"""The shipped file gives the masks that it gave when it was shipped: on the first seconds of the sample bag.

`shipped_masks.json` was written by the version that shipped the file. Where torch, its vector instructions and the
number of threads are the same, the run lengths are the same to the byte; elsewhere a rounding may move a pixel at an
edge. Make the file anew (`python test/replay/test_shipped_masks.py`) only with a new file of weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from villa.masks import RleMask, decode
from villa_ros.bags.reader import COMMAND, Bag
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import Event, TracksEvent
from villa_ros.replay.driver import drive
from villa_ros.runtime.model_loading import load_model
from villa_ros.runtime.package_share import share_path

GOLDEN = Path(__file__).with_name("shipped_masks.json")
FRAMES = 70  # the first two requests of the bag
LEAST_IOU = 0.98


def shipped_masks() -> dict[str, Any]:
    """What the shipped model segments, and on what it was computed."""
    masks: list[dict[str, Any]] = []

    def sink(event: Event) -> None:
        if isinstance(event, TracksEvent):
            for one in event.instances:
                mask = one.mask
                box = (mask.x, mask.y, mask.box_width, mask.box_height)
                runs = mask.runs.tolist()
                masks.append({"stamp_ns": event.header.stamp_ns, "track": one.track_id, "box": box, "runs": runs})

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Bag(share_path("sample", "tabletop")) as bag:
            frames = list(islice(bag.frames(bag.choose_image_topic(), "camera"), FRAMES))
            commands = bag.commands(bag.choose_topic(None, (COMMAND,), "command", ""), "camera")
            due = [one for one in commands if one.stamp_ns <= frames[-1].header.stamp_ns]
            engine = Engine(load_model("", "cpu"), PipelineConfig(), sink, "golden")
            for _ in drive(engine, frames, due):
                pass
    finally:
        torch.set_num_threads(threads)
    weights = hashlib.sha256(share_path("weights", "villa.safetensors").read_bytes()).hexdigest()
    return {
        "weights": weights,
        "torch": torch.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "height": frames[0].height,
        "width": frames[0].width,
        "masks": json.loads(json.dumps(masks)),
    }


@pytest.mark.slow
def test_the_shipped_file_gives_the_masks_it_was_shipped_with() -> None:
    wanted, seen = json.loads(GOLDEN.read_text("utf-8")), shipped_masks()
    assert seen["weights"] == wanted["weights"], "another file is shipped: make the masks anew, and say so"
    if all(seen[name] == wanted[name] for name in ("torch", "vectors")):
        assert seen["masks"] == wanted["masks"]
    assert [(one["stamp_ns"], one["track"]) for one in seen["masks"]] == [
        (one["stamp_ns"], one["track"]) for one in wanted["masks"]
    ]
    assert min(_ious(seen, wanted)) >= LEAST_IOU


def _ious(seen: dict[str, Any], wanted: dict[str, Any]) -> Iterator[float]:
    for mine, theirs in zip(seen["masks"], wanted["masks"], strict=True):
        a, b = (_mask(one, wanted["height"], wanted["width"]) for one in (mine, theirs))
        yield float((a & b).sum() / max(1, (a | b).sum())) if a.any() or b.any() else 1.0


def _mask(one: dict[str, Any], height: int, width: int) -> np.ndarray[Any, Any]:
    x, y, box_width, box_height = one["box"]
    runs = np.asarray(one["runs"], np.uint32)
    return decode(RleMask(height, width, x, y, box_width, box_height, runs, int(runs[1::2].sum())))


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(shipped_masks(), separators=(",", ":")) + "\n", "utf-8")
