"""From what the language model said to masks on the clip's frames and seeds for tracking: the second half of a pass."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from villa.inference.answering import ModelResponse
from villa.inference.finite import finite
from villa.interface import Logits, SlowStep, Stage
from villa.modeling.language import answer_text
from villa.modeling.objects.detector import reached
from villa.modeling.objects.referring_head import in_order, marks
from villa.modeling.objects.seg_selector import Words
from villa.modeling.segmenters.interface import Masks, Memory, Moment, Pyramid
from villa.modeling.segmenters.mask_overlap import apart
from villa.modeling.villa import ViLLaModel, key_frame


@dataclass(frozen=True)
class GroundedObject:
    """One object of an answer that is there."""

    number: int  # of its [SEG] in the answer
    name: str
    score: float  # 0..1
    key: int  # the clip frame that shows it best
    logits: tuple[Logits | None, ...]  # [h, w] on each clip frame; None where it is not visible
    chances: tuple[float, ...]  # probability of being visible on each clip frame
    seeds: dict[int, Memory]  # by clip frame
    prompt: Tensor  # p [C]
    features: Tensor  # mean image token [C] under its mask on the key frame

    @property
    def last_seed(self) -> int:
        """The newest clip frame it was seeded on."""
        return max(self.seeds)


def gating(model: ViLLaModel) -> bool:
    """Does a low object score hide a mask?"""
    return model.config.least_presence > 0


def visible(model: ViLLaModel, chance: float) -> bool:
    """Is an object with this probability of being there taken to be visible?"""
    return chance > 0.5 or not gating(model)


def ground(
    model: ViLLaModel, response: ModelResponse, moments: Sequence[Moment]
) -> Generator[SlowStep, None, list[GroundedObject]]:
    """Masks of each `[SEG]` on the clip's frames, and a memory seeded for each object that is there."""
    generated = response.generated
    count, frames = generated.frames.shape[:2]
    if not count:
        return []
    scene = response.encoded.visual.scene
    words = None if scene is None else Words.of([generated.words] * count)
    marked = None if scene is None else marks(in_order(generated.marked, count), scene)
    prompts = model.prompts(
        generated.states, generated.frames, response.encoded.pyramid.tokens, None, scene, words, marked
    )
    drawings: list[Masks] = []
    for t in range(frames):
        drawn = _drawn(model, prompts.frames[:, t], response.encoded.pyramid, t)
        if scene is not None:
            others_at = scene.prompts[t][reached(scene.proposals, t, drawn.logits)]
            if len(others_at):
                others = _drawn(model, others_at, response.encoded.pyramid, t)
                drawn = replace(drawn, logits=apart(drawn.logits, others.logits))
        drawings.append(drawn)
        yield SlowStep(Stage.SEGMENTING, (t + 1) / frames)
    present = prompts.present  # [K, T]
    if present is None:
        present = torch.stack([one.present for one in drawings], dim=1).float()
    finite("the scores of what is visible", present, *(one.iou for one in drawings))
    best = key_frame(present, prompts.key_scores.float())
    found = []
    for k in range(count):
        chances = present[k].sigmoid().tolist()
        if gating(model) and max(chances) <= model.config.least_presence:
            continue
        seen = [t for t in range(frames) if visible(model, chances[t])]
        # A key frame on which the object is not seen cannot seed.
        key = int(best[k]) if int(best[k]) in seen else int(present[k].argmax())
        seeds = {}
        for t in seen if model.config.seed_every_frame and seen else [key]:
            one, at = slice(k, k + 1), best.new_tensor([t])
            (seeds[t],) = model.segmenter.seed(
                drawings[t][one], prompts.frames[one, t], response.encoded.pyramid, at, moments[t : t + 1]
            )
        found.append(
            GroundedObject(
                number=k,
                name=response.answer.names[k],
                score=chances[key] * float(drawings[key].iou[k]) * generated.confidence[k],
                key=key,
                logits=tuple(on_cpu(drawings[t].logits[k]) if t in seen else None for t in range(frames)),
                chances=tuple(chances),
                seeds=seeds,
                prompt=prompts.video[k].clone(),
                features=pooled(response.encoded.features[key], drawings[key].logits[k]),
            )
        )
    return found


def _drawn(model: ViLLaModel, prompts: Tensor, pyramid: Pyramid, frame: int) -> Masks:
    """Masks of prompts [N, C] on one frame of the clip."""
    index = torch.full((len(prompts),), frame, dtype=torch.long, device=model.device)
    return model.segmenter.decode(prompts, pyramid, index)


def words_of(response: ModelResponse, found: Sequence[GroundedObject]) -> str:
    """The answer in words; a name without an object is not an answer."""
    return answer_text.ABSENT if len(response.generated.states) and not found else response.answer.text


def memory_of(model: ViLLaModel, found: GroundedObject) -> Memory:
    """All seeds of an object in one memory."""
    seeds = [found.seeds[t] for t in sorted(found.seeds)]
    return seeds[0] if len(seeds) == 1 else model.segmenter.join(seeds)


def pooled(features: Pyramid, logits: Tensor) -> Tensor:
    """Mean image token [C] of one frame under a mask [H/4, W/4]."""
    image = features.s16[0]
    size = (image.shape[1], image.shape[2])
    inside = torch.nn.functional.adaptive_avg_pool2d((logits > 0).to(image.dtype)[None], size)
    return (image * inside).sum(dim=(1, 2)) / inside.sum().clamp(min=1e-3)


def on_cpu(logits: Tensor) -> Logits:
    """Mask logits [..., h, w] -> numpy."""
    return np.asarray(logits.float().cpu().numpy(), np.float32)
