"""The evaluation as people read it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from villa_ros.evaluation import Report, Row, Scores

_NONE = "-"


def table(report: Report, title: str) -> Table:
    """One line for each request, and the summary as the last line."""
    result = Table(title=title, show_lines=False, show_footer=False, pad_edge=False)
    result.add_column("request", overflow="fold", ratio=3)
    result.add_column("answer", overflow="fold", ratio=3)
    for heading in (
        "J&F",
        "words\nignored",
        "largest\nobject",
        "first\nmask s",
        "frames in/\nused/dropped",
        "covered",
        "frames/s",
    ):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        result.add_row(*_cells(row))
    result.add_section()
    first_mask = [row.first_mask_s for row in report.rows if row.first_mask_s is not None]
    rates = [row.frames_per_s for row in report.rows if row.frames_per_s is not None]
    coverage = [row.coverage for row in report.present if row.coverage is not None]
    result.add_row(
        f"[bold]mean J&F over {len(report.present)} present requests[/]",
        f"[bold]absent: {report.absent_correct} of {len(report.absent)} answered no, without a mask[/]",
        f"[bold]{_number(report.mean_jf)}[/]",
        _number(report.mean_words_ignored),
        _number(report.mean_largest_object),
        _number(_mean(first_mask), 1),
        "/".join(
            str(sum(getattr(row, name) for row in report.rows))
            for name in ("frames_in", "frames_used", "frames_dropped")
        ),
        _percent(_mean(coverage)),
        _number(_mean(rates), 1),
    )
    return result


def _cells(row: Row) -> tuple[str, ...]:
    mark = "green" if row.correct else "red"
    verdict = _score(row.scores) if row.present else f"[{mark}]{'no' if row.correct else 'wrong'}[/]"
    return (
        escape(row.text),
        escape(row.answer) or "[red]no answer[/]",
        verdict,
        _score(row.words_ignored),
        _score(row.largest_object),
        _number(row.first_mask_s, 1),
        f"{row.frames_in}/{row.frames_used}/{row.frames_dropped}",
        _percent(row.coverage),
        _number(row.frames_per_s, 1),
    )


def _score(scores: Scores | None) -> str:
    return _NONE if scores is None else f"{scores.jf:.3f}"


def _number(value: float | None, digits: int = 3) -> str:
    return _NONE if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return _NONE if value is None or math.isnan(value) else f"{value:.0%}"


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
