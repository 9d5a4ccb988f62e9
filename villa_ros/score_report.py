"""Scores on a benchmark as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Column, Table

if TYPE_CHECKING:
    from villa.score_table import Row


def score_table(rows: Sequence[Row], title: str) -> Table:
    """A row for each kind of request, and one for all; a dash where there is nothing to take a mean of."""
    baselines = list(dict.fromkeys(name for row in rows for name in row.baselines))
    names = [name.partition("_")[0] for name in baselines]
    measures = (
        "asked",
        "J&F",
        "95 %",
        "refused",
        "absent",
        "pairs",
        "choice",
        "HOTA",
        "IDSW",
        "kept",
        "s",
    )  # s: to the masks
    table = Table(Column("kind", min_width=11), *measures, *names, title=title)
    for row in rows:
        spread = "-" if row.jf_low is None or row.jf_high is None else f"{row.jf_low:.2f}-{row.jf_high:.2f}"
        table.add_row(
            row.kind,
            str(row.requests),
            _share(row.jf),
            spread,
            _share(row.refused),
            _share(row.absent_accuracy),
            _share(row.pairs),
            _share(row.choice),
            _share(row.hota),
            str(row.switches),
            _share(row.kept),
            f"{row.first_mask_s:.2f}",
            *(_share(row.baselines.get(name)) for name in baselines),
        )
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
