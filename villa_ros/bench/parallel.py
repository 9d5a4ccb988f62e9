"""How much sooner several workers are through with a split than one: clips a second, and how that scales."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from villa_ros.evaluation.split_run import score_split
from villa_ros.runtime.model_loading import load_model

if TYPE_CHECKING:
    from villa.evaluation.split_evaluation import Score
    from villa.interface import SegmentationModel

HEIGHT, WIDTH = 96, 128  # px
FRAMES = 4
_BOX_PX = 32
_NOISE = (90, 160)
# name -> RGB, and where its box is: (x, y) on the first frame, px a frame
_BOXES = {"red": ((200, 40, 40), (6, 8), (8, 0)), "blue": ((40, 60, 210), (70, 52), (0, -6))}


class ParallelBenchError(RuntimeError):
    """Something cannot be measured."""


@dataclass(frozen=True)
class Timing:
    """One run over all clips."""

    workers: int
    seconds: float  # with the start of the workers and the loading of their models
    first_s: float  # until the first clip was scored

    def rate(self, clips: int) -> float:
        """Clips a second, with everything."""
        return clips / self.seconds

    def steady_rate(self, clips: int) -> float:
        """Clips a second once the first is done: what a long split comes to."""
        return (clips - 1) / (self.seconds - self.first_s)


@dataclass(frozen=True)
class ParallelBench:
    """What was measured; the first timing is what the others are compared with."""

    clips: int
    threads: int  # of each worker
    where: str
    timings: tuple[Timing, ...]
    equal: bool  # all runs gave the same scores

    def text(self) -> str:
        """For people."""
        first = self.timings[0]
        lines = [f"{self.clips} clips, {self.where}, {self.threads} thread(s) a worker"]
        for timing in self.timings:
            scaling = timing.rate(self.clips) / first.rate(self.clips)
            steady = timing.steady_rate(self.clips) / first.steady_rate(self.clips)
            lines.append(
                f"{timing.workers} worker(s): {timing.rate(self.clips):.2f} clips/s, {scaling:.2f} times as many as "
                f"{first.workers}; without the start {timing.steady_rate(self.clips):.2f} clips/s, {steady:.2f} times "
                f"(in all {timing.seconds:.1f} s, first clip after {timing.first_s:.1f} s)"
            )
        lines.append(f"scores of all runs are {'equal' if self.equal else 'NOT equal'}")
        return "\n".join(lines)


def measure(
    clips: int = 200,
    workers: Sequence[int] = (1, 2),
    *,
    requests: int = 1,
    threads: int = 1,
    ray: str | None = None,
    checkpoint: str = "",
    device: str = "cpu",
    folder: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    load: Callable[[str, str], SegmentationModel] = load_model,
) -> ParallelBench:
    """Score a split of small drawn clips with each number of workers, one run after the other.

    Args:
        clips: At least 2.
        workers: The first is what the others are compared with.
        requests: Of each clip.
        threads: Of a worker: as many in every run, so that only the workers differ and scores are comparable.
        ray: Address of a Ray cluster that does the work; None: this machine's processes.
        checkpoint: File or folder of the model; empty: the one that ships.
        device: Torch device of each worker.
        folder: For the clips, which a cluster has to see; None: one that is gone afterwards.
        progress: Told (what runs, clips done, clips).
        load: As of `villa_ros.evaluation.split_run.score_split`.

    Raises:
        ParallelBenchError: too few clips, or no number of workers.
        ParallelError: no worker can begin, or there is no cluster.
    """
    if clips < 2 or not workers:
        raise ParallelBenchError(f"{clips} clips, {len(workers)} numbers of workers: wanted at least 2 and at least 1")
    with tempfile.TemporaryDirectory() as scratch:
        root = draw_split(Path(scratch) if folder is None else folder, clips)
        runs = []
        for count in workers:
            run = partial(
                score_split,
                root,
                checkpoint=checkpoint,
                device=device,
                threads=threads,
                workers=count,
                ray=ray,
                requests=requests,
                load=load,
            )
            told = None if progress is None else partial(progress, f"{count} worker(s)")
            runs.append(_timed(run, count, told))
    where = "processes of this machine" if ray is None else f"Ray at {ray}"
    equal = all(scores == runs[0][1] for _, scores in runs)
    return ParallelBench(clips, threads, where, tuple(timing for timing, _ in runs), equal)


def _timed(
    run: Callable[..., list[Score]], workers: int, told: Callable[[int, int], None] | None
) -> tuple[Timing, list[Score]]:
    first: list[float] = []
    began = time.perf_counter()

    def progress(done: int, count: int) -> None:
        first.append(time.perf_counter() - began)
        if told is not None:
            told(done, count)

    scores = run(progress=progress)
    return Timing(workers, time.perf_counter() - began, first[0]), scores


def draw_split(root: Path, clips: int, frames: int = FRAMES) -> Path:
    """Write a split in the format of MeViS: two boxes that move over noise, each clip with noise of its own.

    Returns:
        `root`, for `villa.evaluation.split_evaluation.evaluate`.
    """
    videos: dict[str, Any] = {}
    masks: dict[str, Any] = {}
    for number in range(clips):
        name = f"clip{number:05d}"
        folder = root / "JPEGImages" / name
        folder.mkdir(parents=True, exist_ok=True)
        ground = np.random.default_rng(number).integers(*_NOISE, (HEIGHT, WIDTH, 3), np.uint8)
        ids = [f"{number}-{colour}" for colour in _BOXES]
        masks |= {identity: [] for identity in ids}
        names = [f"{t:05d}" for t in range(frames)]
        for t, frame in enumerate(names):
            image = ground.copy()
            for identity, (colour, (x, y), (right, down)) in zip(ids, _BOXES.values(), strict=True):
                left, top = (x + right * t) % (WIDTH - _BOX_PX), (y + down * t) % (HEIGHT - _BOX_PX)
                mask = np.zeros((HEIGHT, WIDTH), np.bool_)
                mask[top : top + _BOX_PX, left : left + _BOX_PX] = True
                image[mask] = colour
                masks[identity].append(_coco(mask))
            _write(folder / f"{frame}.jpg", image)
        expressions = {
            str(place): {"exp": f"the {colour} box", "obj_id": [place], "anno_id": [identity]}
            for place, (colour, identity) in enumerate(zip(_BOXES, ids, strict=True))
        }
        videos[name] = {"vid_id": number, "fps": 10, "frames": names, "expressions": expressions}
    (root / "meta_expressions.json").write_text(json.dumps({"videos": videos}), "utf-8")
    (root / "mask_dict.json").write_text(json.dumps(masks), "utf-8")
    return root


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise ParallelBenchError(f"OpenCV cannot write {path}; is the folder writable, with room on its disk?")


def _coco(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Mask [H, W] -> COCO's uncompressed run lengths: by columns, background first."""
    flat = mask.T.reshape(-1)
    edges = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]))
    counts = np.diff(edges).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}
