"""A thread that always does the newest of what waits: pictures for others must not hold up the model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")

_CLOSE_TIMEOUT_S = 2.0
_LOG_PERIOD_S = 5.0


class LatestJobThread(Generic[Job]):
    """Room for one job under each key: a newer one replaces an older one that waits.

    What `work` raises is logged, counted in `failures`, and nothing else happens.
    """

    def __init__(self, name: str, work: Callable[[Job], None], logger: Any) -> None:
        self._name = name
        self._work = work
        self._logger = logger
        self._changed = threading.Condition()
        self._waiting: dict[str, Job] = {}
        self._closed = True
        self._thread: threading.Thread | None = None
        self.failures = 0

    def start(self) -> None:
        """Start the thread."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; what waits is let go."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_TIMEOUT_S)
            self._thread = None

    def put(self, key: str, job: Job) -> None:
        """Have this done; any thread may ask. Nothing happens after `close`."""
        with self._changed:
            if not self._closed:
                self._waiting[key] = job
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                job = self._waiting.pop(next(iter(self._waiting)))
            try:
                self._work(job)
            except Exception as error:
                self.failures += 1
                self._logger.warning(
                    f"{self._name}: {type(error).__name__}: {error}", throttle_duration_sec=_LOG_PERIOD_S
                )
