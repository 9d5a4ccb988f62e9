"""What training minimises; weights and shapes as docs/model_card.md states them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_AROUND = 4  # cells, of a quarter of the input's pixels
_FAR = 2.0


def mask_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, h, w] and soft targets [N, h, w] in 0..1 -> (cross-entropy [N], Dice [N]).

    The targets are area-averaged masks, so that a cut at 0 of the resized logits falls on the true edge.
    Foreground pixels weigh more where they are few: table-top targets cover about one percent of the image.
    """
    logits, target = logits.float(), target.float()
    share = target.mean(dim=(1, 2)).clamp(1e-4, 0.5)
    weight = 1 + target * (((1 - share) / share).sqrt().clamp(max=8.0) - 1)[:, None, None]
    entropy = F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="none")
    return entropy.mean(dim=(1, 2)), dice_loss(logits, target)


def known_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean cross-entropy of logits [N, K] and the indices [N] that are known; the others are negative."""
    known = wanted >= 0
    if not bool(known.any()):
        return logits.sum() * 0.0
    return F.cross_entropy(logits[known], wanted[known])


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Logits [N, h, w] and soft targets [N, h, w] -> 1 - Dice [N]."""
    inside, target = logits.float().sigmoid(), target.float()
    overlap = (inside * target).sum(dim=(1, 2))
    return 1 - (2 * overlap + 1) / (inside.sum(dim=(1, 2)) + target.sum(dim=(1, 2)) + 1)


def edge_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Logits [N, h, w] and soft targets [N, h, w] -> cross-entropy [N], in and around the object alone.

    Inside and outside weigh the same: weights of few pixels, as `mask_losses` has them, push the edge outwards. Small
    objects count as much as large ones, each by the mean over its own surroundings.
    """
    logits, target = logits.float(), target.float()
    near = surroundings(target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # What is far away counts a little: nothing else would keep it empty.
    return (entropy * near).sum(dim=(1, 2)) + _FAR * entropy.mean(dim=(1, 2))


def owner_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Logits and soft targets [K, T, h, w] of K objects on T frames -> mean cross-entropy over whose each cell is.

    A cell is an object's or nobody's (logit 0): two masks over one cell are an error of at least one of them.
    """
    logits, target = logits.float(), target.float()
    nobody = torch.zeros_like(logits[:1])
    chances = torch.cat((logits, nobody)).log_softmax(dim=0)
    whose = torch.cat((target, (1 - target.sum(dim=0, keepdim=True)).clamp(min=0)))
    entropy = -(whose * chances).sum(dim=0)
    seen = target.sum(dim=(2, 3)) > 0.5
    if not bool(seen.any()):
        return entropy.sum() * 0.0
    near = surroundings(target.flatten(0, 1)).reshape(target.shape)
    return (entropy * near).sum(dim=(2, 3))[seen].mean()


def surroundings(target: Tensor) -> Tensor:
    """Masks [N, h, w] -> weights [N, h, w] that sum to 1, even over each and `_AROUND` cells around it; 0: empty."""
    side = 2 * _AROUND + 1
    near = (F.max_pool2d(target[:, None], side, 1, _AROUND)[:, 0] > 0.5).float()
    return near / near.sum(dim=(1, 2), keepdim=True).clamp(min=1)


@torch.no_grad()
def soft_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU [N] of the cut logits [N, h, w] with the cut targets; both empty counts 1."""
    mine, truth = logits > 0, target > 0.5
    union = (mine | truth).sum(dim=(1, 2))
    both = (mine & truth).sum(dim=(1, 2))
    return torch.where(union > 0, both / union.clamp(min=1), torch.ones_like(both, dtype=torch.float32))
