"""A mask that is given on the first frame of a video -> a tracklet over all of it: no word is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from villa import masks
from villa.inference.grounding import visible
from villa.inference.video import Tracklet
from villa.interface import Rgb
from villa.masks import Mask, RleMask
from villa.modeling.language.causal import CausalLLM
from villa.modeling.segmenters.interface import Masks, Memory, Moment, Pyramid
from villa.modeling.segmenters.light.encoder import LightPyramid
from villa.modeling.villa import ViLLaModel

_SURE = 6.0  # logit of what is given


def carry(
    model: ViLLaModel,
    video: Sequence[Rgb],
    mask: Mask,
    *,
    fps: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
) -> Tracklet:
    """Video of T images [H, W, 3] uint8 and a mask [H, W] of its first one -> where that is on every frame.

    Images are asked for by index, one after the other, and not kept. The first mask of the tracklet is the given one.

    Raises:
        ValueError: the video has no frame, the mask is empty or of another size, or `fps` is not positive.
    """
    if not fps > 0:
        raise ValueError(f"fps is {fps}: wanted a positive number")
    if not len(video):
        raise ValueError("the video holds no frame: wanted at least one")
    first = video[0]
    if mask.shape != first.shape[:2] or not mask.any():
        what = "is empty" if mask.shape == first.shape[:2] else f"has shape {list(mask.shape)}"
        raise ValueError(f"the given mask {what}: wanted one [H, W] = {list(first.shape[:2])} with something inside")
    drawn: list[RleMask | None] = [masks.encode(mask)]
    present = [1.0]
    with torch.inference_mode():
        memory = memory_of(model, mask, model.encode(first), Moment(0, 0.0))
        for t in range(1, len(video)):
            image = video[t]
            seen = model.segmenter.carry([memory], model.encode(image), Moment(t, t / fps))
            present.append(float(seen.present[0].float().sigmoid()))
            found = None
            if visible(model, present[-1]):
                inside = masks.of_logits(seen.logits[0].float().cpu().numpy(), *image.shape[:2])
                found = inside if inside.area else None
            drawn.append(found)
            if progress is not None:
                progress(t, len(video) - 1)
    return Tracklet("", 1.0, 0, tuple(drawn), tuple(present))


def memory_of(model: ViLLaModel, mask: Mask, pyramid: Pyramid, moment: Moment) -> Memory:
    """Begin a memory with a mask [H, W] that somebody gives, on a pyramid of one frame."""
    segmenter = model.segmenter
    rows, columns = segmenter.mask_grid
    like = pyramid.s16
    share = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    logits = torch.from_numpy(np.asarray(share * 2 - 1)).to(like)[None] * _SURE
    frame = torch.zeros(1, dtype=torch.long, device=like.device)
    prompt = _prompt(model, mask, pyramid, frame)
    # What the decoder makes of the place is kept as the looks of it; its outline is the given one.
    looks = segmenter.decode(prompt, pyramid, frame)
    sure = torch.full_like(looks.present, _SURE)
    (memory,) = segmenter.seed(
        Masks(logits, torch.ones_like(looks.iou), sure, looks.token), prompt, pyramid, frame, [moment]
    )
    return memory


def _prompt(model: ViLLaModel, mask: Mask, pyramid: Pyramid, frame: Tensor) -> Tensor:
    """What makes the decoder draw what is in the box of a mask [1, C]; nothing where the model finds no things."""
    language = model.language
    told = isinstance(language, CausalLLM) and language.config.things is not None
    if not told or not isinstance(pyramid, LightPyramid):
        return pyramid.s16.new_zeros(1, model.segmenter.channels)
    assert isinstance(language, CausalLLM)
    row, column = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (top, bottom), (left, right) = ((float(x[0]), float(x[-1] + 1)) for x in (row, column))
    height, width = mask.shape
    middle = ((left + right) / 2 / width, (top + bottom) / 2 / height)
    box = torch.tensor([[*middle, (right - left) / width, (bottom - top) / height]], device=pyramid.s16.device)
    finder = language.finder
    return finder.prompts(finder.read(pyramid, box, frame), box)
