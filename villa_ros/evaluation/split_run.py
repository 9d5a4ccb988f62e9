"""A split of the benchmark scored clip by clip, by as many workers as are wanted: the scores of a serial run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from villa_ros.parallel.dispatch import Failed
from villa_ros.parallel.map import parallel_map
from villa_ros.runtime.model_loading import limit_threads, load_model

if TYPE_CHECKING:
    from villa.data.referring_videos import Expressions
    from villa.evaluation.split_evaluation import EvaluatedModel, Score, Shown
    from villa.interface import SegmentationModel


class UnscoredError(RuntimeError):
    """Clips could not be scored; `scores` holds those of all others, in order, `failed` what came of these, by name."""

    def __init__(self, scores: Sequence[Score], failed: dict[str, Failed], clips: int) -> None:
        name, first = next(iter(failed.items()))
        super().__init__(f"{len(failed)} of {clips} clips could not be scored, the first of them {name}: {first}")
        self.scores, self.failed = list(scores), failed


@dataclass(frozen=True)
class _Task:
    """What a worker scores, and with what."""

    root: Path
    checkpoint: str
    device: str
    threads: int
    least_presence: float | None
    requests: int | None
    seed: int
    shown: bool
    load: Callable[[str, str], SegmentationModel]


@dataclass(frozen=True)
class _Scorer:
    """A worker's own model and split."""

    task: _Task
    model: EvaluatedModel
    data: Expressions


def score_split(
    root: Path,
    *,
    checkpoint: str = "",
    device: str = "cpu",
    threads: int = 0,
    workers: int = 1,
    ray: str | None = None,
    limit: int | None = None,
    requests: int | None = None,
    seed: int = 0,
    least_presence: float | None = None,
    retries: int = 2,
    progress: Callable[[int, int], None] | None = None,
    show: Callable[[Shown], None] | None = None,
    load: Callable[[str, str], SegmentationModel] = load_model,
) -> list[Score]:
    """A split's folder -> one score an expression, in the folder's order; see `split_evaluation.evaluate`.

    The scores are those of a serial run with as many threads; another number of threads may round otherwise. In a
    cluster, folder and checkpoint have to be at the same path on every machine.

    Args:
        root: Folder with `meta_expressions.json`.
        checkpoint: File or folder; empty: the one that ships.
        device: Torch device of each worker.
        threads: Of one torch operation in a worker; 0: the cores are shared out, a single worker has torch's choice.
        workers: Processes, or actors in the cluster.
        ray: Address of a Ray cluster; see `villa_ros.parallel.map.parallel_map`.
        limit: Only the first so many videos.
        requests: Only the first so many expressions of a video.
        seed: Of the baseline that chooses at random.
        least_presence: Report nothing that is less likely to be there; None: as the checkpoint says.
        retries: How often a clip is tried again whose worker was killed.
        progress: Told (videos done, videos).
        show: Given each request in the folder's order, once all are scored.
        load: Makes the model from checkpoint and device; of a module that the workers can import.

    Raises:
        ExpressionsError: the folder is not in the format.
        ParallelError: no worker can begin, as when there is no such checkpoint, or there is no cluster.
        UnscoredError: clips failed; all others are scored first.
    """
    from villa.data.referring_videos import Expressions

    videos = Expressions(root).videos[:limit]
    if checkpoint:
        checkpoint = str(Path(checkpoint).absolute())  # a worker in a cluster has another working directory
    elif ray is not None and load is load_model:
        from villa_ros.runtime.package_share import share_path

        checkpoint = str(share_path("weights"))  # code that travels to a worker leaves the package's files behind
    task = _Task(root.absolute(), checkpoint, device, threads, least_presence, requests, seed, show is not None, load)
    scores: dict[int, list[Score]] = {}
    shown: dict[int, list[Shown]] = {}
    failed: dict[int, Failed] = {}
    given = parallel_map(
        _score,
        range(len(videos)),
        workers=workers,
        ray=ray,
        begin=partial(_begin, task),
        retries=retries,
        threads=threads,
        gpus=float(device.startswith("cuda")),
    )
    with closing(given) as done:
        for count, (index, result) in enumerate(done, 1):
            if isinstance(result, Failed):
                failed[index] = result
            else:
                scores[index], shown[index] = result
            if progress is not None:
                progress(count, len(videos))
    if show is not None:
        for index in sorted(shown):
            for one in shown[index]:
                show(one)
    ordered = [score for index in sorted(scores) for score in scores[index]]
    if failed:
        raise UnscoredError(ordered, {videos[index].name: failed[index] for index in sorted(failed)}, len(videos))
    return ordered


def _begin(task: _Task) -> _Scorer:
    from villa.data.referring_videos import Expressions

    limit_threads(task.threads)
    model = task.load(task.checkpoint, task.device)
    if task.least_presence is not None:
        from villa import ViLLa

        if isinstance(model, ViLLa):
            model.network.config = replace(model.config, least_presence=task.least_presence)
    return _Scorer(task, cast("EvaluatedModel", model), Expressions(task.root))


def _score(scorer: _Scorer, index: int) -> tuple[list[Score], list[Shown]]:
    from villa.evaluation.split_evaluation import evaluate_video

    shown: list[Shown] = []
    task = scorer.task
    scores = evaluate_video(
        scorer.model,
        scorer.data,
        index,
        requests=task.requests,
        seed=task.seed,
        show=shown.append if task.shown else None,
    )
    return scores, shown
