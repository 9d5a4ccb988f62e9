"""Doing again what a journal says: the way from a recorded run to the same events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from villa_ros.pipeline.engine import Engine
    from villa_ros.pipeline.events import JournalEvent
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.request import Request


class JournalError(ValueError):
    """A journal entry names an operation that does not exist."""


def repeat(
    engine: Engine,
    entry: JournalEvent,
    frame: Callable[[str, int], Frame],
    request: Callable[[str], Request],
) -> None:
    """Do one entry on `engine`; entries belong in the order of their index, into a fresh engine.

    `frame(camera, stamp_ns)` and `request(request_id)` give what an ingest and a submit were about. The new run's
    ids equal the recorded ones when the engine has the same nonce; otherwise they correspond one to one.

    Raises:
        JournalError: the entry's operation is not known.
    """
    if entry.op == "ingest":
        engine.ingest(frame(entry.camera, entry.stamp_ns))
    elif entry.op == "jump":
        engine.jump(entry.camera, entry.stamp_ns)
    elif entry.op == "stall":
        engine.stall(entry.camera, entry.stamp_ns)
    elif entry.op == "configure" and entry.config is not None:
        engine.configure(entry.config)
    elif entry.op == "again":
        engine.look_again(entry.request_id)
    elif entry.op == "submit":
        engine.submit(request(entry.request_id))
    elif entry.op == "stop":
        engine.stop(entry.request_id)
    elif entry.op == "expire":
        engine.expire(entry.request_id, entry.stamp_ns)
    elif entry.op == "give_up":
        engine.give_up(entry.stamp_ns)
    elif entry.op == "reset":
        engine.reset()
    elif entry.op == "fast":
        engine.fast(entry.camera, entry.stamp_ns)
    elif entry.op == "slow":
        engine.slow()
    else:
        raise JournalError(
            f"journal entry {entry.index} has operation {entry.op!r}, wanted ingest, jump, stall, submit, stop, "
            "expire, give_up, reset, configure, again, fast or slow: record the run again with this version"
        )
