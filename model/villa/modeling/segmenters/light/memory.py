"""What the light propagator remembers of an object: a seed and the two newest frames that are sure, never more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from villa.modeling.segmenters.interface import Memory
from villa.modeling.segmenters.light.propagator import MemoryFrame

# A second recent frame at least this much older than the newest shows the object from a while ago.
SPREAD_S = 0.8


@dataclass(eq=False)
class TrackMemory(Memory):
    """One object's memory. Tensors have a leading dimension of 1."""

    seed: MemoryFrame
    recent: list[MemoryFrame] = field(default_factory=list)

    def add(self, frame: MemoryFrame, limit: int) -> None:
        """Keep `frame` as the newest; at most `limit` frames besides the seed stay."""
        if limit < 1:
            return
        spread = len(self.recent) < 2 or abs(_time(self.recent[-1]) - _time(self.recent[-2])) >= SPREAD_S
        if spread:
            self.recent.append(frame)
        else:
            self.recent[-1] = frame
        del self.recent[:-limit]

    def copy(self, *, reverse: bool = False) -> TrackMemory:
        """Memory frames are never written to, so sharing them is safe."""
        return TrackMemory(self.seed, list(self.recent))

    @property
    def remembered(self) -> list[MemoryFrame]:
        """Oldest first, the seed in front."""
        return [self.seed, *self.recent]

    @property
    def frames(self) -> int:
        """Remembered frames."""
        return len(self.remembered)


def batch(tracks: Sequence[TrackMemory]) -> list[list[int]]:
    """Indices of tracks that remember equally many frames, so that they can be computed together."""
    by_count: dict[int, list[int]] = {}
    for index, track in enumerate(tracks):
        by_count.setdefault(track.frames, []).append(index)
    return list(by_count.values())


def stack(tracks: Sequence[TrackMemory]) -> list[MemoryFrame]:
    """Memory frames of N tracks with equally many each -> batched memory frames."""
    return [
        MemoryFrame(
            space=torch.cat([frame.space for frame in column]),
            pointer=torch.cat([frame.pointer for frame in column]),
            prompt=torch.cat([frame.prompt for frame in column]),
            time_s=torch.tensor([_time(frame) for frame in column], dtype=torch.float64),
        )
        for column in zip(*(track.remembered for track in tracks), strict=True)
    ]


def split(frames: MemoryFrame, index: int) -> MemoryFrame:
    """One object's part of a batched memory frame, copied so that it does not keep the batch alive."""
    part = slice(index, index + 1)

    def own(x: Tensor) -> Tensor:
        return x[part].clone()

    time_s = frames.time_s
    if isinstance(time_s, Tensor) and time_s.ndim:
        time_s = time_s[index]
    return MemoryFrame(own(frames.space), own(frames.pointer), own(frames.prompt), float(time_s))


def _time(frame: MemoryFrame) -> float:
    return float(frame.time_s)
