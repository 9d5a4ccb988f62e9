"""The life of a request as data: which state may follow which."""

from __future__ import annotations

from villa_ros.pipeline.request import RequestState as S

_ENDED_FROM_OUTSIDE = frozenset({S.CANCELED, S.SUPERSEDED, S.FAILED})

# UNKNOWN stands for "not heard of yet".
TRANSITIONS: dict[S, frozenset[S]] = {
    S.UNKNOWN: frozenset({S.QUEUED, S.REJECTED}),
    S.QUEUED: frozenset({S.BUFFERING, S.SUCCEEDED}) | _ENDED_FROM_OUTSIDE,
    S.BUFFERING: frozenset({S.DECODING}) | _ENDED_FROM_OUTSIDE,
    S.DECODING: frozenset({S.SEGMENTING, S.NO_TARGET}) | _ENDED_FROM_OUTSIDE,
    S.SEGMENTING: frozenset({S.TRACKING, S.SUCCEEDED, S.NO_TARGET}) | _ENDED_FROM_OUTSIDE,
    S.TRACKING: frozenset({S.SUCCEEDED}) | _ENDED_FROM_OUTSIDE,
    S.SUCCEEDED: frozenset(),
    S.NO_TARGET: frozenset(),
    S.REJECTED: frozenset(),
    S.CANCELED: frozenset(),
    S.SUPERSEDED: frozenset(),
    S.FAILED: frozenset(),
}

_STAGES = (S.QUEUED, S.BUFFERING, S.DECODING, S.SEGMENTING, S.TRACKING)


class StateError(RuntimeError):
    """A request was about to take a step that the table does not allow."""


def check(before: S, after: S) -> None:
    """Raise StateError unless `after` may follow `before`."""
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(state.name for state in sorted(TRANSITIONS[before])) or "nothing"
        raise StateError(f"{before.name} cannot be followed by {after.name}; allowed: {allowed}")


def stages_up_to(before: S, target: S) -> tuple[S, ...]:
    """The stages to pass through from `before` to reach `target`, in order; none when it is reached already.

    A model may skip a stage in what it reports; whoever listens still sees each one once.
    """
    return tuple(stage for stage in _STAGES if before < stage <= target)
