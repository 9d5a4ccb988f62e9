"""What training adds and inference drops: what a thing is, and what happened to it, read off what is known of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.data.language.vocabulary import COLOURS, KINDS
from villa.training.losses import known_entropy

# What can have happened to a thing over the frames that are seen.
LESSONS = ("moved", "fell", "lifted", "pushed", "hidden", "first", "last")
_RARE = 4.0  # most things stand there all the time


class AuxiliaryHeads(nn.Module):
    """Looks of things [N, width] -> losses of "kind" and "colour"; `told`: their states in a scene -> what happened."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kinds = nn.Linear(width, len(KINDS))
        self.colours = nn.Linear(width, len(COLOURS))
        self.happened = nn.Linear(width, len(LESSONS))

    def forward(self, states: Tensor, kinds: Tensor, colours: Tensor) -> dict[str, Tensor]:
        """Kinds are -100 where they are none of KINDS, colours where they are not known or a matter of opinion."""
        states = states.float()
        return {
            "kind": known_entropy(self.kinds(states), kinds),
            "colour": known_entropy(self.colours(states), colours),
        }

    def told(self, states: Tensor, happened: Tensor) -> Tensor:
        """States [N, width] and what happened [N, LESSONS] (1: it did, 0: it did not, -1: not known) -> loss."""
        known = happened >= 0
        logits = self.happened(states.float())[known]
        if not len(logits):
            return states.float().sum() * 0.0
        weight = torch.tensor(_RARE, device=logits.device)
        return F.binary_cross_entropy_with_logits(logits, happened[known].float(), pos_weight=weight)
