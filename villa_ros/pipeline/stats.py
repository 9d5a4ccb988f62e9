"""Counts and latencies of a worker: what diagnostics and reports are made of."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WINDOW = 256  # latencies kept of each stage
NS_PER_MS = 1e6


@dataclass(frozen=True)
class CameraStats:
    """Frames of one camera. A frame may be kept in the ring and still be dropped for the fast pass."""

    received: int  # offered to the worker
    used: int  # carried through a fast pass
    dropped: Mapping[str, int]  # by reason: duplicate_stamp, replaced, inbox_full, too_large, clock_jump (kept), ...


@dataclass(frozen=True)
class Latency:
    """The last `WINDOW` durations of one stage, in milliseconds; `count` is of all time."""

    count: int
    p50_ms: float
    p95_ms: float
    last_ms: float


@dataclass(frozen=True)
class WorkerStats:
    """One moment's account.

    Stages: fast, slow_step, frame (offered to tracks told), first_mask, answer, and stop_to_end (from a stop while the
    model computed to the end of that step).
    """

    state: str  # "not started" | "idle" | "fast" | "slow" | "closed"
    cameras: Mapping[str, CameraStats]
    latency: Mapping[str, Latency]
    requests: Mapping[str, int]  # ended requests by the name of their final state
    model_errors: int
    sink_errors: int
    internal_errors: int
    last_error: str


class Tally:
    """Collects what `WorkerStats` reports; any thread may count."""

    def __init__(self, cameras: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._received = dict.fromkeys(cameras, 0)
        self._used = dict.fromkeys(self._received, 0)
        self._dropped: dict[str, Counter[str]] = {camera: Counter() for camera in self._received}
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._counted: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._last_error = ""

    def received(self, camera: str) -> None:
        """A frame was offered."""
        with self._lock:
            self._received[camera] += 1

    def used(self, camera: str) -> None:
        """A frame went through a fast pass."""
        with self._lock:
            self._used[camera] += 1

    def dropped(self, camera: str, reason: str) -> None:
        """A frame was left out; frames of cameras that are not configured are counted together."""
        with self._lock:
            self._dropped.setdefault(camera if camera in self._received else "unknown", Counter())[reason] += 1

    def took(self, stage: str, duration_ns: float) -> None:
        """A stage took that long."""
        with self._lock:
            self._recent[stage].append(duration_ns / NS_PER_MS)
            self._counted[stage] += 1

    def ended(self, state: str) -> None:
        """A request reached a final state."""
        with self._lock:
            self._requests[state] += 1

    def failed(self, where: str, message: str) -> int:
        """Something raised in "model", "sink" or "internal"; returns how often it has."""
        with self._lock:
            self._errors[where] += 1
            self._last_error = message
            return self._errors[where]

    def report(self, state: str) -> WorkerStats:
        """The account so far."""
        with self._lock:
            cameras = {
                camera: CameraStats(self._received.get(camera, 0), self._used.get(camera, 0), dict(dropped))
                for camera, dropped in self._dropped.items()
            }
            latency = {
                stage: Latency(self._counted[stage], quantile(recent, 0.5), quantile(recent, 0.95), recent[-1])
                for stage, recent in self._recent.items()
            }
            return WorkerStats(
                state,
                cameras,
                latency,
                dict(self._requests),
                self._errors["model"],
                self._errors["sink"],
                self._errors["internal"],
                self._last_error,
            )


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed; 0 of none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
