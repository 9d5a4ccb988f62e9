"""Mask decoder in the manner of SAM (arXiv 2304.02643): one prompt token per object, a two-way transformer, and a mask
drawn as the product of a token with upscaled image features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.config import DecoderConfig, EncoderConfig
from villa.modeling.layers import Attention, Mlp, double, grid_positions
from villa.modeling.segmenters.interface import Masks, Pyramid

_MATCHES = 8


class _TwoWayLayer(nn.Module):
    def __init__(self, channels: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.self_attention = Attention(channels, heads)
        self.norm1 = nn.LayerNorm(channels)
        self.to_image = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, mlp, channels)
        self.norm3 = nn.LayerNorm(channels)
        self.to_tokens = Attention(channels, heads)
        self.norm4 = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, image: Tensor, place: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [N, 4, C] and image [N, S, C] update each other; `place` and `code` say which is which."""
        query = tokens + code
        tokens = self.norm1(tokens + self.self_attention(query, query, tokens))
        tokens = self.norm2(tokens + self.to_image(tokens + code, image + place, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.to_tokens(image + place, tokens + code, tokens))
        return tokens, image


class MaskDecoder(nn.Module):
    """Prompt [N, C] on a frame's features -> mask logits, predicted IoU and presence."""

    def __init__(self, encoder: EncoderConfig, config: DecoderConfig) -> None:
        super().__init__()
        channels, fine = encoder.channels, encoder.fine_channels
        self.grid = encoder.grid
        self.outputs = nn.Parameter(torch.randn(3, channels) * 0.02)  # mask, IoU, presence
        self.place = nn.Linear(channels, channels)
        self.match_prompt = nn.Linear(channels, channels)
        self.match_image = nn.Linear(channels, channels)
        self.match16 = nn.Linear(_MATCHES, channels)
        self.match8 = nn.Linear(_MATCHES, channels // 2)
        self.layers = nn.ModuleList(_TwoWayLayer(channels, config.heads, config.mlp) for _ in range(config.layers))
        self.final = Attention(channels, config.heads)
        self.final_norm = nn.LayerNorm(channels)
        half = channels // 2
        self.mix8 = Mlp(half, half, half)
        self.norm8 = nn.LayerNorm(half)
        self.norm4 = nn.LayerNorm(fine)
        self.coarse8 = nn.Linear(channels, half)
        self.lateral8 = nn.Linear(channels, half)
        self.coarse4 = nn.Linear(half, fine)
        self.lateral4 = nn.Linear(fine, fine)
        self.mix4 = nn.Linear(fine, fine)
        self.hyper = Mlp(channels, channels, fine)
        self.iou = Mlp(channels, channels // 2, 1)
        self.present = Mlp(channels + 2 * _MATCHES, channels // 2, 1)
        self.bias = nn.Parameter(torch.tensor(-2.0))

    def forward(self, prompt: Tensor, image: Tensor, pyramid: Pyramid, frame: Tensor) -> Masks:
        """Prompt [N, C], image tokens [N, S, C], features of T frames, and which frame each pair looks at [N]."""
        count, _, channels = image.shape
        place = grid_positions(*self.grid, channels, image.device).to(image.dtype)
        # Position is written into the image itself, not only into the attention's keys: the product that draws the mask
        # can then say where, which tells twins apart.
        image = image + self.place(place)
        match = self._match(prompt, pyramid.s8, frame)
        image = image + self.match16(F.avg_pool2d(match.permute(0, 3, 1, 2), 2).flatten(2).transpose(1, 2))
        tokens = torch.cat((self.outputs.to(image.dtype).expand(count, -1, -1), prompt[:, None]), dim=1)
        code = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, place, code)
        tokens = self.final_norm(tokens + self.final(tokens + code, image + place, image))
        rows, columns = self.grid
        coarse = self.coarse8(image).unflatten(1, (rows, columns))
        # Laterals run once a frame; objects only gather them. Channels are last throughout: a 1x1 convolution is
        # then a matrix product, which a CPU does several times faster.
        at8 = _up(coarse) + self.match8(match) + self.lateral8(pyramid.s8.permute(0, 2, 3, 1))[frame]
        at8 = F.gelu(self.norm8(at8))
        at8 = at8 + self.mix8(at8)
        at4 = F.gelu(self.norm4(_up(self.coarse4(at8)) + self.lateral4(pyramid.s4.permute(0, 2, 3, 1))[frame]))
        at4 = at4 + self.mix4(at4)
        logits = torch.einsum("nhwc,nc->nhw", at4, self.hyper(tokens[:, 0])) + self.bias
        # How well things fit tells the one that was asked for from those that are merely like it: the best cell for
        # each way of fitting, and all ways where it was drawn. A red mug and a green can are no green mug.
        best = match.amax(dim=(1, 2))
        fit = torch.cat((tokens[:, 2], best, drawn_on(logits.detach(), match)), dim=-1)
        return Masks(
            logits=logits,
            iou=self.iou(tokens[:, 1]).squeeze(-1).sigmoid(),
            present=self.present(fit.to(tokens.dtype)).squeeze(-1),
            token=tokens[:, 0],
        )

    def _match(self, prompt: Tensor, features: Tensor, frame: Tensor) -> Tensor:
        """How well each stride-8 cell fits the prompt, in `_MATCHES` ways: [N, H/8, W/8, _MATCHES].

        A plain product of prompt and features. What the words mean is mostly found by it alone; learning it through
        the transformer's attention takes far longer.
        """
        rows, columns = features.shape[-2:]
        channels = prompt.shape[-1]
        place = grid_positions(rows, columns, channels, prompt.device).to(prompt.dtype)
        keys = self.match_image(features.flatten(2).transpose(1, 2).to(prompt.dtype) + place)
        keys = keys.reshape(len(keys), rows * columns, _MATCHES, -1)[frame]
        query = self.match_prompt(prompt).reshape(len(prompt), _MATCHES, -1)
        scores = torch.einsum("nsmc,nmc->nsm", keys, query) * keys.shape[-1] ** -0.5
        return torch.reshape(scores, (len(prompt), rows, columns, _MATCHES))


def drawn_on(logits: Tensor, match: Tensor) -> Tensor:
    """Mean of a map [N, H/8, W/8, M] over a mask [N, H/4, W/4]; where nothing is drawn, the likeliest places count."""
    inside = F.logsigmoid(F.avg_pool2d(logits.float()[:, None], 2)).flatten(1)
    return torch.einsum("ns,nsm->nm", inside.softmax(dim=1), match.flatten(1, 2).float()).to(match.dtype)


def _up(x: Tensor) -> Tensor:
    """[N, h, w, C] -> [N, 2h, 2w, C]."""
    return double(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
