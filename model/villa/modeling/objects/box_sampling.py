"""What features or pictures show at an even grid of points in boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sampled(features: Tensor, boxes: Tensor, frame: Tensor, points: int) -> Tensor:
    """Features [T, C, h, w] at an even grid of points in boxes [N, 4] of frames [N] -> [N, points^2 * C]."""
    steps = (torch.arange(points, device=boxes.device) + 0.5) / points - 0.5
    x = boxes[:, 0, None] + boxes[:, 2, None] * steps
    y = boxes[:, 1, None] + boxes[:, 3, None] * steps
    grid = 2 * torch.stack((x[:, None].expand(-1, points, -1), y[:, :, None].expand(-1, -1, points)), dim=-1) - 1
    out = features.new_zeros(len(boxes), features.shape[1] * points**2)
    for index in range(len(features)):
        rows = (frame == index).nonzero().flatten()
        if not len(rows):
            continue
        # All boxes of a frame lie below each other in one grid: features are not copied for each. In float32: a
        # place as bfloat16 is off by a pixel.
        at = grid[rows].flatten(0, 1)[None].float()
        seen = F.grid_sample(features[index : index + 1].float(), at, align_corners=False, padding_mode="border")[0]
        seen = seen.reshape(-1, len(rows), points, points).transpose(0, 1).flatten(1)
        out = out.index_copy(0, rows, seen.to(out.dtype))
    return out
