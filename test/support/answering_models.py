"""Models with random weights that answer every request with `[SEG]`, so that all that follows is exercised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from tiny import tiny_model
from tiny_parts import parts_model

from villa.interface import ClipFrame, Rgb
from villa.modeling.villa import ViLLaModel


def image(seed: int, height: int = 48, width: int = 64) -> Rgb:
    """Noise."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def clip(count: int, start_s: float = 1_700_000_000.0) -> list[ClipFrame]:
    """A clip of noise at 10 Hz."""
    return [ClipFrame(start_s + 0.1 * i, lambda i=i: image(i)) for i in range(count)]


def says(model: ViLLaModel, *answers: str) -> ViLLaModel:
    """The model's next answers, word for word; after the last one it goes on with that."""
    plain = model.language.logits
    queue = [list(model.codec.answer_ids(answer)) for answer in answers]
    state: dict[str, list[int]] = {"now": []}

    def logits(states: torch.Tensor) -> torch.Tensor:
        if not state["now"]:
            state["now"] = list(queue.pop(0) if len(queue) > 1 else queue[0])
        scores = plain(states) * 0.0
        scores[..., state["now"].pop(0)] = 50.0
        return scores

    model.language.logits = logits
    return model


def light(*answers: str) -> ViLLaModel:
    """The small family; every object is seen everywhere, its mask covers most of the image."""
    model = tiny_model()
    model.pointer.none.layers[-1].bias.fill_(-20.0)
    model.segmenter.decoder.present.layers[-1].bias.fill_(5.0)
    model.segmenter.decoder.iou.layers[-1].bias.fill_(5.0)
    model.segmenter.decoder.bias.fill_(1.0)
    model.config = replace(model.config, max_new_tokens=60)
    return says(model, *answers)


def over_sam2(*answers: str, family: str = "qwen3_vl", sam: str = "sam2_video", **changes: object) -> ViLLaModel:
    """SAM 2 parts; every object is seen everywhere."""
    model = parts_model(family, sam=sam, **({"max_new_tokens": 60} | changes))
    decoders = [model.segmenter.sam2.mask_decoder]
    if model.segmenter.own_decoder is not None:
        decoders.append(model.segmenter.own_decoder)
    for decoder in decoders:
        decoder.pred_obj_score_head.proj_out.bias.fill_(5.0)
    return says(model, *answers)
