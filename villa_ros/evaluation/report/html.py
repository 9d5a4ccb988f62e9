"""The HTML report of an evaluation: one file to open in a browser, offline, and to send to somebody.

Tables, J&F over time beside the videos, and the worst moments as pictures. Everything is inside the file, plotly.js
too; only videos beyond a limit stay beside it. Its own script and style are in `report/`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from villa_ros.evaluation.report.moment_picture import FILL, OUTLINE, moment_picture
from villa_ros.evaluation.report.moment_views import Pictures, moment_views
from villa_ros.evaluation.report.players import Player, player_of, players
from villa_ros.evaluation.report.worst_moments import LOW_JF, WorstMoment, is_low, worst_first, worst_moments
from villa_ros.evaluation.results import BagResult, ScenarioResult

if TYPE_CHECKING:
    pass

REPORT = "report.html"
EMBED_BYTES = 40_000_000  # of all videos together; browsers open files of twice that size without trouble
# Of the table of requests, with how they sort
_COLUMNS = (
    ("Verdict", "number"),
    ("Request", "text"),
    ("J&F", "number"),
    ("Answer", "text"),
    ("State", "text"),
    ("Recording", "text"),
    ("Time, s", "number"),
    ("J", "number"),
    ("F", "number"),
    ("Coverage", "number"),
    ("HOTA", "number"),
    ("Switches", "number"),
    ("First mask, s", "number"),
)


class ReportError(RuntimeError):
    """The report cannot be written."""


@dataclass(frozen=True)
class _Shown:
    """A worst moment on the page."""

    moment: WorstMoment
    picture: str  # data URI
    player: Player | None


def write_report(
    result: ScenarioResult,
    folder: Path,
    pictures: Pictures,
    *,
    when: datetime | None = None,
    embed_bytes: int = EMBED_BYTES,
) -> Path:
    """Write `folder/report.html`, where `folder` holds what the result's paths are relative to.

    Args:
        result: What came of the scenario; each recording's run is read from FOLDER/run/run.mcap in its own folder.
        folder: The result's.
        pictures: Frames and true masks, asked for at most twelve moments, in the order of `worst_moments`.
        when: The evaluation was run; now, unless it is said.
        embed_bytes: Videos go into the page while all of them together are no larger.

    Raises:
        ReportError: plotly or Jinja is not installed, or the file cannot be written.
        BagError: a run is missing or damaged.
        PictureError: a picture cannot be encoded.
    """
    made = players(result, folder, embed_bytes)
    shown = _drawn(worst_moments(result), folder, pictures, made)
    page = _rendered(result, made, shown, when or datetime.now(timezone.utc))
    file = folder / REPORT
    try:
        file.write_text(page, "utf-8")
    except OSError as error:
        raise ReportError(f"cannot write {file} ({error}); choose another --out") from error
    return file


def _drawn(moments: Sequence[WorstMoment], folder: Path, pictures: Pictures, made: Sequence[Player]) -> list[_Shown]:
    return [
        _Shown(
            view.moment,
            moment_picture(view.rgb, view.published, view.true),
            player_of(made, view.moment.bag, view.moment.asked),
        )
        for view in moment_views(moments, folder, pictures)
    ]


def _rendered(result: ScenarioResult, made: Sequence[Player], shown: Sequence[_Shown], when: datetime) -> str:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
    except ImportError as error:
        raise ReportError(f"the HTML report needs {error.name}; pip install 'villa-ros[report]'") from error
    page = Environment(
        loader=PackageLoader("villa_ros", "evaluation/report"),
        autoescape=True,  # requests, answers and names are anybody's words
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters.update(number=_number, seconds=_seconds, iso=_iso, sortable=_sortable)
    assert page.loader is not None
    style, script = (page.loader.get_source(page, name)[0] for name in ("report.css", "report.js"))
    scripts = [get_plotlyjs(), script]
    data = {
        "players": [player.values() for player in made],
        "latency_ms": [[round(1e3 * value, 3) for value in bag.timing.latency_s] for bag in result.bags],
    }
    return page.get_template("report.html").render(
        result=result,
        when=when,
        rows=[(bag, asked, player_of(made, bag, asked)) for bag, asked in worst_first(result)],
        columns=_COLUMNS,
        faults=[(bag, fault) for bag in result.bags for fault in bag.faults],
        players=made,
        beside=[player for player in made if player.video and not player.embedded],
        shown=shown,
        summary=_summary(result),
        latency=_latency,
        is_low=is_low,
        low_jf=LOW_JF,
        fill=_hex(FILL),
        outline=_hex(OUTLINE),
        style=Markup(style),
        scripts=[Markup(text) for text in scripts],
        policy=_policy(scripts),
        data=data,
    )


def _policy(scripts: Sequence[str]) -> str:
    """A content security policy: these scripts and no others, and nothing from anywhere else but videos beside it."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in scripts)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; media-src data: file: 'self'; base-uri 'none'; form-action 'none'"
    )


def _summary(result: ScenarioResult) -> dict[str, Any]:
    asked = [one for _, one in result.requests]
    there = [one for one in asked if one.present]
    absent = [one for one in asked if one.present is False]
    scored = [one.jf for one in there if one.jf is not None]
    first = [one.first_mask_s for one in asked if one.first_mask_s is not None]
    return {
        "requests": len(asked),
        "right": sum(one.right is True and not is_low(one) for one in asked),
        "low": sum(is_low(one) for one in asked),
        "judged": sum(one.right is not None for one in asked),
        "present": len(there),
        "jf": fmean(scored) if scored else None,
        "absent": len(absent),
        "absent_right": sum(one.right is True for one in absent),
        "first_mask_s": median(first) if first else None,
        "frames": sum(sum(bag.frames.values()) for bag in result.bags),
        "failed_bags": sum(bag.failed for bag in result.bags),
    }


def _latency(bag: BagResult) -> dict[str, float] | None:
    """Median, 95th percentile and longest of a recording's latencies, ms."""
    values = sorted(1e3 * value for value in bag.timing.latency_s)
    if not values:
        return None
    return {"median": median(values), "p95": values[round(0.95 * (len(values) - 1))], "longest": values[-1]}


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _sortable(value: float | None) -> str:
    return "" if value is None else repr(value)


def _seconds(stamp_ns: int, since_ns: int) -> str:
    return f"{(stamp_ns - since_ns) / 1e9:.2f}"


def _iso(when: datetime) -> str:
    return when.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
