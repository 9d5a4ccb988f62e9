"""The evaluation as people read it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from villa_ros.evaluation.demo_report import Report, Row, Scores

_NONE = "-"
_WORDS_WIDTH = 22  # characters


def table(report: Report, title: str) -> Table:
    """Two lines for each request, its words and its answer; the summary is the last line. Fits 80 columns."""
    result = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=0)
    result.add_column("request\nanswer", overflow="fold", min_width=_WORDS_WIDTH)
    for heading in ("J&F", "words\nign.", "largest\nobject", "first\nmask", "in/used/\ndropped", "cov.", "fps"):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        result.add_row(*_cells(row))
    result.add_section()
    first_mask = [row.first_mask_s for row in report.rows if row.first_mask_s is not None]
    rates = [row.frames_per_s for row in report.rows if row.frames_per_s is not None]
    coverage = [row.coverage for row in report.present if row.coverage is not None]
    in_used_dropped = (
        sum(row.frames_in for row in report.rows),
        sum(row.frames_used for row in report.rows),
        sum(row.frames_dropped for row in report.rows),
    )
    result.add_row(f"absent: {report.absent_correct} of {len(report.absent)} right")
    result.add_row(
        f"[bold]mean J&F, {len(report.present)} present[/]",
        f"[bold]{_number(report.mean_jf)}[/]",
        _number(report.mean_words_ignored),
        _number(report.mean_largest_object),
        _number(_mean(first_mask), 1, " s"),
        "/".join(map(str, in_used_dropped)),
        _percent(_mean(coverage)),
        _number(_mean(rates), 1),
    )
    return result


def _cells(row: Row) -> tuple[str, ...]:
    mark = "green" if row.correct else "red"
    verdict = _score(row.scores) if row.present else f"[{mark}]{'no' if row.correct else 'wrong'}[/]"
    answer = escape(row.answer) if row.answer else "no answer"
    return (
        f"{escape(row.text)}\n[{'cyan' if row.answer else 'red'}]{answer}[/]",
        verdict,
        _score(row.words_ignored),
        _score(row.largest_object),
        _number(row.first_mask_s, 1, " s"),
        f"{row.frames_in}/{row.frames_used}/{row.frames_dropped}",
        _percent(row.coverage),
        _number(row.frames_per_s, 1),
    )


def _score(scores: Scores | None) -> str:
    return _NONE if scores is None else f"{scores.jf:.3f}"


def _number(value: float | None, digits: int = 3, unit: str = "") -> str:
    return _NONE if value is None or math.isnan(value) else f"{value:.{digits}f}{unit}"


def _percent(value: float | None) -> str:
    return _NONE if value is None or math.isnan(value) else f"{value:.0%}"


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
