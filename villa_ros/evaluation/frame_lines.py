"""What came of each frame, a line of JSON each: for pandas, jq, DuckDB and whatever else reads such files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from villa.files.whole import write_text
from villa_ros.evaluation.results import BagResult

FRAME_LINES = "frames.jsonl"


def write_frame_lines(bag: BagResult, folder: Path) -> Path | None:
    """Write the lines of one recording's result into its folder below `folder`; None where it has failed.

    Raises:
        OSError: nothing can be written.
    """
    if bag.failed:
        return None
    file = folder / bag.folder / FRAME_LINES
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in _lines(bag)))
    return file


def _lines(bag: BagResult) -> Iterator[dict[str, Any]]:
    """A line for each frame of each request's window, request by request; null is what is not known."""
    for asked in bag.requests:
        for moment in asked.moments:
            yield {
                "bag": bag.name,
                "camera": asked.camera,
                "request_id": asked.request_id,
                "text": asked.text,
                "stamp_ns": moment.stamp_ns,
                "since_request_s": round((moment.stamp_ns - asked.stamp_ns) / 1e9, 6),
                "published": moment.published,
                "masks": moment.masks,
                "j": moment.j,
                "f": moment.f,
            }
