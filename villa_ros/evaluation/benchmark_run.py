"""A model over a public benchmark: scores, a table row, and the masks as its server wants them.

After each video the result file is written, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from villa.data.referring_videos import Video
from villa.evaluation.benchmarks import Benchmark, BenchmarkError, open_benchmark
from villa.evaluation.submission import SUBMISSION, pack
from villa.files.whole import write_text
from villa_ros.evaluation.benchmark_answers import VideoModel, predictions_of
from villa_ros.parallel.dispatch import Failed
from villa_ros.parallel.map import parallel_map

SCHEMA, KIND = 1, "benchmark"
RESULT = "result.json"
MASKS = "submission"  # folder of the masks, in that of the run
Progress = Callable[[int, int], None]
_VALUES = 64  # of each parameter that a model's fingerprint looks at
# Columns of a table, in order, with short headings: a number that is cut short at 80 characters is none.
_COLUMNS = {
    "jf": "J&F",
    "j": "J",
    "f": "F",
    "j_recall": "J\nrecall",
    "j_decay": "J\ndecay",
    "accuracy": "A",
    "robustness": "R",
    "jf_direct": "J&F\ndirect",
    "jf_target": "J&F\ntarget",
    "n_acc": "N-acc",
    "t_acc": "T-acc",
    "final": "final",
    "choice": "choice",
    "giou": "gIoU",
    "ciou": "cIoU",
    "answered": "answered",
    "failed": "failed",
}


class BenchmarkRunError(ValueError):
    """A run cannot begin or go on; the message says what stands in the way."""


@dataclass(frozen=True)
class VideoTask:
    """One video of a benchmark, as a process of its own can be told it."""

    name: str  # of the benchmark
    root: Path
    split: str
    video: str
    masks: Path | None  # folder that the masks for the submission go to; None: none are written


@dataclass(frozen=True)
class BenchmarkReport:
    """A run, as its result file holds it."""

    benchmark: str
    split: str
    model: str
    row: dict[str, Any]  # see `villa.evaluation.protocols`
    scores: list[dict[str, Any]]
    errors: list[dict[str, Any]]  # `video`, `error`, `expressions`
    videos: int  # of the split
    result: Path
    submission: Path | None  # zip file, or the folder of masks where no server takes them; None: nothing was written
    complete: bool  # every video of the split was run
    notes: tuple[str, ...] = ()  # what a reader of the scores has to know of this copy of the set


def run_benchmark(
    name: str,
    root: Path,
    model: VideoModel,
    folder: Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
    model_name: str = "",
    submit: bool = True,
    workers: int = 1,
    ray: str | None = None,
    begin: Callable[[], VideoModel] | None = None,
) -> BenchmarkReport:
    """Run a model over a split; writes `folder`/result.json and the masks for the server, and goes on where it stopped.

    A video that cannot be run is told in `errors`, counts as the set's own evaluation counts what is missing, and is
    tried again by the next call.

    Args:
        name: One of `villa.evaluation.benchmarks.BENCHMARKS`.
        root: Its folder as published.
        model: What is run; a model with `rank` is asked multiple-choice questions as well.
        folder: Of this run.
        split: Default: the one that is reported.
        limit: Only the first so many videos.
        progress: Told (videos done, videos to do).
        model_name: As it is called in the result; default: its class. What tells two models apart is a fingerprint.
        submit: Write masks? Large: a PNG file for each frame of each expression.
        workers: Processes, or actors in the cluster, that share the videos.
        ray: Address of a Ray cluster; see `villa_ros.parallel.map.parallel_map`.
        begin: Loads the model in each of them, of a module that they can import; needed for more than one.

    Raises:
        ParallelError: the workers cannot begin.
        BenchmarkError: the folder is not as published, or there is no such benchmark or split.
        BenchmarkRunError: `folder` holds a run of something else.
        OSError: a file cannot be written.
    """
    benchmark = open_benchmark(name, root, split)
    videos = benchmark.videos[:limit]
    identity = {
        "schema": SCHEMA,
        "kind": KIND,
        "benchmark": name,
        "split": benchmark.split,
        "model": model_name or type(model).__name__,
        "fingerprint": model_fingerprint(model),
        "data": _data_fingerprint(benchmark),
        "submit": submit,
    }
    folder.mkdir(parents=True, exist_ok=True)
    state = _State(benchmark, identity, folder)
    todo = [video for video in videos if video.name not in state.done]
    tasks = [VideoTask(name, Path(root), benchmark.split, v.name, folder / MASKS if submit else None) for v in todo]
    alone = workers == 1 and ray is None
    work = partial(_run_here, benchmark) if alone else _run_apart
    begin = (lambda: model) if alone or begin is None else begin
    kept = len(videos) - len(todo)
    if progress is not None and kept:
        progress(kept, len(videos))
    outcomes = parallel_map(work, tasks, workers=workers, ray=ray, begin=begin)
    for count, (index, outcome) in enumerate(outcomes, kept + 1):
        if isinstance(outcome, Failed):  # one bad video must not lose the others, whatever is wrong with it
            state.fail(todo[index], outcome)
        else:
            state.add(outcome)
        state.save()
        if progress is not None:
            progress(count, len(videos))
    state.save()
    return BenchmarkReport(
        benchmark=name,
        split=benchmark.split,
        model=str(identity["model"]),
        row=benchmark.row(state.scores),
        scores=state.scores,
        errors=list(state.errors.values()),
        videos=len(benchmark.videos),
        result=state.path,
        submission=_submission(benchmark, folder) if submit and state.done else None,
        complete=len(state.done) == len(benchmark.videos),
        notes=benchmark.notes,
    )


def _run_here(benchmark: Benchmark, model: VideoModel, task: VideoTask) -> dict[str, Any]:
    return run_video(task, model, benchmark)


def _run_apart(model: VideoModel, task: VideoTask) -> dict[str, Any]:
    return run_video(task, model)


def run_video(task: VideoTask, model: VideoModel, benchmark: Benchmark | None = None) -> dict[str, Any]:
    """Ask a model all expressions about one video -> `scores`, JSON objects, and `files`, the masks that were written.

    A process of its own opens the benchmark itself; who has it open already hands it over.

    Raises:
        BenchmarkError: the folder is not as published, or does not hold the video.
        AnswerError: the model's masks do not fit the video.
        OSError: a file cannot be written.
    """
    if benchmark is None:
        benchmark = open_benchmark(task.name, task.root, task.split)
    video = next((video for video in benchmark.videos if video.name == task.video), None)
    if video is None:
        raise BenchmarkError(
            f"{task.root}: wanted video {task.video!r} in {task.split} of {task.name}, it is not there"
        )
    predictions = predictions_of(model, benchmark, video)
    scores = benchmark.score(video, predictions)
    files = [] if task.masks is None else benchmark.write(video, predictions, task.masks)
    return {"video": video.name, "scores": scores, "files": [str(file) for file in files]}


def benchmark_table(report: BenchmarkReport) -> Table:
    """A line for each part of the set, and one for all of it; a dash where nothing was measured."""
    run = len({score["video"] for score in report.scores if not score.get("failed")})
    videos = f"{run} videos" if report.complete else f"{run} of {report.videos} videos"
    lines = [*report.row.get("parts", {}).items(), ("all", report.row)]
    names = [name for name in _COLUMNS if any(row.get(name) is not None for _, row in lines)]
    table = Table(
        title=f"{report.benchmark}, {report.split}, {videos}: {report.model}",
        box=box.SIMPLE_HEAD,
        padding=(0, 0),
        pad_edge=False,
    )
    for heading in ("part", "asked", "95 %", *(_COLUMNS[name] for name in names)):
        table.add_column(heading, justify="left" if heading == "part" else "right", no_wrap=True)
    for part, row in lines:
        spread = f"{row['jf_low']:.2f}-{row['jf_high']:.2f}" if row.get("jf_low") is not None else "-"
        table.add_row(part, str(row["expressions"]), spread, *(_cell(row.get(name)) for name in names))
    return table


def model_fingerprint(model: object) -> str:
    """What tells two models apart: their class, their configuration, and some values of every parameter."""
    digest = hashlib.sha256(type(model).__qualname__.encode())
    config = getattr(model, "config", None)
    if is_dataclass(config) and not isinstance(config, type):
        digest.update(json.dumps(asdict(config), sort_keys=True, default=str).encode())
    state = getattr(getattr(model, "network", model), "state_dict", None)
    if callable(state):
        for name, tensor in sorted(state().items()):
            flat = tensor.detach().reshape(-1)
            digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
            digest.update(flat[:: max(1, flat.numel() // _VALUES)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _data_fingerprint(benchmark: Benchmark) -> str:
    asked = [(v.name, len(v.frames), e.key, e.text) for v in benchmark.videos for e in benchmark.asked(v)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


class _State:
    """What is done so far, in memory and in the result file."""

    def __init__(self, benchmark: Benchmark, identity: dict[str, Any], folder: Path) -> None:
        self.benchmark, self.identity, self.path = benchmark, identity, folder / RESULT
        self.done: dict[str, list[dict[str, Any]]] = {}
        self.errors: dict[str, dict[str, Any]] = {}
        self.files = 0  # masks that were written
        if self.path.is_file():
            self._resume(folder / MASKS)

    @property
    def scores(self) -> list[dict[str, Any]]:
        """Of all videos that were tried, in the order of the set; those that failed come last."""
        order = self.benchmark.videos
        scores = [score for video in order for score in self.done.get(video.name, ())]
        failed = [video for video in order if video.name in self.errors]
        return scores + [self.benchmark.failed(video, e) for video in failed for e in self.benchmark.asked(video)]

    def add(self, result: dict[str, Any]) -> None:
        """Take what `run_video` returned."""
        self.done[result["video"]] = result["scores"]
        self.files += len(result["files"])

    def fail(self, video: Video, failed: Failed) -> None:
        """Remember why a video could not be run."""
        message = f"{failed.type}: {failed.message}"
        asked = len(self.benchmark.asked(video))
        self.errors[video.name] = {"video": video.name, "error": message, "expressions": asked}

    def save(self) -> None:
        """Write the result file, whole or not at all."""
        scores = self.scores
        about = {"videos": len(self.benchmark.videos), "masks": self.files, "row": self.benchmark.row(scores)}
        data = self.identity | about | {"scores": scores, "errors": list(self.errors.values())}
        write_text(self.path, json.dumps(data, indent=1))

    def _resume(self, masks_folder: Path) -> None:
        try:
            earlier = json.loads(self.path.read_text("utf-8"))
            seen = {name: earlier.get(name) for name in self.identity}
            scores, self.files = earlier["scores"], int(earlier["masks"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchmarkRunError(f"{self.path} is no result of a run ({error!r}): choose another folder") from error
        for name, wanted in self.identity.items():
            if seen[name] != wanted:
                raise BenchmarkRunError(
                    f"{self.path} holds a run with {name} {seen[name]!r}, wanted {wanted!r}: choose another folder"
                )
        there = sum(1 for _ in masks_folder.rglob("*.png")) if self.files else 0
        if there < self.files:
            raise BenchmarkRunError(
                f"{masks_folder} holds {there} of the {self.files} masks that were written: choose another folder"
            )
        for score in scores:
            if not score.get("failed"):  # what failed is tried again
                self.done.setdefault(score["video"], []).append(score)


def _submission(benchmark: Benchmark, folder: Path) -> Path | None:
    drawn = folder / MASKS
    if not drawn.is_dir():
        return None
    if benchmark.submission is not None and benchmark.submission.zipped:
        return pack(drawn, folder / SUBMISSION)
    return drawn


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
