"""What happened leaves here, in the order of the operations, each led by its journal entry."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from villa_ros.pipeline.events import Event, JournalEvent, StatusEvent
from villa_ros.pipeline.request import ErrorCode, RequestState

if TYPE_CHECKING:
    from villa_ros.pipeline.config import PipelineConfig


class EventOutbox:
    """Holds events while an operation goes on, and hands them to `sink` when it is done.

    `lock` guards all state that an operation may change; an operation is a `with committing()`. `sink` is called under
    the lock. It may start an operation of its own, whose events follow those on their way.
    """

    def __init__(self, sink: Callable[[Event], None]) -> None:
        self.lock = threading.RLock()
        self._sink = sink
        self._events: deque[Event] = deque()
        self._flushing = False
        self._operations = 0

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Hold the lock, then hand over what happened; nested calls leave that to the outermost."""
        with self.lock:
            try:
                yield
            finally:
                if not self._flushing:
                    self._flushing = True
                    try:
                        while self._events:
                            self._sink(self._events.popleft())
                    finally:
                        self._flushing = False

    def put(self, event: Event) -> None:
        """Add an event to the operation under way."""
        self._events.append(event)

    def status(self, request_id: str, state: RequestState, code: ErrorCode = ErrorCode.NONE, message: str = "") -> None:
        """Add a state of a request."""
        self.put(StatusEvent(request_id, state, code, message))

    def journal(
        self,
        operation: str,
        camera: str = "",
        stamp_ns: int = 0,
        request_id: str = "",
        config: PipelineConfig | None = None,
    ) -> None:
        """Add the entry that leads an operation; `config` where the operation sets one."""
        self.put(JournalEvent(self._operations, operation, camera, stamp_ns, request_id, config))
        self._operations += 1

    @property
    def empty(self) -> bool:
        """Is nothing on its way?"""
        return not self._events

    @property
    def began(self) -> bool:
        """Was any operation journalled?"""
        return self._operations > 0
