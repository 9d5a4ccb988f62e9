"""A mask that is given on the first frame of a video, carried through all others: no words, no language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from villa import masks
from villa.inference.finite import finite
from villa.inference.grounding import on_cpu, visible
from villa.inference.out_of_memory import DeviceMemoryError
from villa.interface import Rgb
from villa.masks import Mask, RleMask
from villa.modeling.language.causal import CausalLLM
from villa.modeling.segmenters.interface import Memory, Moment, Pyramid
from villa.modeling.segmenters.light.encoder import LightPyramid
from villa.modeling.villa import ViLLaModel


def propagate(model: ViLLaModel, frames: Iterable[Rgb], mask: Mask, *, fps: float = 10.0) -> Iterator[RleMask | None]:
    """Video of images [H, W, 3] uint8 and the mask [H, W] bool of its first -> the mask of each frame, in order.

    The first is the given one. None: the object is not visible on that frame. Frames are taken one after the other
    and not kept: an iterator that decodes on demand is enough for videos of any length.

    Raises:
        ValueError: with the first mask: the video has no frame, `fps` is not positive, the mask is of another size or
            type or is empty, or the model has nothing that makes a prompt of a mask.
        DeviceMemoryError: the device's memory does not hold one frame.
    """
    if not fps > 0:
        raise ValueError(f"fps is {fps}: wanted a positive number")
    video = iter(frames)
    first = next(video, None)
    if first is None:
        raise ValueError("the video holds no frame: wanted at least the one that the mask is of")
    _check(mask, first)
    memory = _seeded(model, first, mask)
    yield masks.encode(mask)
    for index, image in enumerate(video, start=1):
        yield _carried(model, memory, image, Moment(index, index / fps))


def _check(mask: Mask, image: Rgb) -> None:
    if mask.dtype != np.bool_ or mask.shape != image.shape[:2]:
        raise ValueError(
            f"a mask has shape {list(mask.shape)} and type {mask.dtype}, its image {list(image.shape)}: "
            "wanted [H, W] bool of the image's size"
        )
    if not mask.any():
        raise ValueError("the mask of the first frame is empty: wanted at least one px to carry on")


@torch.inference_mode()
def _seeded(model: ViLLaModel, image: Rgb, mask: Mask) -> Memory:
    try:
        pyramid = model.encode(image)
        given = torch.from_numpy(mask).to(model.device)[None].float()
        frame = torch.zeros(1, dtype=torch.long, device=model.device)
        prompt = _prompt(model, mask, pyramid)
        (memory,) = model.segmenter.seed_given(given, prompt, pyramid, frame, [Moment(0, 0.0)])
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError.of(error, "seeing the mask that was given") from error
    return memory


@torch.inference_mode()
def _carried(model: ViLLaModel, memory: Memory, image: Rgb, moment: Moment) -> RleMask | None:
    try:
        seen = model.segmenter.carry([memory], model.encode(image), moment)
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError.of(error, "carrying one object to the next frame") from error
    finite("the masks of a frame", seen.logits, seen.present)
    if not visible(model, float(seen.present[0].float().sigmoid())):
        return None
    mask = masks.of_logits(on_cpu(seen.logits[0]), *image.shape[:2])
    return mask if mask.area else None


def _prompt(model: ViLLaModel, mask: Mask, pyramid: Pyramid) -> Tensor | None:
    """What the object detector reads where a mask is, as a prompt [1, C]; None: the model has no detector.

    Training draws and carries objects from prompts that are read in their true boxes, so this one is of the kind that
    the decoder knows.
    """
    language = model.language
    if not isinstance(language, CausalLLM) or not isinstance(pyramid, LightPyramid) or language.config.things is None:
        return None
    boxes = torch.tensor([_box(mask)], dtype=torch.float32, device=model.device)
    features = language.finder.read(pyramid, boxes, torch.zeros(1, dtype=torch.long, device=model.device))
    prompt: Tensor = language.finder.prompts(features, boxes)
    return prompt


def _box(mask: Mask) -> tuple[float, float, float, float]:
    """Mask [H, W] that is not empty -> middle x, y, width, height as shares of the image."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (top, bottom), (left, right) = (at[[0, -1]] + (0, 1) for at in (rows, columns))
    height, width = mask.shape
    x, y = float(left + right) / 2 / width, float(top + bottom) / 2 / height
    return x, y, float(right - left) / width, float(bottom - top) / height
