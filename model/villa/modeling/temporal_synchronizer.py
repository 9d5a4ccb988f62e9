"""HierarchicalTemporalSynchronizer (the paper's video-frame decoder): video- and frame-level prompts, made to agree.

p_t = s_v + a * s'_t and p = s_v + a * sum_t softmax(cos(s'_t, s_v)) s'_t; a starts at 0, so untrained both are the
projected [SEG] state itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.modeling.layers import Attention, Mlp


@dataclass(frozen=True)
class Prompts:
    """Prompts of K objects over T frames."""

    video: Tensor  # p [K, C]
    frames: Tensor  # p_t [K, T, C]
    key_scores: Tensor  # [K, T], logits of "this is the key frame"
    # [K, T, N + 1]: which thing of each frame is meant, the last one is none; only where things are told one by one
    scores: Tensor | None = None

    @property
    def present(self) -> Tensor | None:
        """[K, T], logits of "it is visible here", where that is known before anything is drawn."""
        if self.scores is None:
            return None
        scores = self.scores.float()
        return scores[..., :-1].logsumexp(dim=-1) - scores[..., -1]

    @classmethod
    def plain(cls, video: Tensor, frames: int) -> Prompts:
        """Without the synchronizer: each frame is prompted with s_v [K, C] itself."""
        expanded = video[:, None].expand(-1, frames, -1)
        return cls(video, expanded, video.new_zeros(len(video), frames))


class HierarchicalTemporalSynchronizer(nn.Module):
    """Local: the objects of a frame see each other and the frame; global: an object's frames see each other."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.local_norm = nn.LayerNorm(channels)
        self.local_self = Attention(channels, heads)
        self.image_norm = nn.LayerNorm(channels)
        self.local_image = Attention(channels, heads)
        self.global_norm = nn.LayerNorm(channels)
        self.global_self = Attention(channels, heads)
        self.mix_norm = nn.LayerNorm(channels)
        self.mix = Mlp(channels, 2 * channels, channels)
        self.out_norm = nn.LayerNorm(channels)
        self.key = nn.Linear(channels, 1)
        nn.init.zeros_(self.key.weight)  # untrained, no frame is better than another
        nn.init.zeros_(self.key.bias)
        self.amount = nn.Parameter(torch.zeros(1))

    def forward(self, video: Tensor, frames: Tensor, image: Tensor, groups: Tensor | None = None) -> Prompts:
        """s_v [K, C], s_f [K, T, C], image tokens [T, S, C] -> prompts.

        `groups` [K] keeps the objects of different requests apart when several are trained at once.
        """
        count, length, _ = frames.shape
        x = frames.transpose(0, 1)  # [T, K, C]
        mask = None if groups is None else (groups[:, None] == groups[None, :])[None, None]
        y = self.local_norm(x)
        x = x + self.local_self(y, y, y, mask)
        x = x + self.local_image(self.image_norm(x), image, image)
        z = torch.cat((video[:, None], x.transpose(0, 1)), dim=1)  # [K, 1 + T, C]
        y = self.global_norm(z)
        z = z + self.global_self(y, y, y)
        z = z + self.mix(self.mix_norm(z))
        synced = self.out_norm(z[:, 1:])
        agreement = F.cosine_similarity(synced, video[:, None], dim=-1).softmax(dim=-1)
        pooled = (agreement[..., None] * synced).sum(dim=1)
        return Prompts(
            video=video + self.amount * pooled,
            frames=video[:, None] + self.amount * synced,
            key_scores=self.key(synced).reshape(count, length),
        )
