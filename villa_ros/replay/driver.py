"""Drives an Engine through frames and requests without a clock: every frame, each request when it is due.

The live worker drops frames when the model is slower than the camera; here nothing is dropped, and a slow
pass runs to its end between two frames. The same frames and requests therefore always give the same events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from villa_ros.pipeline.engine import Engine
    from villa_ros.pipeline.frame import Frame
    from villa_ros.pipeline.request import Request


def drive(
    engine: Engine,
    frames: Iterable[Frame],
    requests: Sequence[Request],
    told: Callable[[Request], None] = lambda request: None,
    took: Callable[[Frame, float], None] = lambda frame, seconds: None,
) -> Iterator[Frame]:
    """Run `engine` over `frames` (stamp order), yielding each one when everything about it has been done.

    A request is due at the first frame whose stamp is not before its own: after that frame came in, and
    before the fast pass on it. Requests later than the last frame are given after it; timeouts run on the
    frames' stamps. `told` hears of each request just before the engine does, `took` how long each fast pass took.
    """
    waiting = sorted(requests, key=lambda request: request.stamp_ns)
    deadlines: dict[str, int] = {}
    for frame in frames:
        now_ns = frame.header.time_ns
        engine.ingest(frame)
        for request_id in [name for name, end_ns in deadlines.items() if end_ns <= now_ns]:
            engine.expire(request_id)
            del deadlines[request_id]
        while waiting and waiting[0].stamp_ns <= now_ns:
            request = engine.completed(waiting.pop(0))
            told(request)
            request_id = engine.submit(request)
            if request.timeout_s > 0:
                deadlines[request_id] = now_ns + round(request.timeout_s * 1e9)
        if engine.tracking:
            began_s = time.perf_counter()
            if engine.fast(frame.camera, now_ns):
                took(frame, time.perf_counter() - began_s)
        think(engine)
        yield frame
    for request in map(engine.completed, waiting):
        told(request)
        engine.submit(request)
        think(engine)


def think(engine: Engine) -> None:
    """Run the slow passes that are due to their ends."""
    while engine.slow():
        pass
