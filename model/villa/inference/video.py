"""Whole videos: one request, and a tracklet for each object over all frames, both ways from where it was seen."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from villa import masks
from villa.inference.answering import ModelResponse, ask
from villa.inference.finite import finite
from villa.inference.grounding import GroundedObject, ground, memory_of, on_cpu, visible, words_of
from villa.inference.out_of_memory import in_steps
from villa.interface import ClipFrame, Logits, Rgb, SlowStep, finish
from villa.masks import RleMask
from villa.modeling.segmenters.interface import Moment
from villa.modeling.villa import ViLLaModel

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Tracklet:
    """One object over a video of T frames."""

    name: str
    score: float  # 0..1 confidence that this is the object meant
    key_frame: int  # the frame that shows it best, of those the language model saw
    masks: tuple[RleMask | None, ...]  # [T]; None where it is not visible
    present: tuple[float, ...]  # [T] probability of being visible


@dataclass(frozen=True)
class Segmentation:
    """The answer to a request about a video. No tracklets means "not there"."""

    text: str
    raw_text: str
    finish_reason: str  # "stop" | "length" | "refused": the model cannot read the request
    frames: tuple[int, ...]  # that the language model saw
    tracklets: tuple[Tracklet, ...]


def segment(
    model: ViLLaModel,
    video: Sequence[Rgb],
    text: str,
    *,
    fps: float = 10.0,
    history: Sequence[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> Segmentation:
    """Video of T images [H, W, 3] uint8 and a request -> tracklets.

    Images are asked for by index, one after the other, and not kept: a sequence that decodes on demand is enough for
    videos of any length. `progress` is told (frames done, frames to do).

    Raises:
        ValueError: the video has no frame, or `fps` is not positive.
        RequestError: the request is too long.
        DeviceMemoryError: the device's memory does not hold the clip, not even half of its frames.
    """
    if not fps > 0:
        raise ValueError(f"fps is {fps}: wanted a positive number")
    clip = [ClipFrame(t / fps, partial(video.__getitem__, t)) for t in range(len(video))]

    response, found = finish(
        in_steps(lambda frames: _found(model, text, clip, frames, history), model.config.clip_frames)
    )
    with torch.inference_mode():
        tracklets = _carried(model, clip, response, found, progress)
    return Segmentation(
        words_of(response, found),
        response.generated.raw,
        response.generated.finish,
        response.encoded.chosen,
        tuple(tracklets),
    )


def _found(
    model: ViLLaModel, text: str, clip: Sequence[ClipFrame], frames: int, history: Sequence[tuple[str, str]]
) -> Generator[SlowStep, None, tuple[ModelResponse, list[GroundedObject]]]:
    response = yield from ask(model, text, clip, frames, history, newest=False)
    moments = [Moment(index, clip[index].stamp_s) for index in response.encoded.chosen]
    found = yield from ground(model, response, moments)
    return response, found


def _carried(
    model: ViLLaModel,
    clip: Sequence[ClipFrame],
    response: ModelResponse,
    found: list[GroundedObject],
    progress: Progress | None,
) -> list[Tracklet]:
    """Forward and back from each object's oldest seed, in memories of their own."""
    length = len(clip)
    drawn: list[list[RleMask | None]] = [[None] * length for _ in found]
    present = [[0.0] * length for _ in found]
    begins = [response.encoded.chosen[min(thing.seeds)] for thing in found]
    seeded = [{response.encoded.chosen[at]: at for at in thing.seeds} for thing in found]
    encoded = dict(zip(response.encoded.chosen, response.encoded.features, strict=True))
    memories = [memory_of(model, thing) for thing in found]
    back = [memory.copy(reverse=True) for memory in memories]
    forward = range(min(begins, default=length), length)
    backward = range(max(begins, default=0) - 1, -1, -1)
    total = len(forward) + len(backward)
    for done, t in enumerate((*forward, *backward)):
        onward = done < len(forward)
        held = memories if onward else back
        due = [k for k, begin in enumerate(begins) if (t > begin if onward else t < begin) and t not in seeded[k]]
        shown = [k for k in range(len(found)) if onward and t in seeded[k]]
        image = clip[t].rgb() if due or shown else None
        if image is not None:
            for k in shown:
                at = seeded[k][t]
                present[k][t] = found[k].chances[at]
                drawn[k][t] = _encoded(found[k].logits[at], image)
        if image is not None and due:
            moment = Moment(t, clip[t].stamp_s)
            features = encoded[t] if t in encoded else model.encode(image)
            seen = model.segmenter.carry([held[k] for k in due], features, moment)
            finite("the masks of a frame", seen.logits, seen.present)
            for row, k in enumerate(due):
                present[k][t] = float(seen.present[row].float().sigmoid())
                logits = on_cpu(seen.logits[row]) if visible(model, present[k][t]) else None
                drawn[k][t] = _encoded(logits, image)
        if progress is not None:
            progress(done + 1, total)
    return [
        Tracklet(thing.name, thing.score, response.encoded.chosen[thing.key], tuple(drawn[k]), tuple(present[k]))
        for k, thing in enumerate(found)
    ]


def _encoded(logits: Logits | None, image: Rgb) -> RleMask | None:
    """Mask logits [h, w] -> RLE at the image's own size; None where nothing is inside."""
    if logits is None:
        return None
    mask = masks.of_logits(logits, *image.shape[:2])
    return mask if mask.area else None
