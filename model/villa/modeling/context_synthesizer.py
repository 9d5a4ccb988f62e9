"""ContextSynthesizer (temporal-aware context aggregation in the paper's first version).

The request's words look at every frame before the language model reads them: E + tanh(g) * up(pool_t(attend)).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from villa.modeling.layers import TIME_LONGEST_S, TIME_SHORTEST_S, Attention, sinusoid

_SHARPNESS = 2.0  # of the comparison at the start, in each of its two projections


class ContextSynthesizer(nn.Module):
    """Zero-initialised residual on the request's embeddings; untrained it changes nothing."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        """`width` is D of the language model, `inner` the c of the attention."""
        super().__init__()
        self.width = inner
        self.words = nn.Linear(width, inner)
        self.visual = nn.Linear(width, inner)
        self.attention = Attention(inner, heads)
        self.pool = nn.Linear(inner, 1)
        self.up = nn.Linear(inner, width)
        self.gate = nn.Parameter(torch.zeros(1))
        # Words and tokens begin in one space, where a word finds what is like it: visual tokens learn to lie near the
        # words for what they show.
        for word, token in ((self.words, self.visual), (self.attention.query, self.attention.key)):
            nn.init.orthogonal_(word.weight, _SHARPNESS)
            token.load_state_dict(word.state_dict())

    def forward(self, words: Tensor, visual: Tensor, times_s: Tensor) -> Tensor:
        """Request embeddings [L, D], visual tokens [T, N_v, D], times [T] -> embeddings [L, D]."""
        return torch.add(words, torch.tanh(self.gate) * self.attend(words, visual, times_s))

    def attend(self, words: Tensor, visual: Tensor, times_s: Tensor) -> Tensor:
        """What each word finds in the video [L, D], before the gate."""
        frames = visual.shape[0]
        code = sinusoid(times_s, self.width, TIME_LONGEST_S, TIME_SHORTEST_S).to(visual.dtype)
        keys = self.visual(visual) + code[:, None]
        queries = self.words(words)[None].expand(frames, -1, -1)
        seen = self.attention(queries, keys, keys)  # [T, L, c]
        weights = self.pool(seen + code[:, None]).softmax(dim=0)
        return self.up((weights * seen).sum(dim=0))  # type: ignore[no-any-return]
