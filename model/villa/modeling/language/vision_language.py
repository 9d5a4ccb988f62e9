"""A vision-language model of transformers, with `[SEG]` and `[FRM]` beside its own vocabulary.

The folder it comes from stays as it is: the rows of new tokens are parameters of ours. A token that the folder's
tokenizer already has (a converted checkpoint's `[SEG]`) keeps its own row.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

from villa.config import VisionLanguageConfig
from villa.interface import Rgb
from villa.modeling.language.interface import Inputs, MultimodalLLM, Visual, bias_of
from villa.modeling.language.tokenizer import ChatFormat, TextCodec, with_tokens
from villa.modeling.segmenters.interface import Pyramid
from villa.modeling.segmenters.pixel_norm import PixelNorm

# What a new token's row begins as: the mean of the rows of these words.
_MEANINGS = {"[SEG]": " object mask", "[FRM]": " video frame"}


class VisionLanguageLLM(MultimodalLLM):
    """What the families have in common; a family says how it sees, counts positions and chats."""

    mean: tuple[float, ...]  # of pixels in 0..1, where the folder does not say
    std: tuple[float, ...]

    def __init__(self, config: VisionLanguageConfig, mllm: Any, tokenizer: str) -> None:
        """`mllm` is the family's ForConditionalGeneration class, `tokenizer` its tokenizer.json."""
        super().__init__()
        self.config = config
        self.mllm = mllm
        self.width = int(self.text.config.hidden_size)
        self.published_tokenizer = tokenizer
        serialized, added = with_tokens(tokenizer)
        self.codec = TextCodec(serialized, self.chat(config))
        self.added = {token: self.codec.id_of(token) for token in added}
        self._seen_tokens = len(self.codec)
        rows = torch.zeros(len(added), self.width)
        self.new_rows = nn.Parameter(rows.clone())
        self.new_heads = nn.Parameter(rows)
        self.pixel_norm = PixelNorm(self.mean, self.std)

    @torch.no_grad()
    def start_rows(self) -> None:
        """Give new tokens the mean rows of what they mean, for a model that is to be trained."""
        for index, token in enumerate(self.added):
            ids = self.ids(self.codec.plain(_MEANINGS[token]))
            self.new_rows[index] = self.embed(ids).float().mean(dim=0)
            self.new_heads[index] = self.mllm.get_output_embeddings().weight[ids].float().mean(dim=0)

    def recompute_activations(self) -> None:
        """Keep the inputs of each layer for the backward pass, and compute the rest again: less memory, more time."""
        # transformers 5.23 gave it this name, and warns of the one before.
        enable = getattr(self.text, "activation_checkpointing_enable", None) or self.text.gradient_checkpointing_enable
        enable({"use_reentrant": False})

    # -- what a family says --------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def text(self) -> Any:
        """The language model inside, without its head."""

    @abstractmethod
    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of an image in px -> (height, width) that the vision encoder is given."""

    @abstractmethod
    def encode_pixels(self, pixels: Tensor) -> Visual:
        """Normalised frames [T, 3, h, w] -> visual tokens."""

    @staticmethod
    @abstractmethod
    def chat(config: VisionLanguageConfig) -> ChatFormat:
        """The words that the model was taught to expect."""

    # -- the interface -------------------------------------------------------------------------------------------

    def see(self, images: Sequence[Rgb], pyramid: Pyramid | None, times_s: Tensor) -> Visual:
        """T images of one size [H, W, 3] uint8 -> visual tokens; the segmenter's features are not looked at."""
        return self.encode_pixels(self.pixels(images))

    def pixels(self, images: Sequence[Rgb]) -> Tensor:
        """Images [H, W, 3] uint8 -> what `encode_pixels` wants, resized on the device."""
        raw = torch.from_numpy(np.stack(images)).to(self.device).permute(0, 3, 1, 2).float()
        size = self.frame_size(raw.shape[2], raw.shape[3])
        if tuple(raw.shape[2:]) != size:
            raw = F.interpolate(raw, size, mode="bicubic", antialias=True, align_corners=False).round().clamp(0, 255)
        normal: Tensor = self.pixel_norm(raw)
        return normal.to(self.new_rows.dtype)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids [...] -> [..., D]."""
        table = self.mllm.get_input_embeddings()
        embeds: Tensor = table(ids.clamp(max=table.num_embeddings - 1))
        for index, token in enumerate(self.added.values()):
            embeds = torch.where((ids == token)[..., None], self.new_rows[index].to(embeds.dtype), embeds)
        return embeds

    def logits(self, states: Tensor) -> Tensor:
        """States [..., D] -> [..., tokens]; rows that stand for no token can never be chosen."""
        if self.config.state_before_norm:
            states = self.text.norm(states)
        scores = self.mllm.get_output_embeddings()(states)[..., : self._seen_tokens]
        missing = self._seen_tokens - scores.shape[-1]
        scores = F.pad(scores, (0, missing)) if missing > 0 else scores
        if self.added:
            at = self.ids(list(self.added.values()))
            own = states @ self.new_heads.T.to(states.dtype)
            scores = scores.index_copy(-1, at, own.to(scores.dtype))
        return scores

    def new_cache(self) -> DynamicCache:
        """An empty key-value cache."""
        return DynamicCache(config=self.text.config)

    def video_positions(self, ids: Sequence[int], visual: Visual) -> Tensor:
        """Tokens are counted, whatever they show: [1, L]."""
        return self.text_positions(0, len(ids))

    def read(self, inputs: Inputs, *, cache: DynamicCache | None = None, visible: Tensor | None = None) -> Tensor:
        """Inputs of L tokens -> final states [L, D]."""
        before: list[Tensor] = []
        with self._before_norm(before):
            out = self.text(
                inputs_embeds=inputs.embeds[None],
                attention_mask=bias_of(visible, inputs.embeds),
                position_ids=self.position_ids(inputs.positions),
                past_key_values=cache,
                use_cache=cache is not None,
                **self.extra(inputs),
            )
        states: Tensor = before[-1] if before else out.last_hidden_state
        return states[0]

    @contextmanager
    def _before_norm(self, states: list[Tensor]) -> Iterator[None]:
        """Put what goes into the last norm into `states`, where that is what counts."""
        if not self.config.state_before_norm:
            yield
            return
        hook = self.text.norm.register_forward_pre_hook(lambda _, given: states.append(given[0]))
        try:
            yield
        finally:
            hook.remove()

    def position_ids(self, positions: Tensor) -> Tensor:
        """Positions [P, L] -> as the language model wants them."""
        return positions

    def extra(self, inputs: Inputs) -> dict[str, Any]:
        """What else the language model is told about its inputs."""
        return {}
