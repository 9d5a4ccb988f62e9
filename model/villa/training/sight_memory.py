"""What frozen networks have said of things so far: looking costs a hundred times as much as learning from a look."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from villa.data.language.vocabulary import KINDS
from villa.modeling.objects.detector import Heard, Sight

# Of what is drawn: nothing shall lean on one of them alone.
_DEAF = {"told": 0.2, "close": 0.1}
# Of the numbers that they say: few things of a kind were ever seen, and those are soon learnt by heart.
_DROPPED = 0.3


class SightMemory:
    """The newest `most` things, 4 kB each, in half precision."""

    def __init__(self, most: int = 30_000) -> None:
        self.most = most
        self.count = 0  # things that were ever kept
        self._kept: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return min(self.count, self.most)

    def add(self, sight: Sight, kinds: Tensor, colours: Tensor) -> None:
        """Keep what there is to see of N things; kinds [N] and colours [N] as in a `Batch`.

        What has neither is left out.
        """
        values: dict[str, Tensor] = {"look": sight.look.half(), "kinds": kinds, "colours": colours}
        for name, heard in (("told", sight.told), ("close", sight.close)):
            values[f"{name}_of"] = heard.of
            if len(heard.said):
                said = heard.said.new_zeros(len(heard.of), heard.said.shape[1], dtype=torch.float16)
                said[heard.of] = heard.said.half()
                values[name] = said
        known = (kinds >= 0) | (colours >= 0)
        new = int(known.sum())
        rows = (torch.arange(new) + self.count) % self.most
        for name, value in values.items():
            if name not in self._kept:
                self._kept[name] = value.new_zeros(self.most, *value.shape[1:])
            self._kept[name][rows] = value[known]
        self.count += new

    def draw(self, count: int) -> tuple[Sight, Tensor, Tensor]:
        """Some of it with kinds and colours, what is rare more often than it was seen."""
        kinds = self._kept["kinds"][: len(self)]
        often = torch.bincount(kinds.clamp(min=0), minlength=len(KINDS)).float()
        rows = torch.multinomial(often[kinds.clamp(min=0)] ** -0.5, count, replacement=True)
        look = self._kept["look"][rows].float()
        told, close = (self._heard(name, rows) for name in ("told", "close"))
        return Sight(look, told, close), kinds[rows], self._kept["colours"][rows]

    def _heard(self, name: str, rows: Tensor) -> Heard:
        of = self._kept[f"{name}_of"][rows] & (torch.rand(len(rows), device=rows.device) >= _DEAF[name])
        kept = self._kept.get(name)
        if kept is None:
            return Heard(self._kept["look"][:0].float(), of)
        return Heard(F.dropout(kept[rows[of]].float(), _DROPPED), of)
