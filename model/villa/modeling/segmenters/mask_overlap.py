"""Masks of different things do not lie over each other: each cell is whose it fits best.

A decoder draws one prompt at a time, and where two things touch it draws a little of the other one too. What the other
one says of the same cells tells which of them it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SAME_IOU = 0.7  # two masks that overlap more are one thing, found twice


def apart(logits: Tensor, others: Tensor) -> Tensor:
    """Mask logits [K, h, w] and those of what else is on the same frame [M, h, w] -> logits [K, h, w].

    Less by what the strongest other one says, where that is inside: both end where the two are equal. `others` may hold
    the K themselves.
    """
    if not logits.numel() or not others.numel():
        return logits
    mine, theirs = logits > 0, others > 0
    both = torch.einsum("khw,mhw->km", mine.float(), theirs.float())
    either = mine.sum(dim=(1, 2))[:, None] + theirs.sum(dim=(1, 2))[None] - both
    same = both > _SAME_IOU * either
    rivals = torch.where(same[..., None, None], 0.0, others)
    return logits - rivals.amax(dim=1).clamp(min=0)
