"""How training teaches the language model to read things: their tokens lie near the words for them.

From answers alone a small language model first learns to do without the picture: the likeliest colour, the likeliest
object. A token that is nearest to the words for what it stands for ends that.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from villa.data.language.vocabulary import COLOURS, KINDS
from villa.modeling.villa import ViLLaModel
from villa.training.losses import known_entropy

_SHARPNESS = 3.0  # of products with unit word vectors


class Reading:
    """The task on one clip."""

    def __init__(self, model: ViLLaModel) -> None:
        self.model = model
        self.kinds = [tuple(model.codec.request_ids(word)) for word in KINDS]
        self.colours = [tuple(model.codec.request_ids(word)) for word in COLOURS]

    def __call__(self, tokens: Tensor, kinds: Tensor, colours: Tensor) -> Tensor:
        """Tokens [N, D] of things, their kinds and colours (-100: not known) [N] -> how far from their words."""
        named, coloured = self.directions(self.kinds), self.directions(self.colours)
        tokens = F.normalize(tokens.float(), dim=-1) * tokens.shape[-1] ** 0.5 / 4
        return known_entropy(_SHARPNESS * tokens @ named.T, kinds) + known_entropy(
            _SHARPNESS * tokens @ coloured.T, colours
        )

    @torch.no_grad()
    def directions(self, words: list[tuple[int, ...]]) -> Tensor:
        """Unit vectors [n, D] in which the embeddings of words differ from each other."""
        device = self.model.device
        each = [self.model.language.embed(torch.tensor(ids, device=device)).mean(dim=0) for ids in words]
        vectors = torch.stack(each).float()
        return F.normalize(vectors - vectors.mean(dim=0), dim=-1)
