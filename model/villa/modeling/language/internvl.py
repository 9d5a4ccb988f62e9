"""InternVL: frames of one fixed size, a plain causal language model (Qwen2, Llama, ...) inside."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from villa.config import VisionLanguageConfig
from villa.modeling.language.interface import Visual
from villa.modeling.language.tokenizer import ChatFormat
from villa.modeling.language.vision_language import VisionLanguageLLM


class InternVL(VisionLanguageLLM):
    """InternVL 2.5 and 3 in transformers' own class."""

    mean = (0.485, 0.456, 0.406)  # of ImageNet
    std = (0.229, 0.224, 0.225)

    @property
    def text(self) -> Any:
        """The language model inside, without its head."""
        return self.mllm.model.language_model

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        """The vision encoder's own size, whatever the image's."""
        rows, columns = self.mllm.config.vision_config.image_size
        return int(rows), int(columns)

    def encode_pixels(self, pixels: Tensor) -> Visual:
        """Normalised frames [T, 3, h, w] -> visual tokens."""
        tokens = self.mllm.model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
        side = round(tokens.shape[1] ** 0.5)
        return Visual(tokens, (side, side))

    @staticmethod
    def chat(config: VisionLanguageConfig) -> ChatFormat:
        """InternVL's chat; a frame is `Frame1: ` and then the image."""
        number = "Frame{number}: " if config.timestamps else ""
        return ChatFormat(
            start=f"<|im_start|>system\n{config.system}<|im_end|>\n" if config.system else "",
            frame_before=f"{number}<img>",
            frame_after="</img>\n",
            video_after="",
            words_before="",
        )
