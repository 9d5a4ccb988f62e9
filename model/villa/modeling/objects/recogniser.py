"""What stands where, by 80 names: NanoDet-g (https://github.com/RangiLyu/nanodet, Apache-2.0), trained on COCO by its
authors.

A plain network of 3x3 convolutions with a pyramid. Each cell of strides 8, 16 and 32 tells how likely each name is and,
as the mean of a distribution over 0..10 strides (arXiv 2006.04388), how far the sides of its box are. It is a part of
the slow pass and learns nothing: `villa.modeling.objects.detector` reads it beside the features of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.interface import Rgb

NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
STRIDES = (8, 16, 32)
CHANNELS = 128  # of every level
_STEPS = 11  # of a side's distribution
_SLOPE = 0.1
# Blue first, as it was trained.
_MEAN, _STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


@dataclass(frozen=True)
class Recognised:
    """What the S cells of all levels say about N of the T frames of a clip."""

    frames: Tensor  # [N] which frames
    scores: Tensor  # [N, S, 80] probabilities
    boxes: Tensor  # [N, S, 4] middle x, y, width, height as shares of the image
    levels: tuple[Tensor, ...]  # [N, 128, h, w] features at strides 8, 16 and 32
    images: Tensor  # [N, 3, H, W] what was looked at, 0..255
    stretch: Tensor  # [N] how many times as wide as it was taken each of them is, its height being the same

    @classmethod
    def joined(cls, parts: Sequence[Recognised]) -> Recognised:
        """That of one frame or more each -> of all of them."""
        levels = tuple(torch.cat(level) for level in zip(*(part.levels for part in parts), strict=True))
        frames, scores, boxes, images, stretch = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("frames", "scores", "boxes", "images", "stretch")
        )
        return cls(frames, scores, boxes, levels, images, stretch)


class _Conv(nn.Module):
    """Convolution of odd size with its padding, norm folded, and a leaky ReLU unless `plain`."""

    def __init__(self, inner: int, outer: int, size: int = 3, stride: int = 1, *, plain: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, size, stride, size // 2)
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x if self.plain else F.leaky_relu(x, _SLOPE)


class _Stage(nn.Module):
    """A cross-stage block: half of the channels pass pairs of convolutions, all of it is joined at the end."""

    def __init__(self, channels: int, pairs: int, *, shrinks: bool) -> None:
        super().__init__()
        half = channels // 2
        self.enter = _Conv(channels, channels, stride=2 if shrinks else 1)
        inner = [_Conv(channels, half), _Conv(half, half)]
        for _ in range(pairs - 1):
            inner += [_Conv(channels, half), _Conv(half, half)]
        self.inner = nn.ModuleList(inner)
        self.leave = _Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        y = x
        for at in range(0, len(self.inner), 2):
            first = self.inner[at](y)
            y = torch.cat((self.inner[at + 1](first), first), dim=1)
        return torch.cat((self.leave(y), x), dim=1)


class Recogniser(nn.Module):
    """Images -> names and boxes."""

    steps: Tensor  # 0..10

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, 32, stride=2)
        self.stages = nn.ModuleList(
            (
                _Stage(32, 1, shrinks=False),
                _Stage(64, 2, shrinks=True),
                _Stage(128, 2, shrinks=True),
                _Stage(256, 3, shrinks=True),
            )
        )
        self.lateral = nn.ModuleList(_Conv(inner, CHANNELS, 1, plain=True) for inner in (128, 256, 512))
        self.spread = nn.ModuleList(_Conv(CHANNELS, CHANNELS) for _ in STRIDES)
        self.tell = nn.ModuleList(_Conv(CHANNELS, len(NAMES) + 4 * _STEPS, 1, plain=True) for _ in STRIDES)
        self.register_buffer("steps", torch.arange(_STEPS, dtype=torch.float32), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor, frames: Sequence[int], stretch: Tensor | None = None) -> Recognised:
        """Images [N, 3, H, W], red first, 0..255, sides of a multiple of 32 px, of these frames of a clip.

        `stretch` as in `Recognised`; None: they are as they were taken.
        """
        if stretch is None:
            stretch = images.new_ones(len(images))
        mean, std = (images.new_tensor(x)[:, None, None] for x in (_MEAN, _STD))
        x = self.stem(((images.flip(1) - mean) / std).to(self.stem.conv.weight.dtype))
        x = F.max_pool2d(x, 3, 2, 1)
        taps = []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        low, middle, high = (lateral(tap) for lateral, tap in zip(self.lateral, taps[1:], strict=True))
        middle = middle + _resized(high, middle)
        low = low + _resized(middle, low)
        middle = middle + _resized(low, middle)
        high = high + _resized(middle, high)
        levels = tuple(spread(level) for spread, level in zip(self.spread, (low, middle, high), strict=True))
        size = (images.shape[3], images.shape[2])
        told = [
            self._read(tell(level), stride, size)
            for tell, level, stride in zip(self.tell, levels, STRIDES, strict=True)
        ]
        scores, boxes = (torch.cat(parts, dim=1) for parts in zip(*told, strict=True))
        return Recognised(torch.tensor(frames, device=images.device), scores, boxes, levels, images, stretch)

    def _read(self, said: Tensor, stride: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        rows, columns = said.shape[2:]
        said = said.flatten(2).transpose(1, 2).float()
        scores = said[..., : len(NAMES)].sigmoid()
        shares = said[..., len(NAMES) :].reshape(*said.shape[:2], 4, _STEPS).softmax(dim=-1)
        sides = shares @ self.steps.float() * stride
        y, x = torch.meshgrid(
            (torch.arange(rows, device=said.device) + 0.5) * stride,
            (torch.arange(columns, device=said.device) + 0.5) * stride,
            indexing="ij",
        )
        at = torch.stack((x, y), dim=-1).flatten(0, 1)
        whole = said.new_tensor(size)
        low = ((at - sides[..., :2]) / whole).clamp(0, 1)
        high = ((at + sides[..., 2:]) / whole).clamp(0, 1)
        return scores, torch.cat(((low + high) / 2, high - low), dim=-1)


def pixels(images: Sequence[Rgb], width: int, height: int) -> Tensor:
    """Images [H, W, 3] uint8 of any size -> [N, 3, height, width] float32, 0..255."""
    sized = [np.asarray(cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA)) for one in images]
    return torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2).float()


def stretch_of(size: tuple[float, float], made: tuple[int, int]) -> float:
    """How many times as wide as it was taken a picture of (width, height) is that is made another size."""
    return made[0] / made[1] * size[1] / size[0]


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
