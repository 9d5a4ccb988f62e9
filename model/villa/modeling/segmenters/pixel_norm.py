"""Pixels as a pretrained image encoder was taught to expect them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelNorm(nn.Module):
    """Values 0..255 [N, 3, h, w] -> zero mean and unit deviation; nothing that a checkpoint holds."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Mean and deviation of each channel, of values in 0..1."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Normalise."""
        return (values / 255 - self.mean) / self.std
