"""What training minimises; weights and shapes as docs/model_card.md states them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, h, w] and soft targets [N, h, w] in 0..1 -> (cross-entropy [N], Dice [N]).

    The targets are area-averaged masks, so that a cut at 0 of the resized logits falls on the true edge.
    Foreground pixels weigh more where they are few: table-top targets cover about one percent of the image.
    """
    logits, target = logits.float(), target.float()
    share = target.mean(dim=(1, 2)).clamp(1e-4, 0.5)
    weight = 1 + target * (((1 - share) / share).sqrt().clamp(max=8.0) - 1)[:, None, None]
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="none")
    inside = logits.sigmoid()
    overlap = (inside * target).sum(dim=(1, 2))
    dice = 1 - (2 * overlap + 1) / (inside.sum(dim=(1, 2)) + target.sum(dim=(1, 2)) + 1)
    return entropy.mean(dim=(1, 2)), dice


@torch.no_grad()
def soft_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU [N] of the cut logits [N, h, w] with the cut targets; both empty counts 1."""
    mine, truth = logits > 0, target > 0.5
    union = (mine | truth).sum(dim=(1, 2))
    both = (mine & truth).sum(dim=(1, 2))
    return torch.where(union > 0, both / union.clamp(min=1), torch.ones_like(both, dtype=torch.float32))
