"""Scores on a benchmark as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table

if TYPE_CHECKING:
    from villa.evaluation.score_table import Row

_MEASURES = ("asked", "J&F", "95 %", "refused", "absent", "pairs", "choice", "s")  # s: to the masks
_TRACKS = ("HOTA", "IDSW", "kept")


def score_report(rows: Sequence[Row], title: str) -> Group:
    """A row for each kind of request, and one for all; a dash where there is nothing to take a mean of.

    The scores first, then identities and J&F of plain ways to answer.
    """
    scores = _table(title, _MEASURES)
    baselines = list(dict.fromkeys(name for row in rows for name in row.baselines))
    named = [name.replace("_", " ") for name in baselines]
    plain = _table("identities, and J&F of plain ways to answer", (*_TRACKS, *named))
    for row in rows:
        spread = "-" if row.jf_low is None or row.jf_high is None else f"{row.jf_low:.2f}-{row.jf_high:.2f}"
        scores.add_row(
            row.kind,
            str(row.requests),
            _share(row.jf),
            spread,
            _share(row.refused),
            _share(row.absent_accuracy),
            _share(row.pairs),
            _share(row.choice),
            f"{row.first_mask_s:.2f}",
        )
        if row.hota is not None:
            given = (_share(row.baselines.get(name)) for name in baselines)
            plain.add_row(row.kind, _share(row.hota), str(row.switches), _share(row.kept), *given)
    return Group(scores, plain)


def _table(title: str, columns: Sequence[str]) -> Table:
    """Narrow enough for 80 columns: a number that is cut short is none."""
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 0), pad_edge=False)
    table.add_column("kind", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
