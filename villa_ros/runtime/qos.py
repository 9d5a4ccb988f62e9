"""Quality of service of every topic. Made anew at each call: rclpy writes overrides into them."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

COMMANDS = 1000  # that wait to be looked at


def overridable() -> QoSOverridingOptions:
    """Let parameters `qos_overrides.<topic>.<publisher|subscription>.<history|depth|reliability>` decide."""
    return QoSOverridingOptions.with_default_policies()


def _keep_last(depth: int, reliability: ReliabilityPolicy) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=DurabilityPolicy.VOLATILE,
    )


def images() -> QoSProfile:
    """The sensor-data profile (REP-2003): a late image is worth nothing."""
    return _keep_last(5, ReliabilityPolicy.BEST_EFFORT)


def tracks(reliable: bool) -> QoSProfile:
    """Tracks and the topics derived from them: only the newest counts, unless a recorder wants them all."""
    if reliable:
        return _keep_last(10, ReliabilityPolicy.RELIABLE)
    return _keep_last(1, ReliabilityPolicy.BEST_EFFORT)


def results() -> QoSProfile:
    """Answers, states and tracklets: each one counts, also when a burst of commands has as many states."""
    return _keep_last(100, ReliabilityPolicy.RELIABLE)


def commands() -> QoSProfile:
    """Volatile, so that a restarted node never carries out an old command; for both ends.

    Deep, as keep-last drops the oldest unread one without a word: of 10, a stop with ten commands behind it.
    """
    return _keep_last(COMMANDS, ReliabilityPolicy.RELIABLE)


def services() -> QoSProfile:
    """Deep as commands are: of goals or calls that come at once, each one is answered; for both ends."""
    return _keep_last(COMMANDS, ReliabilityPolicy.RELIABLE)


def journal() -> QoSProfile:
    """One line for each step of the worker; a gap would make it worthless."""
    return _keep_last(1000, ReliabilityPolicy.RELIABLE)


def diagnostics() -> QoSProfile:
    """As diagnostic_updater publishes."""
    return _keep_last(10, ReliabilityPolicy.RELIABLE)
