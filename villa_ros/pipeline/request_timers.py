"""When requests run out of time, and when they are to be looked for again."""

from __future__ import annotations

import threading


class RequestTimers:
    """Any thread sets and forgets; the worker's thread asks what is due. The lock is never held while calling out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: dict[str, tuple[int, bool]] = {}  # when, and only while it waits for a first frame
        self._looks: dict[str, int] = {}  # when a request that tracks is answered anew

    def __len__(self) -> int:
        """How many requests have a deadline."""
        with self._lock:
            return len(self._deadlines)

    def set_deadline(self, request_id: str, when_ns: int, *, only_starved: bool) -> None:
        """This request's time is over then; `only_starved`: if it still waits for a first frame."""
        with self._lock:
            self._deadlines[request_id] = (when_ns, only_starved)

    def plan_look(self, request_id: str, when_ns: int | None) -> None:
        """Look for what this request means again then; None: never."""
        with self._lock:
            if when_ns is None:
                self._looks.pop(request_id, None)
            else:
                self._looks[request_id] = when_ns

    def forget(self, request_id: str) -> None:
        """The request has ended."""
        with self._lock:
            self._deadlines.pop(request_id, None)
            self._looks.pop(request_id, None)

    def take_expired(self, now_ns: int) -> list[tuple[str, bool]]:
        """Requests whose time is over, each told once, and whether only a starved one is meant."""
        with self._lock:
            due = [
                (name, only_starved) for name, (when_ns, only_starved) in self._deadlines.items() if when_ns <= now_ns
            ]
            for name, _ in due:
                del self._deadlines[name]
            return due

    def due_looks(self, now_ns: int) -> list[str]:
        """Requests that are to be looked for again by now; they stay due until planned anew or forgotten."""
        with self._lock:
            return [name for name, when_ns in self._looks.items() if when_ns <= now_ns]

    @property
    def next_due_ns(self) -> int | None:
        """When something is due, if nothing happens before; None: never."""
        with self._lock:
            return min([*(when_ns for when_ns, _ in self._deadlines.values()), *self._looks.values()], default=None)
