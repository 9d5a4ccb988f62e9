"""The light streaming propagator: each object's mask goes on from frame to frame through a small bounded memory.

A memory of an object is the frame's features with the mask written in, and the object's token. On a new frame the
image tokens attend to the object's memories, then the mask decoder draws. Memory in the manner of SAM 2
(arXiv 2408.00714), with one attention layer and at most three memories: the seed, and the two newest that are sure.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.config import EncoderConfig, PropagatorConfig
from villa.modeling.layers import Attention, Mlp, grid_positions, sinusoid


@dataclass(frozen=True)
class MemoryFrame:
    """One remembered frame of N objects."""

    space: Tensor  # [N, S, M]
    pointer: Tensor  # [N, C]
    prompt: Tensor  # [N, C] what the object was asked for as
    time_s: float | Tensor  # stamp in seconds (a tensor [N] where objects differ)


class MemoryEncoder(nn.Module):
    """Image tokens [N, S, C] and mask logits [N, H/4, W/4] -> spatial memory [N, S, M]."""

    def __init__(self, encoder: EncoderConfig, config: PropagatorConfig) -> None:
        super().__init__()
        channels, memory = encoder.channels, config.memory_channels
        self.grid = encoder.grid
        self.mask = nn.Conv2d(1, memory, 4, stride=4)
        self.image = nn.Linear(channels, memory)
        self.mix = nn.Conv2d(memory, memory, 3, padding=1)
        self.norm = nn.LayerNorm(memory)

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        """Image tokens [N, S, C], mask logits [N, H/4, W/4] -> [N, S, M]."""
        mask = (logits.clamp(-10, 10).sigmoid() * 2 - 1).to(image.dtype)
        written = self.mask(mask[:, None])  # [N, M, rows, columns]
        seen = self.image(image).transpose(1, 2).reshape(written.shape)
        x = F.gelu(written + seen)
        x = x + self.mix(x)
        return self.norm(x.flatten(2).transpose(1, 2))  # type: ignore[no-any-return]


class MemoryAttention(nn.Module):
    """Image tokens of a new frame read an object's memories."""

    def __init__(self, encoder: EncoderConfig, config: PropagatorConfig) -> None:
        super().__init__()
        channels, memory = encoder.channels, config.memory_channels
        self.grid = encoder.grid
        self.memory_channels = memory
        self.norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, config.heads, memory)
        self.pointer = nn.Linear(channels, memory)
        self.still = nn.Linear(memory, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 2 * channels, channels)

    def forward(self, image: Tensor, memories: list[MemoryFrame], now_s: float | Tensor) -> Tensor:
        """Image tokens [N, S, C] -> tokens [N, S, C] conditioned on each object's memories."""
        place = grid_positions(*self.grid, image.shape[-1], image.device).to(image.dtype)
        memory_place = grid_positions(*self.grid, self.memory_channels, image.device).to(image.dtype)
        keys, values = [], []
        for memory in memories:
            ages = torch.as_tensor(now_s, dtype=torch.float32, device=image.device) - torch.as_tensor(
                memory.time_s, dtype=torch.float32, device=image.device
            )
            age = sinusoid(ages.reshape(-1).abs(), self.memory_channels, 60.0, 0.2).to(image.dtype)[:, None]
            pointer = self.pointer(memory.pointer)[:, None]
            keys += [memory.space + memory_place + age, pointer + age]
            values += [memory.space, pointer]
        x = self.norm(image)
        # Most things are nearly where they were: the newest memory is also read in place.
        image = image + self.still(memories[-1].space)
        image = image + self.attention(x + place, torch.cat(keys, dim=1), torch.cat(values, dim=1))
        return image + self.mlp(self.mlp_norm(image))  # type: ignore[no-any-return]


class Propagator(nn.Module):
    """Memory encoder and memory attention; the mask decoder is the model's own."""

    def __init__(self, encoder: EncoderConfig, config: PropagatorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = MemoryEncoder(encoder, config)
        self.attention = MemoryAttention(encoder, config)
        # Says to the decoder: this prompt comes from memory, not straight from the words.
        self.tracked = nn.Linear(2 * encoder.channels, encoder.channels)

    def prompt(self, memories: list[MemoryFrame]) -> Tensor:
        """The decoder's prompt [N, C] on a tracked frame: what was asked for and how it last looked."""
        return self.tracked(torch.cat((memories[0].prompt, memories[-1].pointer), dim=-1))  # type: ignore[no-any-return]
