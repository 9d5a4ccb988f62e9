"""How long a replay took for each frame. Needs no Rerun."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from villa_ros.replay.bag_replay import Progress, quietly

if TYPE_CHECKING:
    from villa_ros.pipeline.frame import Frame


class FrameTimes:
    """A progress that also notes how long the pipeline took for each frame, s by stamp; slow passes count too."""

    def __init__(self, inner: Progress = quietly) -> None:
        self.seconds: dict[int, float] = {}
        self._inner = inner

    def __call__(self, frames: Iterable[Frame], count: int, doing: str) -> Iterable[Frame]:
        """The same frames; those of the first call are timed, as a replay draws in its second."""
        return self._inner(frames if self.seconds else self._timed(frames), count, doing)

    def _timed(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        began_s = time.perf_counter()
        for frame in frames:
            self.seconds[frame.header.stamp_ns] = time.perf_counter() - began_s
            yield frame
            began_s = time.perf_counter()
