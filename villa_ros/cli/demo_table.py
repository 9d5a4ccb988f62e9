"""The demonstration as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from villa_ros.evaluation.demo_report import mean

if TYPE_CHECKING:
    from villa_ros.evaluation.demo_report import Report, Row

_NONE = "-"
_WORDS_WIDTH = 22  # characters


def table(report: Report, title: str) -> Table:
    """Two lines for each request, its words and its answer; the summary is the last line. Fits 80 columns."""
    result = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=0)
    result.add_column("request\nanswer", overflow="fold", min_width=_WORDS_WIDTH)
    for heading in ("J&F", "words\nign.", "largest\nobject", "first\nmask", "cov.", "fps"):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        result.add_row(*_cells(row))
    result.add_section()
    result.add_row(f"absent: {report.absent_correct} of {len(report.absent)} right")
    result.add_row(
        f"[bold]mean J&F, {len(report.present)} present[/]",
        f"[bold]{_number(report.mean_jf)}[/]",
        _number(report.mean_words_ignored),
        _number(report.mean_largest_object),
        _number(mean([row.asked.first_mask_s for row in report.rows]), 1, " s"),
        _percent(mean([row.asked.coverage for row in report.present])),
        _number(mean([row.asked.frames_per_s for row in report.rows]), 1),
    )
    return result


def _cells(row: Row) -> tuple[str, ...]:
    asked = row.asked
    mark = "green" if asked.right else "red"
    verdict = _number(asked.jf) if asked.present else f"[{mark}]{'no' if asked.right else 'wrong'}[/]"
    answer = escape(asked.answer or ": ".join(["no answer", *filter(None, [asked.message])]))
    return (
        f"{escape(asked.text)}\n[{'cyan' if asked.answer else 'red'}]{answer}[/]",
        verdict,
        _number(row.words_ignored),
        _number(row.largest_object),
        _number(asked.first_mask_s, 1, " s"),
        _percent(asked.coverage),
        _number(asked.frames_per_s, 1),
    )


def _number(value: float | None, digits: int = 3, unit: str = "") -> str:
    return _NONE if value is None else f"{value:.{digits}f}{unit}"


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{value:.0%}"
