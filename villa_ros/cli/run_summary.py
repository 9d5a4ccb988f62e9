"""What became of each request of a run, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from villa_ros.pipeline.request import RequestState

if TYPE_CHECKING:
    from villa_ros.bags.run import Run
    from villa_ros.pipeline.events import StatusEvent


def last_status(run: Run, request_id: str) -> StatusEvent | None:
    """The last thing heard of a request."""
    statuses = run.statuses.get(request_id)
    return statuses[-1].value if statuses else None


def failed_requests(run: Run) -> list[str]:
    """One line for each request that failed or was refused."""
    found = []
    for request_id in run.statuses:
        status = last_status(run, request_id)
        if status is not None and status.state in (RequestState.FAILED, RequestState.REJECTED):
            found.append(f"{request_id} {status.state.name}: {status.message}")
    return found


def summary(run: Run, title: str) -> Table:
    """One line for each request: words, answer, state, frames with a mask."""
    result = Table(title=title, pad_edge=False)
    for heading in ("request", "answer", "state", "tracks"):
        result.add_column(heading, overflow="fold")
    result.add_column("frames with\na mask", justify="right")
    for request_id, timed in run.commands.items():
        request = timed.value
        status = last_status(run, request_id)
        answer = run.answers.get(request_id)
        ids: dict[str, None] = {}
        frames = set()
        for entry in run.tracks_of(request_id):
            for instance in entry.value.instances:
                if instance.request_id == request_id:
                    ids[instance.track_id] = None
                    if instance.mask.area:
                        frames.add(entry.value.header.time_ns)
        result.add_row(
            escape(request.text),
            escape(answer.value.text) if answer else "-",
            status.state.name if status else "-",
            ", ".join(ids) or "-",
            str(len(frames)),
        )
    return result
