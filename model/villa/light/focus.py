"""Focus: what a request is about is found before a word of the answer is written.

The read words of a request and the things of a scene decide together which things are meant, each by itself. The
language model is then shown these things once more, in order, and answering is a matter of saying what they are: one
token for one thing, none where there is none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.config import ThingsConfig
from villa.light.pointer import Words
from villa.light.scene import ComparingLayer, Scene

MOST = 6  # things that are shown again
_SAME = 0.0  # logit of a link from which two sightings are one thing


class Focus(nn.Module):
    """Words of R requests and a scene -> how likely each thing is meant."""

    def __init__(self, words: int, config: ThingsConfig) -> None:
        super().__init__()
        width = config.width
        self.words = nn.Linear(words, width)
        self.layers = nn.ModuleList(ComparingLayer(width, config.heads, width) for _ in range(config.focus_layers))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)

    def forward(self, words: Words, scene: Scene) -> Tensor:
        """Logits [R, T, N] of "this is meant"."""
        frames, count = scene.things.scores.shape
        said = self.words(words.states)
        x = scene.states.flatten(0, 1)[None].expand(len(said), -1, -1)
        doubt = F.logsigmoid(scene.things.scores.float()).clamp(min=-12.0).flatten().to(x.dtype)
        for layer in self.layers:
            x = layer(x, scene.pairs, doubt, said, words.spoken)
        scores = self.score(self.norm(x))[..., 0] + doubt
        return scores.reshape(len(said), frames, count)


def tokens_of(picked: list[tuple[int, int]], tokens: Tensor) -> Tensor:
    """Visual tokens [T, N_v, D], things first -> those of the things picked [F, D]."""
    return torch.stack([tokens[at] for at in picked]) if picked else tokens.new_zeros(0, tokens.shape[-1])


def chosen(logits: Tensor, scene: Scene) -> list[tuple[int, int]]:
    """Logits [T, N] of one request -> (frame, thing) of each that is meant, from left to right.

    Each is taken on the newest frame that shows it: what is on a newer frame already, by its looks and place, is not
    told twice.
    """
    picked: list[tuple[int, int]] = []
    count = logits.shape[1]
    for frame in reversed(range(len(logits))):
        for thing in (logits[frame] > 0).nonzero().flatten().tolist():
            at = frame * count + thing
            newer = [t * count + n for t, n in picked if t > frame]
            if newer and bool((scene.links[at, newer] > _SAME).any()):
                continue
            picked.append((frame, thing))
    likeliest = sorted(picked, key=lambda one: -float(logits[one]))[:MOST]
    return sorted(likeliest, key=lambda one: float(scene.things.boxes[one][0]))
