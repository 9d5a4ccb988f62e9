"""What ViLLa asks of a multimodal language model, whatever its kind.

All is for one sequence: L tokens of width D, positions [P, L] with P = 1, or 3 where the model counts time, rows and
columns apart (M-RoPE). T frames show N_v visual tokens each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from villa.interface import Rgb
from villa.modeling.language.tokenizer import Prompt, TextCodec
from villa.modeling.objects.relation_encoder import EncodedScene
from villa.modeling.segmenters.interface import Pyramid


@dataclass(frozen=True)
class Visual:
    """What the model sees of T frames."""

    tokens: Tensor  # V [T, N_v, D]
    grid: tuple[int, int]  # (rows, columns), rows * columns = N_v
    deep: tuple[Tensor, ...] = ()  # [T, N_v, D] each: what further layers add at visual places (DeepStack)
    scene: EncodedScene | None = None  # the things on these frames, where the model is told of each

    def __len__(self) -> int:
        return len(self.tokens)

    @staticmethod
    def joined(parts: Sequence[Visual]) -> Visual:
        """Frames seen one after the other -> all of them."""
        deep = tuple(torch.cat(level) for level in zip(*(part.deep for part in parts), strict=True))
        return Visual(torch.cat([part.tokens for part in parts]), parts[0].grid, deep)


@dataclass(frozen=True)
class Inputs:
    """A stretch of a sequence, ready to be read by the language model."""

    embeds: Tensor  # [L, D]
    positions: Tensor  # [P, L]
    visual: Tensor | None = None  # [L] bool: where visual tokens are; None: nowhere
    deep: tuple[Tensor, ...] = ()  # [number of visual places, D] each

    def __len__(self) -> int:
        return len(self.embeds)

    def chunks(self, size: int) -> Iterator[Inputs]:
        """Parts of at most `size` tokens, in order."""
        for start in range(0, len(self), size):
            yield self._part(start, start + size)

    def _part(self, start: int, stop: int) -> Inputs:
        embeds, positions = self.embeds[start:stop], self.positions[:, start:stop]
        if self.visual is None:
            return Inputs(embeds, positions)
        here = self.visual[start:stop]
        before, inside = int(self.visual[:start].sum()), int(here.sum())
        if not inside:
            return Inputs(embeds, positions)
        return Inputs(embeds, positions, here, tuple(level[before : before + inside] for level in self.deep))


class MultimodalLLM(nn.Module, ABC):
    """Frames and words in, states and words out."""

    width: int  # D
    codec: TextCodec
    # Frames are read from their pixels, not from the segmenter's features.
    needs_pixels: bool = True

    @abstractmethod
    def see(self, images: Sequence[Rgb], pyramid: Pyramid | None, times_s: Tensor) -> Visual:
        """T frames, as images or as the segmenter's features, and seconds before the newest [T] -> visual tokens.

        `images` are those of the frames that `glances(T)` names.
        """

    def glances(self, frames: int) -> list[int]:
        """Which of so many frames are seen as images, ascending: all where `needs_pixels`, else a few or none."""
        return list(range(frames)) if self.needs_pixels else []

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Ids [...] -> [..., D]."""

    @abstractmethod
    def logits(self, states: Tensor) -> Tensor:
        """States [..., D] -> scores of all tokens [..., vocabulary]."""

    @abstractmethod
    def read(self, inputs: Inputs, *, cache: DynamicCache | None = None, visible: Tensor | None = None) -> Tensor:
        """Inputs of L tokens -> final states [L, D].

        Without `visible` attention is causal over cache and inputs; with it, `visible` [L, S] bool says what each
        input sees of the S tokens of cache and inputs together.
        """

    @abstractmethod
    def new_cache(self) -> DynamicCache:
        """An empty key-value cache."""

    @abstractmethod
    def video_positions(self, ids: Sequence[int], visual: Visual) -> Tensor:
        """Positions [P, L] of the first part of a prompt, up to the end of the video."""

    def objection(self, text: str) -> str:
        """Why a request cannot be read; empty where nothing speaks against it. Large models read most languages."""
        return ""

    # -- the same for all kinds ----------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    def ids(self, ids: Sequence[int]) -> Tensor:
        """Plain ids -> tensor on the model's device."""
        return torch.tensor(ids, dtype=torch.long, device=self.device)

    def prompt(
        self, request: str, history: Sequence[tuple[str, str]], visual: Visual, times_s: Sequence[float], limit: int
    ) -> Prompt:
        """Request, earlier (request, answer) pairs, and the frames -> what is to be read.

        Raises:
            RequestError: the request has more than `limit` tokens.
        """
        return self.codec.prompt(request, history, times_s, visual.grid[0] * visual.grid[1], limit)

    def video_inputs(self, prompt: Prompt, visual: Visual) -> Inputs:
        """The first part of a prompt: it does not depend on the request."""
        ids = self.ids(prompt.video)
        seen = ids == self.codec.visual_id
        embeds = self.embed(torch.where(seen, self.codec.end_id, ids))
        tokens = visual.tokens.flatten(0, 1).to(embeds.dtype)
        if int(seen.sum()) != len(tokens):
            raise ValueError(f"the prompt has {int(seen.sum())} places for {len(tokens)} visual tokens")
        embeds = embeds.masked_scatter(seen[:, None], tokens)
        deep = tuple(level.flatten(0, 1).to(embeds.dtype) for level in visual.deep)
        return Inputs(embeds, self.video_positions(prompt.video, visual), seen if deep else None, deep)

    def text_inputs(self, embeds: Tensor, position: int) -> Inputs:
        """Embedded words [L, D] that follow; the first one is at `position`."""
        return Inputs(embeds, self.text_positions(position, len(embeds)))

    def text_positions(self, position: int, length: int) -> Tensor:
        """Positions [P, L] of words from `position` on."""
        return torch.arange(position, position + length, device=self.device)[None]


def next_position(positions: Tensor) -> int:
    """Where the word after positions [P, L] stands."""
    return int(positions.max()) + 1


def bias_of(visible: Tensor | None, like: Tensor) -> Tensor | None:
    """What each input sees [L, S] bool -> what is added to attention scores [1, 1, L, S] of `like`'s type."""
    if visible is None:
        return None
    bias = torch.zeros(visible.shape, dtype=like.dtype, device=like.device)
    return bias.masked_fill_(~visible, torch.finfo(like.dtype).min)[None, None]
