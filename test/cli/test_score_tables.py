"""The table of scores: no number is cut short on a terminal of 80 columns."""

from __future__ import annotations

import io

from rich.console import Console

from villa.evaluation.score_table import Row
from villa_ros.cli.score_tables import score_report

BASELINES = {"words_ignored": 0.123, "largest": 0.234, "random": 0.345, "bag_of_words": 0.456}
COLOUR = Row(
    "colour", 1234, 0.987, 0.876, 0.999, 0.98, 0.99, 0.111, None, 0.777, 321, 0.666, None, 0.555, 12.34, BASELINES
)
ABSENT = Row("absent", 56, None, None, None, None, None, None, 0.444, None, 0, None, None, None, 0.12, {})
ALL = Row("all", 1290, 0.987, 0.876, 0.999, 0.98, 0.99, 0.111, 0.444, 0.777, 321, 0.666, 0.333, 0.555, 9.87, BASELINES)


def test_every_score_is_told_in_full() -> None:
    sink = io.StringIO()
    Console(file=sink, width=80).print(score_report([ABSENT, COLOUR, ALL], "DATA/val"))
    told = sink.getvalue()
    for text in ("1234", "0.987", "0.88-1.00", "0.111", "0.444", "0.777", "321", "0.666", "0.333", "0.555", "12.34"):
        assert text in told, text
    for name, value in BASELINES.items():
        assert name.replace("_", " ") in told
        assert f"{value:.3f}" in told
    assert "…" not in told


def test_what_is_not_there_has_no_row_beside_plain_ways() -> None:
    sink = io.StringIO()
    Console(file=sink, width=80).print(score_report([ABSENT, COLOUR], "DATA/val"))
    assert sink.getvalue().count("absent") == 2  # the column's name and the kind
