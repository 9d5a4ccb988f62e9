"""`villa eval` and `villa compare`: recordings, splits and public benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from villa_ros.cli.score_tables import score_report
from villa_ros.cli.terminal import bars_by_name, expected, fail, open_model, out, playing_bar, progress_bar, usage

if TYPE_CHECKING:
    from villa.evaluation.split_evaluation import Shown
    from villa_ros.evaluation.results import BagResult, ScenarioResult
    from villa_ros.evaluation.scenario import Scenario

OUT = Path("out/eval")


def evaluate(
    scenarios: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[SCENARIO]...", help="Scenario files: recordings and criteria."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Score a split instead: its folder, such as DATA/test-seen."),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="Score a public benchmark instead, such as mevis; see docs/benchmark_sets.md.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="With --benchmark: the folder of the set as published.")] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", "--half", help="With --benchmark: the split; default: the one to report."),
    ] = None,
    first_mask: Annotated[
        bool,
        typer.Option("--first-mask", help="With --benchmark davis2016: give the mask of each first frame, no words."),
    ] = False,
    mode: Annotated[str | None, typer.Option(help="every-frame or real-time; default: as in the scenario.")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Also play the recordings to a node over DDS, and compare with the replay.")
    ] = False,
    report: Annotated[bool, typer.Option(help="Write the HTML report, with a video of each camera.")] = True,
    moments: Annotated[
        bool,
        typer.Option("--moments", help="Also write the worst moments for Foxglove, and as COCO for FiftyOne or CVAT."),
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run recordings again that have results already.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with the model.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray cluster, or `local`; needs villa_ros[ray]."),
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="With --data: most requests per clip.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="With --data and --benchmark: most clips.")] = None,
    seed: Annotated[int, typer.Option(help="With --data: seed of the random baseline and of the intervals.")] = 0,
    where: Annotated[
        Path | None,
        typer.Option("--out", help="Folder (with --data: JSON file) for the results. (default: out/eval...)"),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="With --data: contact sheet of one success and the worst failure of each kind.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(metavar="PATH", help="Model file or folder; empty: the shipped one.")] = "",
    least_presence: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="With --data: report nothing less likely to be there; default: the checkpoint's."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Torch device. (default: cpu, or what the scenario says)")] = None,
    threads: Annotated[int | None, typer.Option(min=0, max=256, help="Threads of one torch operation.")] = None,
) -> None:
    """Score recordings against pass criteria, or a model on a split or a public benchmark."""
    if sum((bool(scenarios), data is not None, benchmark is not None)) != 1:
        usage("give scenario files, or --data FOLDER, or --benchmark NAME --root FOLDER: one of the three")
    if first_mask and benchmark is None:
        usage("--first-mask says how a benchmark begins: give it with --benchmark davis2016 --root FOLDER")
    if scenarios:
        given = {"checkpoint": checkpoint or None, "device": device, "threads": threads, "mode": mode}
        _scenarios(scenarios, given, where or OUT, _How(live, report, moments, fresh, workers, ray))
    elif data is not None:
        _split(
            data, where or Path("out/eval.json"), picture, requests, limit, seed, checkpoint, least_presence,
            device or "cpu", threads or 0, workers, ray,
        )  # fmt: skip
    else:
        assert benchmark is not None
        if root is None:
            usage("--benchmark needs --root, the folder as published")
        _check_beginning(benchmark, first_mask)
        _benchmark(benchmark, root, split, limit, where, checkpoint, device or "cpu", threads or 0, workers, ray)


def compare(
    before: Annotated[Path, typer.Argument(help="Result of villa eval: a JSON file, or the folder of a scenario.")],
    after: Annotated[Path, typer.Argument(help="The same for another model, parameter or prompt.")],
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit status 1 if a criterion broke or a mean is significantly lower.")
    ] = False,
) -> None:
    """Compare two results of villa eval, regressions first, with intervals from a bootstrap over clips."""
    from villa_ros.cli.scenario_tables import change_table, mean_table
    from villa_ros.evaluation.comparison import compare_results
    from villa_ros.evaluation.results import ResultError

    with expected(ResultError, ValueError):
        comparison = compare_results(before, after, seed)
    for name in comparison.broken:
        out.print(f"[red]broken:[/] {escape(name)}", highlight=False)
    for name in comparison.mended:
        out.print(f"[green]fixed:[/] {escape(name)}", highlight=False)
    out.print(change_table(comparison))
    out.print(mean_table(comparison))
    if comparison.only_before or comparison.only_after:
        seen = f"{comparison.only_before} only in the first, {comparison.only_after} only in the second"
        out.print(f"[yellow]requests without a partner: {seen}[/]", highlight=False)
    if strict and comparison.worse:
        fail(f"{after} is worse than {before}")


# -- scenarios -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _How:
    """How scenarios are run, and what is written of them."""

    live: bool
    report: bool
    moments: bool
    fresh: bool
    workers: int
    ray: str | None


def _scenarios(
    files: list[Path],
    given: Mapping[str, object],
    folder: Path,
    how: _How,
) -> None:
    from villa_ros.evaluation.live_run import node_parameters
    from villa_ros.evaluation.scenario import MODES, ScenarioError, read_scenario
    from villa_ros.replay.live_graph import LiveError

    if given["mode"] not in (None, *MODES):
        usage(f"--mode is {given['mode']}: wanted one of {', '.join(MODES)}")
    instead = {name: value for name, value in given.items() if value is not None}
    with expected(ScenarioError, LiveError):
        read = [replace(read_scenario(file), **instead) for file in files]  # type: ignore[arg-type]
        names = [scenario.name for scenario in read]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ScenarioError(f"several scenarios are called {repeated[0]!r}: give them names of their own")
        if how.live:
            for scenario in read:
                node_parameters(scenario)
    passed = [_scenario(scenario, folder / scenario.name, how) for scenario in read]
    if not all(passed):
        fail(f"{passed.count(False)} of {len(passed)} scenarios failed")


def _scenario(scenario: Scenario, folder: Path, how: _How) -> bool:
    from villa_ros.cli.scenario_tables import request_table, verdict_table
    from villa_ros.evaluation.scenario_eval import evaluate_scenario
    from villa_ros.parallel.dispatch import ParallelError

    with expected(ParallelError, OSError), _bag_bars(len(scenario.bags)) as (progress, told):
        result = evaluate_scenario(
            scenario,
            folder,
            opening=open_model,
            workers=how.workers,
            ray=how.ray,
            fresh=how.fresh,
            progress=progress,
            told=told,
        )
    _faults(result)
    out.print(request_table(result))
    if result.verdicts:
        out.print(verdict_table(result))
    out.print(f"result:  {folder / 'result.json'}", highlight=False, soft_wrap=True)
    if how.report:
        _report(scenario, result, folder)
    if how.moments:
        _moments(scenario, result, folder)
    agreed = not how.live or _live(scenario, result, folder)
    return result.passed and agreed


@contextmanager
def _bag_bars(bags: int) -> Iterator[tuple[Callable[[str, int, int], None], Callable[[BagResult, bool], None]]]:
    """A bar for all recordings and for each that is under way here, and a line for each that is kept."""
    with progress_bar() as bar:
        every = bar.add_task("recordings", total=bags)

        def told(result: BagResult, kept: bool) -> None:
            bar.advance(every)
            if kept:
                out.print(f"{escape(result.name)}: kept from before (--fresh runs it again)", highlight=False)

        yield bars_by_name(bar), told


def _faults(result: ScenarioResult) -> None:
    for bag in result.bags:
        for fault in bag.faults:
            topic = f" {fault.topic}" if fault.topic else ""
            at = f" at {fault.stamp_ns / 1e9:.3f} s" if fault.stamp_ns is not None else ""
            colour = "red" if bag.failed else "yellow"
            out.print(f"[{colour}]{escape(bag.name)}:[/] {escape(f'{fault.message}{topic}{at}')}", highlight=False)


def _report(scenario: Scenario, result: ScenarioResult, folder: Path) -> None:
    from villa_ros.bags.reader import BagError
    from villa_ros.evaluation.report.html import ReportError
    from villa_ros.evaluation.report.scenario_report import report_on
    from villa_ros.video.overlay_video import PictureError

    try:
        with progress_bar() as bar:
            task = bar.add_task("drawing", total=None)
            path = report_on(scenario, result, folder, lambda at, of: bar.update(task, completed=at, total=of))
    except ImportError as error:
        out.print(f"[yellow]no report: {escape(str(error))}; pip install 'villa-ros\\[report]'[/]", highlight=False)
    except (BagError, PictureError, ReportError, OSError) as error:
        out.print(f"[yellow]no report: {escape(str(error))}[/]", highlight=False)
    else:
        out.print(f"report:  {path}", highlight=False, soft_wrap=True)


def _moments(scenario: Scenario, result: ScenarioResult, folder: Path) -> None:
    from villa_ros.bags.reader import BagError
    from villa_ros.evaluation.moment_files import MomentFilesError, write_moment_files
    from villa_ros.evaluation.report.scenario_report import pictures_of

    with expected(BagError, MomentFilesError):
        path = write_moment_files(result, folder, pictures_of(scenario, result))
    out.print(f"moments: {path}", highlight=False, soft_wrap=True)


def _live(scenario: Scenario, replayed: ScenarioResult, folder: Path) -> bool:
    from villa_ros.cli.scenario_tables import agreement_table, request_table, verdict_table
    from villa_ros.evaluation.live_run import play_scenario

    result, agreements = play_scenario(scenario, replayed, folder, playing_bar)
    _faults(result)
    out.print(request_table(result))
    if result.verdicts:
        out.print(verdict_table(result))
    out.print(agreement_table(agreements))
    out.print(f"result:  {folder / 'live' / 'result.json'}", highlight=False, soft_wrap=True)
    return result.passed and all(agreement.agree for agreement in agreements)


# -- splits and benchmarks -------------------------------------------------------------------------------------------


def _split(
    data: Path,
    file: Path,
    picture: Path | None,
    requests: int | None,
    limit: int | None,
    seed: int,
    checkpoint: str,
    least_presence: float | None,
    device: str,
    threads: int,
    workers: int,
    ray: str | None,
) -> None:
    with _needing_more("scoring"), expected(OSError, ValueError, RuntimeError):
        import pycocotools  # noqa: F401 - told before the model loads

        from villa.evaluation.score_table import save, table
        from villa_ros.evaluation.split_run import UnscoredError, score_split

        shown: list[Shown] = []
        unscored = ""
        with progress_bar() as bar:
            task = bar.add_task("clips", total=None)
            try:
                scores = score_split(
                    data,
                    checkpoint=checkpoint,
                    device=device,
                    threads=threads,
                    limit=limit,
                    requests=requests,
                    seed=seed,
                    least_presence=least_presence,
                    workers=workers,
                    ray=ray,
                    load=open_model,
                    progress=lambda done, count: bar.update(task, completed=done, total=count),
                    show=None if picture is None else shown.append,
                )
            except UnscoredError as error:  # what was scored is kept
                scores, unscored = error.scores, str(error)
                if not scores:
                    raise
        if picture is not None:
            from villa_ros.evaluation.score_sheet import write_score_sheet

            out.print(f"picture: {write_score_sheet(shown, picture)}", highlight=False, soft_wrap=True)
        save(scores, file, seed)
        out.print(score_report(table(scores, seed), str(data)))
    out.print(f"scores: {file}", highlight=False, soft_wrap=True)
    if unscored:
        fail(unscored)


def _check_beginning(name: str, first_mask: bool) -> None:
    """Refuse a first mask where sentences are asked, and sentences where there are none."""
    with _needing_more("scoring"):
        from villa.evaluation.benchmarks import BENCHMARKS
    if name not in BENCHMARKS or BENCHMARKS[name].first_mask == first_mask:
        return
    if first_mask:
        giving = ", ".join(kind.name for kind in BENCHMARKS.values() if kind.first_mask)
        usage(f"{name} gives no mask of the first frame, it asks sentences: leave out --first-mask, or take {giving}")
    usage(
        f"{name} has no sentences to ask: the mask of each first frame is given and carried through the sequence; "
        "add --first-mask"
    )


def _benchmark(
    name: str,
    root: Path,
    split: str | None,
    limit: int | None,
    where: Path | None,
    checkpoint: str,
    device: str,
    threads: int,
    workers: int,
    ray: str | None,
) -> None:
    with _needing_more("scoring"), expected(OSError, ValueError, RuntimeError):
        import pycocotools  # noqa: F401 - told before the model loads

        from villa.evaluation.benchmarks import open_benchmark
        from villa_ros.evaluation.benchmark_run import benchmark_table, run_benchmark

        which = open_benchmark(name, root, split).split  # told before the model loads
        folder = where or OUT / f"{name}-{which}"
        model = open_model(checkpoint, device, threads)
        with progress_bar() as bar:
            task = bar.add_task("videos", total=None)
            report = run_benchmark(
                name,
                root,
                model,  # type: ignore[arg-type] # ViLLa segments whole videos
                folder,
                split=which,
                limit=limit,
                progress=lambda done, count: bar.update(task, completed=done, total=count),
                model_name=checkpoint or "shipped",
                workers=workers,
                ray=ray,
                begin=partial(open_model, checkpoint, device, threads),  # type: ignore[arg-type]
            )
    for error in report.errors:
        out.print(f"[red]{escape(str(error['video']))}:[/] {escape(str(error['error']))}", highlight=False)
    out.print(benchmark_table(report))
    for note in report.notes:
        out.print(note, highlight=False, soft_wrap=True, markup=False)
    out.print(f"scores: {report.result}", highlight=False, soft_wrap=True)
    if report.submission is not None:
        out.print(f"submission: {report.submission}", highlight=False, soft_wrap=True)
    if report.errors:
        fail(f"{len(report.errors)} videos could not be run")


@contextmanager
def _needing_more(what: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        fail(f"{error}; {what} needs more packages: make data-setup")
