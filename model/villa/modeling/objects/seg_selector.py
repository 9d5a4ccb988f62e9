"""SegSelector: from the prompts of a `[SEG]` and the words of its request to the things that are meant.

Every thing of a scene looks at the words and at the other things, and ends with a score for each prompt: what is right
of the mug knows that there is a mug on its left, and that this is what was asked for. It begins with what the focus has
marked for this `[SEG]` and learns where to trust it. "None of these" takes part as one more thing on each frame; what
it leaves is the probability that the object is visible there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from villa.config import ProposalConfig
from villa.modeling.layers import Mlp
from villa.modeling.objects.relation_encoder import ComparingLayer, EncodedScene
from villa.modeling.temporal_synchronizer import Prompts


@dataclass(frozen=True)
class Words:
    """Read words of the requests that K prompts belong to, padded to one length."""

    states: Tensor  # [K, L, D]
    spoken: Tensor  # [K, L] bool: what is no padding

    @classmethod
    def of(cls, parts: list[Tensor]) -> Words:
        """States [L_k, D] of each prompt's request."""
        states = nn.utils.rnn.pad_sequence(parts, batch_first=True)
        lengths = torch.tensor([len(part) for part in parts], device=states.device)
        return cls(states, torch.arange(states.shape[1], device=states.device)[None] < lengths[:, None])


class SegSelector(nn.Module):
    """Prompts of K objects over T frames, words and a scene -> which thing of each frame is meant."""

    def __init__(self, channels: int, words: int, config: ProposalConfig) -> None:
        super().__init__()
        width = config.width
        self.prompt = nn.Linear(channels, width)
        self.words = nn.Linear(words, width)
        self.layers = nn.ModuleList(ComparingLayer(width, config.heads, width) for _ in range(config.pointer_layers))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)
        self.none = Mlp(2 * width, width, 1)
        # What the language model adds to the prompt of the thing it points at: nothing until it was trained to.
        self.amount = nn.Parameter(torch.zeros(1))

    def forward(self, prompts: Prompts, words: Words, scene: EncodedScene, marked: Tensor) -> Tensor:
        """Scores [K, T, N + 1] of the things on each frame; the last one is of "none of these".

        `marked` [K, T, N + 1]: what the focus says (`villa.modeling.objects.referring_head.marks`).
        """
        frames, count = scene.proposals.scores.shape
        asked = self.prompt(prompts.frames)  # [K, T, W]
        x = (scene.states[None] + asked[:, :, None]).flatten(1, 2)
        said = self.words(words.states)
        doubt = scene.proposals.doubt.to(x.dtype)
        for layer in self.layers:
            x = layer(x, scene.pairs, doubt, said, words.spoken)
        x = self.norm(x)
        x = x.reshape(len(x), frames, count, -1)
        scores = self.score(x)[..., 0] + doubt.reshape(frames, count)
        best = x.amax(dim=2)
        none = self.none(torch.cat((best, asked), dim=-1))
        return torch.cat((scores, none), dim=-1) + marked

    def pointed(self, prompts: Prompts, scores: Tensor, scene: EncodedScene) -> Prompts:
        """The prompts of what is pointed at, with the language model's own added; and how likely it is there."""
        chosen = scores[..., :-1].softmax(dim=-1)
        frames = torch.einsum("ktn,tnc->ktc", chosen.to(scene.prompts.dtype), scene.prompts)
        frames = frames + self.amount * prompts.frames
        return Prompts(
            video=frames.mean(dim=1) + self.amount * prompts.video,
            frames=frames,
            key_scores=prompts.key_scores,
            scores=scores,
        )
