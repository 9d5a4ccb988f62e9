"""What `villa eval SCENARIO` and `villa compare` print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from villa_ros.evaluation.comparison import Change, ResultComparison
from villa_ros.evaluation.results import Asked, BagResult, ScenarioResult

if TYPE_CHECKING:
    from villa_ros.evaluation.live_run import Agreement

_HIT_JF = 0.5  # masks below it are on something else
_LISTED = 10  # changes of single requests that are printed


def request_table(result: ScenarioResult) -> Table:
    """A row for each request, in the order of the recordings."""
    table = Table(title=f"{escape(result.name)}, {result.mode}", title_justify="left")
    for name in ("bag", "request", "answer", "state"):
        table.add_column(name, overflow="fold")
    for name in ("J&F", "cov.", "switches", "first mask"):
        table.add_column(name, justify="right")
    table.add_column("masks")
    for bag in result.bags:
        for asked in bag.requests:
            table.add_row(*_request(bag, asked))
        if bag.failed:
            table.add_row(escape(bag.name), f"[red]failed: {escape(bag.faults[0].message)}[/]", *[""] * 7)
    return table


def _request(bag: BagResult, asked: Asked) -> Iterator[str]:
    yield escape(bag.name)
    yield escape(asked.text)
    yield escape(asked.answer)
    yield asked.state.lower().replace("_", " ")
    yield "" if asked.jf is None else f"{asked.jf:.3f}"
    yield "" if asked.coverage is None else f"{asked.coverage:.2f}"
    yield "" if asked.switches is None else str(asked.switches)
    yield "" if asked.first_mask_s is None else f"{asked.first_mask_s:.2f} s"
    said = "yes" if asked.answered else "none"
    if asked.present is None:
        yield said
    else:
        good = asked.right and (asked.jf is None or asked.jf >= _HIT_JF)
        yield f"[{'green' if good else 'red'}]{said}[/]{'' if asked.present else ' (not there)'}"


def verdict_table(result: ScenarioResult) -> Table:
    """A row for each criterion."""
    table = Table(title="criteria", title_justify="left")
    for name in ("bag", "criterion"):
        table.add_column(name, overflow="fold")
    table.add_column("measured", justify="right")
    table.add_column("", overflow="fold")
    for verdict in result.verdicts:
        outcome = "[green]passed[/]" if verdict.passed else f"[red]failed[/] {escape(verdict.reason)}"
        table.add_row(escape(verdict.scope or "all"), escape(verdict.text), verdict.shown, outcome)
    return table


def agreement_table(agreements: Sequence[Agreement]) -> Table:
    """Replayed and live, request by request."""
    table = Table(title="replayed and live", title_justify="left")
    for name in ("bag", "request"):
        table.add_column(name, overflow="fold")
    for name in ("replayed", "live", "frames in common", "IoU"):
        table.add_column(name, justify="right")
    table.add_column("same")
    for one in agreements:
        table.add_row(
            escape(one.bag),
            escape(one.text),
            *("masks" if answered else "none" for answered in (one.replayed, one.live)),
            str(one.frames),
            "" if one.iou is None else f"{one.iou:.3f}",
            "[green]yes[/]" if one.agree else "[red]no[/]",
        )
    return table


def mean_table(comparison: ResultComparison) -> Table:
    """Means of both results, and the interval of their difference."""
    table = Table(title=f"{escape(comparison.before)}  ->  {escape(comparison.after)}", title_justify="left")
    table.add_column("mean of")
    for name in ("requests", "before", "after", "difference", "95 %"):
        table.add_column(name, justify="right")
    for mean in comparison.means:
        colour = ("green" if mean.delta > 0 else "red") if mean.sure else "default"
        table.add_row(
            escape(mean.name),
            str(mean.requests),
            f"{mean.before:.3f}",
            f"{mean.after:.3f}",
            f"[{colour}]{mean.delta:+.3f}[/]",
            f"{mean.low:+.3f} to {mean.high:+.3f}",
        )
    return table


def change_table(comparison: ResultComparison) -> Table:
    """Single requests: what got worse first, then what got better."""
    worse, better = comparison.regressions, comparison.improvements
    title = f"{len(worse)} got worse, {len(better)} better"
    table = Table(title=title, title_justify="left")
    for name in ("clip", "request"):
        table.add_column(name, overflow="fold")
    for name in ("before", "after", ""):
        table.add_column(name, justify="right")
    for changes in (worse[:_LISTED], better[:_LISTED]):
        for change in changes:
            table.add_row(*_change(change))
        if changes:
            table.add_section()
    return table


def _change(change: Change) -> Iterator[str]:
    yield escape(change.before.clip)
    yield escape(change.before.text)
    yield f"{change.before.score:.3f}"
    yield f"{change.after.score:.3f}"
    yield f"[{'green' if change.delta > 0 else 'red'}]{change.delta:+.3f}[/]"
