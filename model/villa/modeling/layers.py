"""Attention and small networks shared by the blocks."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The range of a time code: what is older than a minute is all alike.
TIME_LONGEST_S, TIME_SHORTEST_S = 64.0, 0.2


class Attention(nn.Module):
    """Multi-head attention of queries [N, L, C] over keys and values [N, S, K]."""

    def __init__(self, channels: int, heads: int, key_channels: int | None = None) -> None:
        super().__init__()
        key_channels = channels if key_channels is None else key_channels
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(key_channels, channels)
        self.value = nn.Linear(key_channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """`mask` (bool, True may be attended to) and `bias` (added to scores) broadcast to [N, heads, L, S]."""

        def split(x: Tensor) -> Tensor:
            return x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads).transpose(1, 2)

        q, k, v = split(self.query(query)), split(self.key(key)), split(self.value(value))
        if mask is None and bias is None and not torch.is_grad_enabled():
            # Scores that are never written to memory: an object's memories are read four times as fast on a CPU.
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            # Written out: on a CPU, the fused kernel's backward pass takes five times as long at these sizes.
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            if bias is not None:
                scores = scores + bias
            if mask is not None:
                scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
            y = scores.softmax(dim=-1).to(v.dtype) @ v
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Linear-ReLU-...-Linear."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """[..., widths[0]] -> [..., widths[-1]]."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]


def sinusoid(values: Tensor, channels: int, longest: float, shortest: float) -> Tensor:
    """Values [...] -> sines and cosines [..., channels], periods from `shortest` to `longest` in the values' unit."""
    half = channels // 2
    steps = torch.arange(half, device=values.device, dtype=torch.float32) / max(half - 1, 1)
    periods = shortest * (longest / shortest) ** steps
    angles = values.to(torch.float32).unsqueeze(-1) * (2 * math.pi / periods)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def point_positions(points: Tensor, channels: int) -> Tensor:
    """Points [..., 2], x and y in fractions of the image -> position code [..., channels]."""
    code = sinusoid(points.flip(-1), channels // 2, 2.0, 0.1)
    return code.flatten(-2)


def grid_positions(rows: int, columns: int, channels: int, device: torch.device | None = None) -> Tensor:
    """Position code [rows * columns, channels] of the middles of a grid's cells."""
    y = (torch.arange(rows, device=device) + 0.5) / rows
    x = (torch.arange(columns, device=device) + 0.5) / columns
    points = torch.stack((x.expand(rows, -1), y[:, None].expand(-1, columns)), dim=-1)
    return point_positions(points.reshape(-1, 2), channels)


def double(x: Tensor) -> Tensor:
    """Features [N, C, h, w] -> [N, C, 2h, 2w], bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
