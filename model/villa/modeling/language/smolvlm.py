"""SmolVLM: frames of one fixed size, few tokens each, a small Llama inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from villa.config import VisionLanguageConfig
from villa.modeling.language.interface import Visual
from villa.modeling.language.tokenizer import ChatFormat
from villa.modeling.language.vision_language import VisionLanguageLLM


class SmolVLM(VisionLanguageLLM):
    """SmolVLM and SmolVLM2."""

    mean = std = (0.5, 0.5, 0.5)

    @property
    def text(self) -> Any:
        """The language model inside, without its head."""
        return self.mllm.model.text_model

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """The vision encoder's own size, whatever the image's."""
        side = int(self.mllm.config.vision_config.image_size)
        return side, side

    def encode_pixels(self, pixels: Tensor) -> Visual:
        """Normalised frames [T, 3, h, w] -> visual tokens."""
        seen = self.mllm.model.get_image_features(pixel_values=pixels[:, None], return_dict=True).pooler_output
        tokens = torch.stack(list(seen))
        side = round(tokens.shape[1] ** 0.5)
        return Visual(tokens, (side, side))

    @staticmethod
    def chat(config: VisionLanguageConfig) -> ChatFormat:
        """SmolVLM's chat; a frame is its time and then the image."""
        time = "Frame from {seconds} s:" if config.timestamps else ""
        return ChatFormat(
            start=f"<|im_start|>System: {config.system}<end_of_utterance>\n" if config.system else "<|im_start|>",
            user="User:",
            frame_before=f"{time}<fake_token_around_image><global-img>",
            frame_after="<fake_token_around_image>",
            video_after="\n\n",
            words_before="",
            assistant="<end_of_utterance>\nAssistant:",
            answer_after="<end_of_utterance>\n",
            end="<end_of_utterance>",
        )
