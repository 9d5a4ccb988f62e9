"""How long requests waited for their first mask and answer, and stopped ones for the model to give up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from villa_ros.pipeline.events import AnswerEvent, Event, StatusEvent, TrackletsEvent
from villa_ros.pipeline.request import RequestState

if TYPE_CHECKING:
    from villa_ros.pipeline.stats import Tally


class ResponseTimes:
    """Reads latencies off the events. `note` is called by one thread at a time, in the order of the events."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._began: dict[str, int] = {}  # request -> when it was accepted
        self._stopped_ns: int | None = None  # when a request was ended while a slow step was under way

    def __len__(self) -> int:
        """How many requests are under way."""
        return len(self._began)

    def note(self, event: Event, now_ns: int, *, computing: bool) -> None:
        """An event is told; `computing`: while a slow step is under way."""
        if isinstance(event, StatusEvent):
            if event.state == RequestState.QUEUED:
                self._began[event.request_id] = now_ns
            elif event.state.final:
                self._began.pop(event.request_id, None)
                if event.state == RequestState.CANCELED and computing:
                    self._stopped_ns = now_ns
        elif isinstance(event, TrackletsEvent):
            self._took("first_mask", event.request_id, now_ns)
        elif isinstance(event, AnswerEvent) and event.is_final:
            self._took("answer", event.request_id, now_ns)

    def step_ended(self, now_ns: int) -> None:
        """A slow step is over."""
        stopped_ns, self._stopped_ns = self._stopped_ns, None
        if stopped_ns is not None:
            self._tally.took("stop_to_end", now_ns - stopped_ns)

    def _took(self, stage: str, request_id: str, now_ns: int) -> None:
        if request_id in self._began:
            self._tally.took(stage, now_ns - self._began[request_id])
