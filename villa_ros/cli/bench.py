"""`villa bench` and `villa soak`: what this machine makes of the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from villa_ros.cli.terminal import err, expected, fail, need_ros, open_model, out, tracked, usage

if TYPE_CHECKING:
    from villa.checkpoints.presets import NamedConfig
    from villa_ros.bench.model import ModelBenchError, Options
    from villa_ros.bench.model_report import ModelBench

Checkpoint = Annotated[str, typer.Option(metavar="PATH", help="Model file or folder; empty: the shipped model.")]


def bench(
    bag: Annotated[Path | None, typer.Option(help="Bag with a 640x480 stream; default: the sample.")] = None,
    objects: Annotated[int, typer.Option(min=1, max=20, help="Objects to track.")] = 3,
    frames: Annotated[int, typer.Option(min=10, help="Frames to measure.")] = 150,
    models: Annotated[
        list[str] | None,
        typer.Option(metavar="CONFIG", help="Measure this configuration at its real size instead; repeat for several."),
    ] = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="Measure all named configurations instead.")] = False,
    counts: Annotated[
        str,
        typer.Option("--model-objects", metavar="N,N,...", help="With --models: numbers of objects in the fast pass."),
    ] = "1,5,20",
    answer_tokens: Annotated[
        int, typer.Option(min=2, max=512, help="With --models: length of the answer, [SEG] included.")
    ] = 20,
    repeats: Annotated[int, typer.Option(min=1, help="With --models: most repeats of each measurement.")] = 5,
    budget: Annotated[
        float,
        typer.Option(
            min=0.0, metavar="SECONDS", help="With --models: time for each measurement; slower ones run once."
        ),
    ] = 20.0,
    dtype: Annotated[
        str, typer.Option(help="With --models: float32 or bfloat16; default: bfloat16 on cuda, else float32.")
    ] = "",
    compiled: Annotated[
        bool, typer.Option("--compile", help="With --models: torch.compile the parts that run on every frame.")
    ] = False,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("out/bench"),
    checkpoint: Checkpoint = "",
    device: Annotated[str, typer.Option(help="Torch device; default: cpu, or with --models cuda if available.")] = "",
    threads: Annotated[int, typer.Option(min=0, max=256)] = 0,
    stops: Annotated[int, typer.Option(min=0, help="Requests to stop while the model computes; 0: none.")] = 20,
    parallel: Annotated[
        bool,
        typer.Option(
            "--parallel", "--spreading", help="Measure clips scored per second instead, with one worker and with two."
        ),
    ] = False,
    clips: Annotated[int, typer.Option(min=2, help="With --parallel: clips to score.")] = 200,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS", help="With --parallel: over a Ray cluster.")] = None,
) -> None:
    """Measure the frame rate of the fast pass, the time to the first mask, and the latency of a stop."""
    if parallel:
        _bench_parallel(clips, ray, checkpoint, device or "cpu")
        return
    if models or all_models:
        from villa_ros.bench.model import ModelBenchError, Options

        if not all(part.isdigit() for part in counts.split(",")):
            usage(f"--model-objects is {counts!r}: wanted numbers with commas between, such as 1,5,20")
        with expected(ModelBenchError):
            options = Options(
                device=device,
                dtype=dtype,
                objects=tuple(int(part) for part in counts.split(",")),
                answer_tokens=answer_tokens,
                repeats=repeats,
                budget_s=budget,
                threads=threads,
                compile=compiled,
            )
        _models(models or [], all_models, options, folder)
        return
    from villa_ros.bags.reader import BagError
    from villa_ros.bench import stop_latency
    from villa_ros.bench.tracking import BenchError, measure
    from villa_ros.runtime.package_share import share_path

    with expected(BagError, BenchError, FileNotFoundError):
        source = bag or share_path("sample", "tabletop")
        model = open_model(checkpoint, device or "cpu", threads)
        result = measure(source, model, folder, objects=objects, frames=frames, progress=tracked)
        out.print(result.text(), highlight=False)
        if stops:
            out.print(stop_latency.measure(source, model, stops, tracked).text(), highlight=False)


def _models(chosen: list[str], every: bool, options: Options, folder: Path) -> None:
    """Each configuration in a process of its own; one that cannot be measured does not keep the others from it."""
    with expected(FileNotFoundError, ValueError):
        from villa.checkpoints.presets import names
        from villa_ros.cli.models import read_named
        from villa_ros.runtime.package_share import share_path

        wanted = names(share_path("configs")) if every else tuple(dict.fromkeys(chosen))
        configs = [read_named(name) for name in wanted]
    from villa_ros.bench.model import ModelBenchError
    from villa_ros.bench.model_report import notes, table, write

    measured = [_measured(config, options) for config in configs]
    done = [result for result in measured if not isinstance(result, ModelBenchError)]
    failed = [error for error in measured if isinstance(error, ModelBenchError)]
    if done:
        out.print(table(done))
        for line in notes(done):
            out.print(line, highlight=False, markup=False, soft_wrap=True)
        with expected(OSError):
            path = write(done, folder)
        out.print(f"report: {path}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        fail(f"{len(failed)} of {len(configs)} configurations were not measured: {failed[0]}")


def _measured(config: NamedConfig, options: Options) -> ModelBench | ModelBenchError:
    """What was measured, or why nothing was."""
    from villa_ros.bench.device import DeviceError
    from villa_ros.bench.model import ModelBenchError, measure_apart

    try:
        with err.status(f"measuring {config.name}"), expected(DeviceError):
            return measure_apart(config, options)
    except ModelBenchError as error:
        err.print(str(error), style="yellow", highlight=False, markup=False, soft_wrap=True)
        return error


def _bench_parallel(clips: int, ray: str | None, checkpoint: str, device: str) -> None:
    from villa_ros.bench.parallel import ParallelBenchError, measure
    from villa_ros.cli.terminal import progress_bar
    from villa_ros.parallel.dispatch import ParallelError

    with expected(ParallelBenchError, ParallelError, OSError, ValueError), progress_bar() as bar:
        tasks: dict[str, Any] = {}

        def progress(run: str, done: int, count: int) -> None:
            if run not in tasks:
                tasks[run] = bar.add_task(run, total=count)
            bar.update(tasks[run], completed=done)

        measured = measure(clips, ray=ray, checkpoint=checkpoint, device=device, progress=progress)
    out.print(measured.text(), highlight=False, markup=False)


def overhead(
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each measurement.")] = 15,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("out/bench"),
) -> None:
    """Measure the CPU cost of everything but the model, in comparison with nodes that send polygons."""
    need_ros()
    from villa_ros.bench.overhead import measure

    result = measure(repeats, tracked=lambda cases, what: tracked(cases, None, what))
    out.print(result.table())
    out.print(result.text(), highlight=False)
    out.print(f"report: {result.save(folder)}", highlight=False, markup=False, soft_wrap=True)


def soak(
    bag: Annotated[Path | None, typer.Option(help="Bag to loop over; default: the sample.")] = None,
    frames: Annotated[int, typer.Option(min=200, help="Frames to measure, after the warm-up.")] = 2000,
    warm_up: Annotated[int, typer.Option(min=0, help="Frames before the measurement.")] = 500,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the curve and the table.")] = Path("out/soak"),
    checkpoint: Checkpoint = "",
    device: str = "cpu",
    threads: Annotated[int, typer.Option(min=0, max=256)] = 0,
) -> None:
    """Measure resident memory over thousands of frames while objects and requests come and go."""
    from villa_ros.bags.reader import BagError
    from villa_ros.bench.memory_soak import run
    from villa_ros.bench.tracking import BenchError
    from villa_ros.runtime.package_share import share_path

    with expected(BagError, BenchError, FileNotFoundError):
        source = bag or share_path("sample", "tabletop")
        model = open_model(checkpoint, device, threads)
        result = run(source, model, folder, frames=frames, warm_up=warm_up, progress=tracked)
    out.print(result.text(), highlight=False)
    if not result.flat:
        fail(f"resident memory grows by {result.slope_mb_per_1000:.2f} MB per 1,000 frames")
