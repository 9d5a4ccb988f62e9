"""What the light propagator remembers of an object: a seed and the two newest sure looks, never more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from villa.modeling.segmenters.interface import Memory
from villa.modeling.segmenters.light.propagator import Look

# A second recent look at least this much older than the newest shows the object from a while ago.
SPREAD_S = 0.8


@dataclass(eq=False)
class Track(Memory):
    """One object's memory. Tensors have a leading dimension of 1."""

    seed: Look
    recent: list[Look] = field(default_factory=list)

    def add(self, look: Look, limit: int) -> None:
        """Keep `look` as the newest; at most `limit` looks besides the seed stay."""
        if limit < 1:
            return
        spread = len(self.recent) < 2 or abs(_time(self.recent[-1]) - _time(self.recent[-2])) >= SPREAD_S
        if spread:
            self.recent.append(look)
        else:
            self.recent[-1] = look
        del self.recent[:-limit]

    def copy(self, *, reverse: bool = False) -> Track:
        """Looks are never written to, so that sharing them is safe."""
        return Track(self.seed, list(self.recent))

    @property
    def looks(self) -> list[Look]:
        """Oldest first, the seed in front."""
        return [self.seed, *self.recent]

    @property
    def frames(self) -> int:
        """Remembered frames."""
        return len(self.looks)


def batch(tracks: Sequence[Track]) -> list[list[int]]:
    """Indices of tracks that have equally many looks, so that they can be computed together."""
    by_count: dict[int, list[int]] = {}
    for index, track in enumerate(tracks):
        by_count.setdefault(track.frames, []).append(index)
    return list(by_count.values())


def stack(tracks: Sequence[Track]) -> list[Look]:
    """Looks of N tracks with equally many each -> batched looks."""
    return [
        Look(
            space=torch.cat([look.space for look in column]),
            pointer=torch.cat([look.pointer for look in column]),
            prompt=torch.cat([look.prompt for look in column]),
            time_s=torch.tensor([_time(look) for look in column], dtype=torch.float64),
        )
        for column in zip(*(track.looks for track in tracks), strict=True)
    ]


def split(looks: Look, index: int) -> Look:
    """One object's part of a batched look, copied so that it does not keep the batch alive."""
    part = slice(index, index + 1)

    def own(x: Tensor) -> Tensor:
        return x[part].clone()

    time_s = looks.time_s
    if isinstance(time_s, Tensor) and time_s.ndim:
        time_s = time_s[index]
    return Look(own(looks.space), own(looks.pointer), own(looks.prompt), float(time_s))


def _time(look: Look) -> float:
    return float(look.time_s)
