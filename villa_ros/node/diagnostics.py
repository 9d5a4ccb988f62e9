"""What goes into /diagnostics: image rates against the camera's own stamps, bad images, rejected commands."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from villa_ros.runtime.diagnostic_status import ERROR, OK, WARN, Finding
from villa_ros.runtime.model_loading import memory_mb

if TYPE_CHECKING:
    from villa_ros.node.depth_topics import DepthStats
    from villa_ros.pipeline.stats import CameraStats, WorkerStats
    from villa_ros.pipeline.worker import ModelCall


_WINDOW_S = 5.0
_PATIENCE_S = 3.0  # discovery and the first images may take this long
_MIN_STAMPS = 4  # fewer say nothing about a rate
_LONG_CALL_S = 5.0  # a step of the model is made to take a tenth of a second
_LOSS_RATIO = 0.5  # delivered / expected below which images are being lost


def stamped_rate_hz(stamps_ns: Iterable[int]) -> float:
    """The camera's rate as its stamps show it, Hz; 0 when they show none.

    Lost images widen gaps and never narrow them, so the narrow gaps tell the camera's period. Where not one pair of
    neighbours arrived, this is a lower bound.
    """
    ordered = sorted(stamps_ns)
    gaps = sorted(later - earlier for earlier, later in pairwise(ordered) if later > earlier)
    if len(gaps) < _MIN_STAMPS - 1:
        return 0.0
    return 1e9 / gaps[len(gaps) // 10]


@dataclass
class CameraHealth:
    """What came in from one camera. Written and read in the executor's thread only."""

    topic: str
    stamped: bool = True  # by the driver
    received: int = 0
    missed: int = 0  # lost on their way, or pushed out of the queue before they were looked at
    bad: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    last_error: str = ""
    since_s: float | None = None  # when a publisher was first seen
    used: int = 0  # carried through a fast pass
    used_hz: float = 0.0
    dropped: Mapping[str, int] = field(default_factory=dict)  # by the pipeline, by reason
    _arrivals: deque[tuple[float, int]] = field(default_factory=deque)
    _looked_s: float = 0.0

    def arrived(self, now_s: float, stamp_ns: int) -> None:
        """Count one image, good or bad."""
        self.received += 1
        self._arrivals.append((now_s, stamp_ns))
        self._forget(now_s)

    def miss(self, count: int) -> None:
        """Count images that the middleware lost."""
        self.missed += count

    def bad_image(self, reason: str, message: str) -> None:
        """Count an image that cannot be used."""
        self.bad[reason] += 1
        self.last_error = message

    def processed(self, now_s: float, stats: CameraStats) -> None:
        """Take over what the pipeline made of the images since the last time."""
        if self._looked_s and now_s > self._looked_s:
            self.used_hz = max(0, stats.used - self.used) / (now_s - self._looked_s)
        self.used, self.dropped, self._looked_s = stats.used, stats.dropped, now_s

    def _forget(self, now_s: float) -> None:
        while self._arrivals and now_s - self._arrivals[0][0] > _WINDOW_S:
            self._arrivals.popleft()

    def report(
        self, now_s: float, publishers: int, min_rate_hz: float, lost: str, unmatched: Sequence[str] = ()
    ) -> Finding:
        """Judge the last seconds.

        `lost` says what to do where images are lost on their way, `unmatched` why what is published cannot come in.
        """
        self._forget(now_s)
        if not publishers:
            self.since_s = None
        elif self.since_s is None:
            self.since_s = now_s
        watched_s = 0.0 if self.since_s is None else min(now_s - self.since_s, _WINDOW_S)
        rate_hz = len(self._arrivals) / watched_s if watched_s > 0 else 0.0
        expected_hz = stamped_rate_hz(stamp for _, stamp in self._arrivals)
        values: dict[str, object] = {
            "topic": self.topic,
            "publishers": publishers,
            "received": self.received,
            "lost": self.missed,
            "rate_in_hz": rate_hz,
            "rate_by_stamps_hz": expected_hz,
            "used": self.used,
            "rate_used_hz": self.used_hz,
            **{f"dropped/{reason}": count for reason, count in sorted(self.dropped.items())},
            "bad_images": sum(self.bad.values()),
            **{f"bad_images/{reason}": count for reason, count in sorted(self.bad.items())},
            **{f"ignored/{reason}": count for reason, count in sorted(self.ignored.items())},
            "last_bad_image": self.last_error,
        }
        if not publishers:
            return Finding(WARN, f"nothing publishes {self.topic}; start the camera or remap it", values)
        stamps = {stamp for _, stamp in self._arrivals}
        if self.stamped and len(stamps) == 1 and len(self._arrivals) >= _MIN_STAMPS:
            said = f"every image is stamped {stamps.pop() / 1e9:g} s, so they are taken for one"
            hint = "the driver hangs, or does not stamp its images: for such a one set the camera's stamps to arrival"
            return Finding(WARN, f"{said}; {hint}", values)
        if unmatched:
            return Finding(ERROR, "; ".join(unmatched), values)
        if watched_s >= _PATIENCE_S and (not rate_hz or rate_hz < _LOSS_RATIO * expected_hz):
            seen = f"{rate_hz:.1f} Hz arrive"
            if expected_hz > rate_hz:
                seen += f", the stamps show at least {expected_hz:.1f} Hz"
            return Finding(WARN, f"{seen}; {lost}", values)
        if watched_s >= _PATIENCE_S and rate_hz < min_rate_hz:
            hint = "the camera sends no more by its stamps: raise its rate, or lower min_image_rate_hz"
            return Finding(WARN, f"{rate_hz:.1f} Hz arrive, fewer than {min_rate_hz:g}; {hint}", values)
        if self.bad:
            return Finding(WARN, f"{sum(self.bad.values())} bad images so far: {self.last_error}", values)
        return Finding(OK, f"{rate_hz:.1f} Hz", values)


@dataclass
class NodeHealth:
    """What went wrong in the node itself, by the callback it happened in."""

    faults: Counter[str] = field(default_factory=Counter)
    last_error: str = ""

    def failed(self, name: str, error: Exception) -> int:
        """The callback of a topic, service or timer raised; returns how often that one has."""
        name = name.removeprefix("~").lstrip("/")
        self.faults[name] += 1
        self.last_error = f"{name}: {type(error).__name__}: {error}"
        return self.faults[name]

    def report(self, state: str, *, enabled: bool) -> Finding:
        """Judge the node in this lifecycle state."""
        values: dict[str, object] = {
            "state": state,
            "enabled": enabled,
            **{f"errors/{name}": count for name, count in sorted(self.faults.items())},
            "last_error": self.last_error,
        }
        if self.last_error:
            return Finding(ERROR, self.last_error, values)
        return Finding(OK if state == "active" and enabled else WARN, state, values)


@dataclass
class ModelHealth:
    """Which model, where, and what it costs."""

    checkpoint: str = ""
    device: str = ""
    loaded_after_s: float | None = None  # None: not loaded

    def report(self) -> Finding:
        """Is there a model?"""
        loaded = self.loaded_after_s is not None
        values: dict[str, object] = {
            "loaded": loaded,
            "checkpoint": self.checkpoint,
            "device": self.device,
            **({"load_s": self.loaded_after_s} if loaded else {}),
            **{f"memory/{name}_mb": amount for name, amount in memory_mb(self.device if loaded else "").items()},
        }
        return Finding(OK, f"loaded on {self.device}" if loaded else "not loaded", values)


@dataclass
class CommandHealth:
    """What became of the commands; counted by the name of the error."""

    received: int = 0
    missed: int = 0  # lost on their way
    refused: Counter[str] = field(default_factory=Counter)
    last_error: str = ""

    def refuse(self, name: str, message: str) -> None:
        """Count a command that was not carried out, under the error's name."""
        self.refused[name] += 1
        self.last_error = message

    def miss(self, count: int) -> None:
        """Count commands that the middleware lost."""
        self.missed += count

    def report(self) -> Finding:
        """Judge the commands so far."""
        values: dict[str, object] = {
            "received": self.received,
            "lost": self.missed,
            "rejected": sum(self.refused.values()),
            **{f"rejected/{name}": count for name, count in sorted(self.refused.items())},
            "last_rejection": self.last_error,
        }
        if self.missed:
            hint = "publish with a depth of 1000 (villa_ros.runtime.qos.commands), or fewer at a time"
            return Finding(WARN, f"{self.missed} commands were lost on their way: {hint}", values)
        return Finding(OK, f"{self.received} received, {sum(self.refused.values())} rejected", values)


def depth_finding(stats: DepthStats, topic: str) -> Finding:
    """Judge one camera's depth."""
    values: dict[str, object] = {
        "topic": topic,
        "received": stats.received,
        "used": stats.used,
        "calibrated": stats.calibrated,
        "offset_ms": stats.offset_ms,
        **{f"dropped/{reason}": count for reason, count in sorted(stats.dropped.items())},
        "last_error": stats.last_error,
    }
    if stats.last_error:
        return Finding(WARN, stats.last_error, values)
    if not stats.received:
        return Finding(WARN, f"no depth image came on {topic}: start its publisher or check its reliability", values)
    if not stats.calibrated:
        return Finding(WARN, "no camera info came: depth cannot become metres", values)
    if stats.dropped.get("no_depth", 0) and not stats.used:
        return Finding(
            WARN, "no depth image has the stamp of an image: raise depth_slop_s, or synchronise the camera", values
        )
    return Finding(OK, f"{stats.used} frames lifted", values)


def worker_finding(stats: WorkerStats, active: int, topic_errors: int, call: ModelCall | None = None) -> Finding:
    """Judge the worker by its own account; `active` requests have not ended, `call` is what the model is in now."""
    values: dict[str, object] = {"state": stats.state, "requests/active": active}
    values["model_call_s"] = 0.0 if call is None else call.age_s
    for stage, latency in sorted(stats.latency.items()):
        values[f"{stage}/count"] = latency.count
        values[f"{stage}/p50_ms"] = latency.p50_ms
        values[f"{stage}/p95_ms"] = latency.p95_ms
    values |= {f"requests/{name.lower()}": count for name, count in sorted(stats.requests.items())}
    errors = {
        "model": stats.model_errors,
        "sink": stats.sink_errors,
        "internal": stats.internal_errors,
        "derived_topics": topic_errors,
    }
    values |= {f"errors/{where}": count for where, count in errors.items()}
    values["last_error"] = stats.last_error
    if any(errors.values()):
        return Finding(ERROR, stats.last_error or "a derived topic could not be made: the log says why", values)
    if call is not None and call.age_s > _LONG_CALL_S:
        hint = "if it does not come back, model_patience_s decides when it is loaded anew"
        return Finding(WARN, f"the model is in a {call.stage} step since {call.age_s:.0f} s; {hint}", values)
    return Finding(OK, stats.state, values)
