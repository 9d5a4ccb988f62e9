"""Qwen3-VL and Qwen2.5-VL: positions count time, rows and columns apart, and Qwen3-VL's early layers see again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from villa.config import VisionLanguageConfig
from villa.modeling.language.interface import Inputs, Visual
from villa.modeling.language.tokenizer import ChatFormat
from villa.modeling.language.vision_language import VisionLanguageLLM

_LONGEST_RATIO = 200  # of a frame's sides; what the models' own preprocessing refuses


class Qwen3VL(VisionLanguageLLM):
    """Qwen3-VL. Each frame is an image of its own, so that each has N_v tokens, with its time in words before it."""

    mean = std = (0.5, 0.5, 0.5)

    @property
    def text(self) -> Any:
        """The language model inside, without its head."""
        return self.mllm.model.language_model

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """The image's own size in whole tokens, within the configured number of pixels, ratio kept.

        Raises:
            ValueError: one side is more than 200 times the other.
        """
        if max(height, width) > _LONGEST_RATIO * min(height, width):
            raise ValueError(f"an image is {width}x{height} px: wanted sides within 1:{_LONGEST_RATIO}")
        vision = self.mllm.config.vision_config
        cell = vision.patch_size * vision.spatial_merge_size
        rows, columns = max(1, round(height / cell)), max(1, round(width / cell))
        most, least = self.config.max_pixels, self.config.min_pixels
        if rows * columns * cell**2 > most:
            scale = math.sqrt(height * width / most)
            rows, columns = (max(1, math.floor(side / scale / cell)) for side in (height, width))
        elif rows * columns * cell**2 < least:
            scale = math.sqrt(least / (height * width))
            rows, columns = (math.ceil(side * scale / cell) for side in (height, width))
        return rows * cell, columns * cell

    def encode_pixels(self, pixels: Tensor) -> Visual:
        """Normalised frames [T, 3, h, w] -> visual tokens, with what later layers add."""
        vision = self.mllm.config.vision_config
        patches, grid = patched(pixels, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        seen = self.mllm.model.get_image_features(patches, grid, return_dict=True)
        deep = tuple(torch.stack(list(level)) for level in getattr(seen, "deepstack_features", None) or ())
        merge = vision.spatial_merge_size
        shape = (int(grid[0, 1]) // merge, int(grid[0, 2]) // merge)
        return Visual(torch.stack(list(seen.pooler_output)), shape, deep)

    @staticmethod
    def chat(config: VisionLanguageConfig) -> ChatFormat:
        """Qwen's chat; a frame is `<1.5 seconds>` and then the image. Without times, as Sa2VA writes it."""
        time = "<{seconds} seconds>" if config.timestamps else ""
        return ChatFormat(
            start=f"<|im_start|>system\n{config.system}<|im_end|>\n" if config.system else "",
            frame_before=f"{time}<|vision_start|>",
            frame_after="<|vision_end|>",
            video_after="" if config.timestamps else "\n",
            words_before="",
        )

    def video_positions(self, ids: Sequence[int], visual: Visual) -> Tensor:
        """[3, L]: words count all three alike; a frame's tokens share a time and differ in row and column."""
        rows, columns = visual.grid
        parts: list[Tensor] = []
        at = 0
        for seen, group in groupby(ids, lambda token: token == self.codec.visual_id):
            length = len(list(group))
            if not seen:
                parts.append(self.text_positions(at, length))
                at += length
                continue
            for _ in range(length // (rows * columns)):
                parts.append(self._frame_positions(at, rows, columns))
                at += max(rows, columns)
        return torch.cat(parts, dim=1)

    def _frame_positions(self, at: int, rows: int, columns: int) -> Tensor:
        row = torch.arange(rows, device=self.device).repeat_interleave(columns)
        column = torch.arange(columns, device=self.device).repeat(rows)
        return torch.stack((torch.zeros_like(row), row, column)) + at

    def text_positions(self, position: int, length: int) -> Tensor:
        """Positions [3, L] of words from `position` on."""
        return super().text_positions(position, length).expand(3, -1)

    def position_ids(self, positions: Tensor) -> Tensor:
        """[3, L] -> [3, 1, L]."""
        return positions[:, None]

    def extra(self, inputs: Inputs) -> dict[str, Any]:
        """What the early layers add where visual tokens are."""
        if inputs.visual is None:
            return {}
        return {"visual_pos_masks": inputs.visual[None], "deepstack_visual_embeds": list(inputs.deep)}


class Qwen25VL(Qwen3VL):
    """Qwen2.5-VL: the same without a second look."""

    mean = (0.48145466, 0.4578275, 0.40821073)  # transformers.image_utils.OPENAI_CLIP_MEAN
    std = (0.26862954, 0.26130258, 0.27577711)  # OPENAI_CLIP_STD

    def extra(self, inputs: Inputs) -> dict[str, Any]:
        """Nothing."""
        return {}


def patched(pixels: Tensor, patch: int, merge: int, depth: int) -> tuple[Tensor, Tensor]:
    """Frames [T, 3, h, w] -> patches [T * rows * columns, 3 * depth * patch^2] and grids [T, 3].

    Patches that merge into one token lie next to each other. A frame is repeated `depth` times, as an image is.
    """
    frames, channels, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    cells = pixels.reshape(frames, channels, rows // merge, merge, patch, columns // merge, merge, patch)
    cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7)  # [T, rows, columns, merge, merge, 3, patch, patch]
    cells = cells.unsqueeze(6).expand(*cells.shape[:6], depth, *cells.shape[6:])
    flat = cells.reshape(frames * rows * columns, channels * depth * patch * patch)
    grid = torch.tensor([[1, rows, columns]], device=pixels.device).expand(frames, -1)
    return flat, grid
