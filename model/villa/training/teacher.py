"""What training adds and inference drops: dense classes, and prompts made from an object's facts.

The mask decoder learns first from prompts that say plainly what and where an object is (kind, colour, box). Then the
language model learns to write prompts into its `[SEG]` states, with those of the facts as a guide: that tells it far
more at each step than masks alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from villa.data.vocabulary import COLOURS, KINDS
from villa.layers import Mlp, point_positions, sinusoid

_SIZE_CODE = 32


class Teacher(nn.Module):
    """Dense heads on stride 8 and the prompts of facts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kinds = nn.Conv2d(channels, len(KINDS) + 1, 1)
        self.colours = nn.Conv2d(channels, len(COLOURS) + 1, 1)
        self.kind = nn.Embedding(len(KINDS) + 1, channels)  # 0: not said
        self.colour = nn.Embedding(len(COLOURS) + 1, channels)
        self.place = nn.Linear(channels, channels)
        self.size = nn.Linear(2 * _SIZE_CODE, channels)
        self.no_box = nn.Parameter(torch.zeros(channels))
        self.mix = Mlp(channels, 2 * channels, channels)
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)

    def prompt(self, kind: Tensor, colour: Tensor, box: Tensor, located: Tensor) -> Tensor:
        """Kinds and colours [N] (0: not said), boxes [N, 4] as shares of the image, whether said [N] -> [N, C]."""
        # The middle in the code that the decoder's image carries, so that the two can meet.
        middle = self.place(point_positions(box[:, :2], self.place.in_features))
        size = self.size(sinusoid(box[:, 2:], _SIZE_CODE, 2.0, 0.05).flatten(1))
        place = torch.where(located[:, None], middle + size, self.no_box)
        x = self.kind(kind) + self.colour(colour) + place
        return self.norm(x + self.mix(x))  # type: ignore[no-any-return]
