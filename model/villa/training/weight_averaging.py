"""The mean of two checkpoints of one line: what was learnt last, without much of what was unlearnt for it.

Weights that were trained on from others lie in one valley with them, and between the two a model is often better at
what either is good at (weight interpolation, arXiv 2109.01903). It costs no training, and nothing when the model runs.
"""

from __future__ import annotations

import torch

from villa.modeling.villa import ViLLaModel


class AverageError(ValueError):
    """These two have no mean."""


@torch.no_grad()
def average(before: ViLLaModel, after: ViLLaModel, share: float) -> ViLLaModel:
    """`after`, changed in place to (1 - share) of the weights before and `share` of its own.

    Parts that `before` lacks stay as they are.

    Raises:
        AverageError: the share is not between 0 and 1, or the two have no parts of one shape.
    """
    if not 0.0 < share < 1.0:
        raise AverageError(f"share {share}: wanted more than 0 and less than 1, of the weights after")
    known = before.state_dict()
    shared = 0
    for name, tensor in after.state_dict().items():
        other = known.get(name)
        if other is not None and other.shape == tensor.shape and tensor.is_floating_point():
            tensor.copy_((1 - share) * other.float() + share * tensor.float())
            shared += 1
    if not shared:
        raise AverageError("the two checkpoints have no parts of one shape: wanted two of one line of training")
    return after
