"""The language model: a Llama (transformers) that reads visual tokens and words and writes words and `[SEG]`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaModel

from villa.config import EncoderConfig, LanguageConfig
from villa.encoder import Pyramid
from villa.layers import grid_positions, sinusoid

_BACKBONE_CHANNELS = 320
TIME_LONGEST_S, TIME_SHORTEST_S = 64.0, 0.2


class Projector(nn.Module):
    """Pyramid of T frames and their stamps -> visual tokens [T, N_v, D]."""

    def __init__(self, encoder: EncoderConfig, language: LanguageConfig) -> None:
        super().__init__()
        self.shape = (language.visual_rows, language.visual_columns)
        channels = encoder.channels
        self.inner = nn.Linear(_BACKBONE_CHANNELS + 2 * channels, language.width)
        self.outer = nn.Linear(language.width, language.width)
        self.place = nn.Linear(channels, language.width, bias=False)
        self.time = nn.Linear(channels, language.width, bias=False)
        self.norm = nn.LayerNorm(language.width)
        # A language model's embeddings are small numbers; starting there keeps its first layers in their range.
        self.scale = nn.Parameter(torch.full((language.width,), 0.1))
        self.channels = channels

    def forward(self, pyramid: Pyramid, times_s: Tensor) -> Tensor:
        """`times_s` [T]: seconds before the newest frame."""
        parts = [nn.functional.adaptive_avg_pool2d(x, self.shape) for x in (pyramid.s32, pyramid.s16)]
        # The strongest response in a cell keeps small objects that the mean would wash out.
        parts.append(nn.functional.adaptive_max_pool2d(pyramid.s8, self.shape))
        tokens = torch.cat(parts, dim=1).flatten(2).transpose(1, 2)
        x = self.outer(nn.functional.gelu(self.inner(tokens)))
        place = self.place(grid_positions(*self.shape, self.channels, x.device).to(x.dtype))
        time = self.time(sinusoid(times_s, self.channels, TIME_LONGEST_S, TIME_SHORTEST_S).to(x.dtype))
        return self.norm(x + place + time[:, None]) * self.scale  # type: ignore[no-any-return]


class LanguageModel(nn.Module):
    """Embedding, Llama layers and a tied head.

    Words [SEG] and [FRM] have the last two rows of the embedding.
    """

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.llama = LlamaModel(
            LlamaConfig(
                vocab_size=config.vocabulary + 2,
                hidden_size=config.width,
                intermediate_size=config.intermediate,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.kv_heads,
                rms_norm_eps=config.norm_eps,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
                max_position_embeddings=8192,
                attn_implementation="eager",  # type: ignore[call-arg]  # passed on to the base class
                use_cache=True,
            )
        )

    def embed(self, ids: Tensor) -> Tensor:
        """Ids [...] -> [..., D]."""
        return self.llama.embed_tokens(ids)  # type: ignore[no-any-return]

    def logits(self, states: Tensor) -> Tensor:
        """States [..., D] -> [..., vocabulary + 2]."""
        return nn.functional.linear(states, self.llama.embed_tokens.weight)

    def new_cache(self) -> DynamicCache:
        """An empty key-value cache."""
        return DynamicCache(config=self.llama.config)

    def forward(
        self,
        inputs: Tensor,
        *,
        positions: Tensor | None = None,
        visible: Tensor | None = None,
        cache: DynamicCache | None = None,
    ) -> Tensor:
        """Embeddings [N, L, D] -> final states [N, L, D].

        Without `visible` attention is causal over cache and inputs; with it, `visible` [N, 1, L, S] bool says what
        each input sees. `positions` [N, L] are needed with `visible`.
        """
        bias = None
        if visible is not None:
            bias = torch.zeros(visible.shape, dtype=inputs.dtype, device=inputs.device)
            bias.masked_fill_(~visible, torch.finfo(inputs.dtype).min)
        out = self.llama(
            inputs_embeds=inputs,
            attention_mask=bias,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return out.last_hidden_state  # type: ignore[no-any-return]
