"""What a session remembers of its tracks: a seed and the two newest sure looks each, never more."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from villa.propagator import Memory

# A second recent memory at least this much older than the newest shows the object from a while ago.
SPREAD_S = 0.8


@dataclass
class Track:
    """One object's memory. Tensors have a leading dimension of 1."""

    key: int
    seed: Memory
    recent: list[Memory] = field(default_factory=list)

    def add(self, memory: Memory, limit: int) -> None:
        """Keep `memory` as the newest; at most `limit` memories besides the seed stay."""
        if limit < 1:
            return
        spread = len(self.recent) < 2 or abs(_time(self.recent[-1]) - _time(self.recent[-2])) >= SPREAD_S
        if spread:
            self.recent.append(memory)
        else:
            self.recent[-1] = memory
        del self.recent[:-limit]

    @property
    def memories(self) -> list[Memory]:
        """Oldest first, the seed in front."""
        return [self.seed, *self.recent]


def batch(tracks: list[Track]) -> list[list[int]]:
    """Indices of tracks that have equally many memories, so that they can be computed together."""
    by_count: dict[int, list[int]] = {}
    for index, track in enumerate(tracks):
        by_count.setdefault(len(track.memories), []).append(index)
    return list(by_count.values())


def stack(tracks: list[Track]) -> list[Memory]:
    """Memories of N tracks with equally many each -> batched memories."""
    return [
        Memory(
            space=torch.cat([m.space for m in column]),
            pointer=torch.cat([m.pointer for m in column]),
            prompt=torch.cat([m.prompt for m in column]),
            time_s=torch.tensor([_time(m) for m in column], dtype=torch.float64),
        )
        for column in zip(*(track.memories for track in tracks), strict=True)
    ]


def split(memory: Memory, index: int) -> Memory:
    """One object's part of a memory made at one time, copied so that it does not keep the batch alive."""
    part = slice(index, index + 1)

    def own(x: Tensor) -> Tensor:
        return x[part].clone()

    return Memory(own(memory.space), own(memory.pointer), own(memory.prompt), _time(memory))


def _time(memory: Memory) -> float:
    return float(memory.time_s)
