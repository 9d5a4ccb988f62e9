"""What a benchmark of models measured: for people as a table, for programs as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

REPORT = "model_bench.json"


@dataclass(frozen=True)
class Timed:
    """Median of some repetitions."""

    ms: float
    repeats: int


@dataclass(frozen=True)
class ModelBench:
    """What was measured of one configuration; docs/benchmarks.md says what each number holds."""

    name: str
    device: str
    dtype: str
    torch: str
    threads: int
    compiled: bool
    parameters: int
    frames: int  # of the clip that the language model sees
    visual_tokens: int  # of one frame
    prompt_tokens: int
    answer_tokens: int
    encode: Timed
    see: Timed
    prefill: Timed
    prefill_whole: Timed
    token: Timed
    frm_pass: Timed
    decode: Timed
    seed: Timed
    fast: dict[int, Timed]  # by number of objects
    first_mask: Timed
    first_mask_encoded: Timed
    peak_bytes: int
    peak_kind: str  # what `peak_bytes` counts


# What is aimed at on one H100, with random weights and a stream of 640x480. Told beside what was measured, no failure.
AIM_FOR = "qwen3vl-2b-sam2-small"
AIM_DEVICE = "H100"
AIM_FIRST_MASK_S = 0.5
AIM_FAST_OBJECTS = 5
AIM_FAST_FPS = 40.0
AIM_PEAK_GB = 12.0


def write(results: Sequence[ModelBench], folder: Path) -> Path:
    """All results as JSON; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT
    path.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", "utf-8")
    return path


def table(results: Sequence[ModelBench]) -> Table:
    """A column for each model, a line for each number."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("ms, median")
    for result in results:
        shown.add_column(f"{result.name}\n{result.parameters / 1e6:,.0f} M, {result.dtype}", justify="right")
    for label, cell in _LINES:
        shown.add_row(label, *map(cell, results))
    for objects in sorted({count for result in results for count in result.fast}):
        cells = (_rate(result.fast[objects]) if objects in result.fast else "-" for result in results)
        shown.add_row(f"fast pass, {objects} object{'s' if objects > 1 else ''} (frames/s)", *cells)
    for label, cell in _LAST_LINES:
        shown.add_row(label, *map(cell, results))
    return shown


def notes(results: Sequence[ModelBench]) -> list[str]:
    """What the numbers hold for, and how they stand to the aims."""
    first = results[0]
    lines = [
        f"{first.device}, {first.threads} thread{'s' if first.threads > 1 else ''}, torch {first.torch}"
        f"{', compiled' if first.compiled else ''}; random weights, 640x480, clips of 8 frames; "
        f"memory {first.peak_kind}"
    ]
    return lines + [_aims(result) for result in results if result.name == AIM_FOR]


def _aims(result: ModelBench) -> str:
    fast = result.fast.get(AIM_FAST_OBJECTS)
    measured = (
        (f"first mask under {AIM_FIRST_MASK_S:g} s", result.first_mask.ms / 1e3 < AIM_FIRST_MASK_S),
        (
            f"{AIM_FAST_FPS:g} frames/s with {AIM_FAST_OBJECTS} objects",
            None if fast is None else 1e3 / fast.ms >= AIM_FAST_FPS,
        ),
        (f"memory under {AIM_PEAK_GB:g} GB", result.peak_bytes / 1e9 < AIM_PEAK_GB),
    )
    verdicts = {True: "reached", False: "not reached", None: "not measured"}
    told = "; ".join(f"{aim}: {verdicts[reached]}" for aim, reached in measured)
    return f"aims of {AIM_FOR} on one {AIM_DEVICE}, held against {result.device}: {told}"


def _plain(timed: Timed) -> str:
    return f"{timed.ms:,.1f}"


def _rate(timed: Timed, items: int = 1) -> str:
    return f"{timed.ms:,.1f} ({1e3 * items / timed.ms:,.1f})"


_LINES: tuple[tuple[str, Callable[[ModelBench], str]], ...] = (
    ("image encoder, one frame", lambda r: _plain(r.encode)),
    ("visual tokens of one frame (tokens)", lambda r: f"{_plain(r.see)} ({r.visual_tokens})"),
    ("prompt, tokens", lambda r: f"{r.prompt_tokens}"),
    ("prefill, as in a slow pass (tokens/s)", lambda r: _rate(r.prefill, r.prompt_tokens)),
    ("prefill in one piece (tokens/s)", lambda r: _rate(r.prefill_whole, r.prompt_tokens)),
    ("one token of the answer (tokens/s)", lambda r: _rate(r.token)),
    ("[FRM] pass, one object", lambda r: _plain(r.frm_pass)),
    ("mask decoder, one object", lambda r: _plain(r.decode)),
    ("memory begun, one object", lambda r: _plain(r.seed)),
)
_LAST_LINES: tuple[tuple[str, Callable[[ModelBench], str]], ...] = (
    ("first mask (answer tokens)", lambda r: f"{_plain(r.first_mask)} ({r.answer_tokens})"),
    ("first mask, frames encoded before", lambda r: _plain(r.first_mask_encoded)),
    ("peak memory, GB", lambda r: f"{r.peak_bytes / 1e9:.2f}"),
)
