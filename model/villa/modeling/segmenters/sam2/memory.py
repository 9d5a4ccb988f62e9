"""What SAM 2 remembers of an object: its seeds, the newest spatial memories and the newest pointers, never more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from villa.modeling.segmenters.interface import Memory


@dataclass(frozen=True)
class Sam2MemoryFrame:
    """One object on one remembered frame."""

    index: int  # the frame's place in the stream
    space: Tensor | None  # [S, 1, M]; None: only the pointer is still of use
    pointer: Tensor  # [1, C]


@dataclass(eq=False)
class Sam2Memory(Memory):
    """One object's memory bank. `reverse`: its frames are visited newest first."""

    seeds: list[Sam2MemoryFrame]  # conditioning frames, oldest first
    recent: list[Sam2MemoryFrame] = field(default_factory=list)  # in the order of visiting
    reverse: bool = False

    def copy(self, *, reverse: bool = False) -> Sam2Memory:
        """Looks are never written to, so that sharing them is safe."""
        return Sam2Memory(list(self.seeds), list(self.recent), reverse)

    @property
    def frames(self) -> int:
        """Remembered frames, those of pointers among them."""
        return len(self.seeds) + len(self.recent)

    def age(self, frame: Sam2MemoryFrame, now: int) -> int:
        """How many frames ago in the order of visiting; negative for what is still to come."""
        return (frame.index - now) if self.reverse else (now - frame.index)

    def spatial(self, now: int, memories: int) -> list[tuple[int, Sam2MemoryFrame]]:
        """(offset, look) of what the image reads at frame `now`: seeds at 0, then the last ones, oldest first."""
        aged = [(self.age(frame, now), frame) for frame in self.recent]
        near = [(age, frame) for age, frame in aged if 0 < age < memories and frame.space is not None]
        return [(0, seed) for seed in self.seeds] + sorted(near, key=lambda item: -item[0])

    def pointers(self, now: int, most: int) -> list[tuple[int, Sam2MemoryFrame]]:
        """(age, look) of the pointers that are read at frame `now`: of the seeds so far, then the newest ones."""
        of_seeds = [(self.age(seed, now), seed) for seed in self.seeds]
        aged = [(self.age(frame, now), frame) for frame in self.recent]
        near = sorted((item for item in aged if 0 < item[0] < most), key=lambda item: item[0])
        return [item for item in of_seeds if item[0] >= 0] + near

    def add(self, frame: Sam2MemoryFrame, memories: int, pointers: int) -> None:
        """Remember a frame and let go of what no later frame will read."""
        now = frame.index
        kept = []
        for old in self.recent:
            age = self.age(old, now)
            if old.index == now or age + 1 >= max(memories, pointers):
                continue
            # From here on its spatial memory is too old to be read.
            kept.append(replace(old, space=None) if age + 1 >= memories else old)
        self.recent = [*kept, frame]


def grouped(memories: Sequence[Sam2Memory], now: int, spatial: int, pointers: int) -> list[list[int]]:
    """Indices of memories that read equally many looks at frame `now`, so that they can be computed together."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, memory in enumerate(memories):
        key = (len(memory.spatial(now, spatial)), len(memory.pointers(now, pointers)))
        groups.setdefault(key, []).append(index)
    return list(groups.values())
