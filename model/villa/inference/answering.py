"""From a request to what the language model says about a clip: the first half of a slow pass, in small steps."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from villa.inference.finite import NotFiniteError, finite
from villa.interface import ClipFrame, Rgb, SlowStep, Stage
from villa.modeling import key_segment_sampler
from villa.modeling.language import answer_text
from villa.modeling.language.causal import CausalLLM
from villa.modeling.language.interface import Inputs, Visual, next_position
from villa.modeling.language.refusal import Refusal
from villa.modeling.language.tokenizer import Prompt
from villa.modeling.objects.recogniser import Recognised
from villa.modeling.objects.referring_head import Sighting, chosen, tokens_of
from villa.modeling.segmenters.interface import Pyramid, joined
from villa.modeling.villa import ViLLaModel, clip_times

PREFILL_TOKENS = 64  # read in one step on a CPU, so that a fast pass need not wait longer than 100 ms
PREFILL_TOKENS_GPU = 512
CANDIDATES_PER_FRAME = 4  # at most 4 T_l candidates are looked at
_THUMBNAIL_PX = (16, 12)


@dataclass(frozen=True)
class GeneratedAnswer:
    """What the language model said about K objects on T frames."""

    raw: str
    finish: str  # "stop" | "length"
    states: Tensor  # h_v [K, D]
    confidence: tuple[float, ...]  # probability of each [SEG]
    frames: Tensor  # h_f [K, T, D]
    words: Tensor  # [L, D]: the request and what it follows up on, as read
    marked: tuple[Sighting, ...] = ()  # what was found to be meant before a word was said, from left to right


@dataclass(frozen=True)
class EncodedClip:
    """The frames of a clip that a request is about."""

    chosen: tuple[int, ...]  # of the offered frames, ascending
    stamps_s: tuple[float, ...]
    features: list[Pyramid]
    pyramid: Pyramid  # all of them joined
    times_s: Tensor  # [T] seconds before the newest
    visual: Visual  # what the language model sees of them


@dataclass(frozen=True)
class ModelResponse:
    """An answer, and the frames it is about."""

    generated: GeneratedAnswer
    answer: answer_text.Answer
    encoded: EncodedClip


def ask(
    model: ViLLaModel,
    text: str,
    clip: Sequence[ClipFrame],
    frames: int,
    history: Sequence[tuple[str, str]] = (),
    track_features: Sequence[Tensor] = (),
    *,
    newest: bool = True,
) -> Generator[SlowStep, None, ModelResponse]:
    """Look at no more than `frames` frames of a clip and answer; `newest`: the last frame is always among them.

    `history` are earlier (request, answer) pairs, `track_features` the pooled features [C] of the tracks that `[SEG]`
    stands for in them.

    Raises:
        ValueError: the clip is empty.
        RequestError: the request is too long.
    """
    encoded = yield from encode_clip(model, text, clip, frames, newest=newest)
    prompt = prompt_about(model, encoded, text, history)
    generated = yield from say(model, prompt, encoded.visual, encoded.times_s, track_features)
    return ModelResponse(generated, answer_text.read(generated.raw), encoded)


def prompt_about(model: ViLLaModel, encoded: EncodedClip, text: str, history: Sequence[tuple[str, str]]) -> Prompt:
    """What is to be read of a request about these frames; raises RequestError where it is too long."""
    ages, limit = clip_times(encoded.stamps_s), model.config.max_request_tokens
    return model.language.prompt(text, history, encoded.visual, ages, limit)


def encode_clip(
    model: ViLLaModel, text: str, clip: Sequence[ClipFrame], frames: int, *, newest: bool
) -> Generator[SlowStep, None, EncodedClip]:
    """Choose the frames of a clip, encode them and see them.

    Raises:
        ValueError: the clip is empty.
    """
    if not clip:
        raise ValueError("the clip holds no frame: wanted at least one")
    chosen, images = yield from choose(model, text, clip, frames, newest=newest)
    features: list[Pyramid] = []
    looked_at = model.language.glances(len(chosen))
    for done, index in enumerate(chosen):
        ready = clip[index].features
        if index not in images and (ready is None or done in looked_at):
            images[index] = clip[index].rgb()
        features.append(model.encode(images[index]) if ready is None else ready)
        yield SlowStep(Stage.BUFFERING, (done + 1) / len(chosen))
    stamps = [clip[index].stamp_s for index in chosen]
    pyramid = joined(features)
    times = torch.tensor(clip_times(stamps), dtype=torch.float32, device=model.device)
    visual = yield from see(model, [images[chosen[at]] for at in looked_at], pyramid, times)
    finite("the features of the clip", visual.tokens)
    if visual.scene is not None:
        finite("the things found on the clip", visual.scene.proposals.scores, visual.scene.states)
    return EncodedClip(tuple(chosen), tuple(stamps), features, pyramid, times, visual)


def choose(
    model: ViLLaModel, text: str, clip: Sequence[ClipFrame], wanted: int, *, newest: bool
) -> Generator[SlowStep, None, tuple[list[int], dict[int, Rgb]]]:
    """Indices of the clip frames to use, ascending, and the images already decoded on the way."""
    images: dict[int, Rgb] = {}
    if model.config.clip_choice == "first":
        first = list(range(min(wanted, len(clip))))
        return (key_segment_sampler.even(len(clip), len(first)) if newest else first), images
    candidates = key_segment_sampler.even(len(clip), min(len(clip), CANDIDATES_PER_FRAME * wanted))
    stamps = [clip[index].stamp_s for index in candidates]
    by_stamps = key_segment_sampler.undescribed(stamps, wanted)
    if by_stamps is not None:
        return [candidates[i] for i in by_stamps], images
    known = [clip[index].features for index in candidates]
    # Features and thumbnails cannot be compared: it is all of one or all of the other.
    encoded = all(features is not None for features in known)
    descriptors = []
    for done, (index, features) in enumerate(zip(candidates, known, strict=True)):
        if encoded:
            descriptors.append(model.describe(features))  # type: ignore[arg-type]
        else:
            images[index] = clip[index].rgb()
            descriptors.append(_thumbnail(images[index]))
        if done % 4 == 3:
            yield SlowStep(Stage.BUFFERING, 0.0)
    words = model.language.embed(model.language.ids(model.codec.request_ids(text)))
    query = words.float().mean(dim=0).to(model.sampler.relevance.weight.dtype)
    picked = [candidates[i] for i in model.sampler.choose(stamps, np.stack(descriptors), wanted, query)]
    return picked, {index: images[index] for index in picked if index in images}


def see(
    model: ViLLaModel, images: Sequence[Rgb], pyramid: Pyramid, times_s: Tensor
) -> Generator[SlowStep, None, Visual]:
    """T frames -> visual tokens, a frame a step where images are looked at; those of the frames of `glances(T)`."""
    language = model.language
    if not language.needs_pixels:
        assert isinstance(language, CausalLLM)
        seen = []
        for image, frame in zip(images, language.glances(len(times_s)), strict=True):
            seen.append(language.glance((image,), (frame,)))
            yield SlowStep(Stage.BUFFERING, 1.0)
        looking = language.seen_in_parts(pyramid, times_s, Recognised.joined(seen) if seen else None)
        return (yield from _told(looking))
    height, width = images[-1].shape[:2]  # a camera may have changed its size within the clip
    parts = []
    for index, image in enumerate(images):
        same = image if image.shape[:2] == (height, width) else cv2.resize(image, (width, height))
        parts.append(language.see((np.asarray(same, np.uint8),), None, times_s[index : index + 1]))
        yield SlowStep(Stage.BUFFERING, (index + 1) / len(images))
    return Visual.joined(parts)


def _told(parts: Generator[None, None, Visual]) -> Generator[SlowStep, None, Visual]:
    """Each part of what is looked at as a step of the slow pass."""
    while True:
        try:
            next(parts)
        except StopIteration as done:
            visual: Visual = done.value
            return visual
        yield SlowStep(Stage.BUFFERING, 1.0)


def say(
    model: ViLLaModel, prompt: Prompt, visual: Visual, times_s: Tensor, track_features: Sequence[Tensor] = ()
) -> Generator[SlowStep, None, GeneratedAnswer]:
    """Read the prompt, write the answer greedily, then run the `[FRM]` tokens of each `[SEG]`.

    `track_features` are the pooled features [C] of the tracks that the prompt refers to, one for each of
    `prompt.tracks`.
    """
    language, codec = model.language, model.codec
    cache = language.new_cache()
    video = language.video_inputs(prompt, visual)
    tail = language.text_inputs(
        tail_embeds(model, prompt, visual, times_s, track_features), next_position(video.positions)
    )
    length, total = 0, len(video) + len(tail)
    for part in (video, tail):
        read: list[Tensor] = []
        for chunk in part.chunks(PREFILL_TOKENS if model.device.type == "cpu" else PREFILL_TOKENS_GPU):
            read.append(language.read(chunk, cache=cache))
            length += len(chunk)
            yield SlowStep(Stage.DECODING, 0.7 * length / total)
    words = torch.cat(read)
    state = words[-1]
    position = next_position(tail.positions)
    marked = focused(model, prompt, visual)
    shown = tokens_of(marked, visual.tokens)
    if len(shown):
        state = language.read(language.text_inputs(shown, position), cache=cache)[-1]
        length, position = length + len(shown), position + len(shown)
    ids: list[int] = []
    seg_at: list[int] = []  # in the cache
    positions: list[int] = []
    states: list[Tensor] = []
    confidence: list[float] = []
    finish = "length"
    # Models from elsewhere say that something is not there in words of their own.
    refusal = Refusal(codec, codec.decode(prompt.tail)) if isinstance(language, CausalLLM) else None
    for count in range(model.config.max_new_tokens):
        scores = language.logits(state).float().softmax(dim=-1)
        token = _likeliest(scores, refusal.allowed(ids) if refusal else None)
        if token == codec.end_id:
            finish = "stop"
            break
        if not math.isfinite(float(scores[token])):
            raise NotFiniteError("the scores of the next word hold NaN: get the checkpoint anew, or run it in float32")
        ids.append(token)
        word = language.text_inputs(language.embed(language.ids([token])), position + count)
        state = language.read(word, cache=cache)[-1]
        if token == codec.seg_id:
            seg_at.append(length + count)
            positions.append(position + count)
            states.append(state)
            confidence.append(float(scores[token]))
        partial = answer_text.read(codec.decode(ids)).text
        yield SlowStep(Stage.DECODING, 0.7 + 0.3 * (count + 1) / model.config.max_new_tokens, partial)
    raw = codec.decode(ids)
    if not states:
        nothing = visual.tokens.new_zeros(0, language.width)
        return GeneratedAnswer(raw, finish, nothing, (), nothing[:, None], words, tuple(marked))
    h_v = torch.stack(states)
    h_f = frame_states(model, h_v, times_s, seg_at, positions, cache)
    yield SlowStep(Stage.DECODING, 1.0, answer_text.read(raw).text)
    return GeneratedAnswer(raw, finish, h_v, tuple(confidence), h_f, words, tuple(marked))


def _likeliest(scores: Tensor, allowed: Sequence[int] | None) -> int:
    """The token with the highest score, of all or of those that are allowed."""
    return int(scores.argmax()) if allowed is None else max(allowed, key=lambda token: float(scores[token]))


def focused(model: ViLLaModel, prompt: Prompt, visual: Visual) -> list[Sighting]:
    """What a request is about; nothing where the model is not told of things."""
    if visual.scene is None:
        return []
    (logits,) = model.refer([prompt.tail], visual.scene)
    finite("the scores of what is meant", logits)
    return chosen(logits, visual.scene)


def tail_embeds(
    model: ViLLaModel, prompt: Prompt, visual: Visual, times_s: Tensor, track_features: Sequence[Tensor] = ()
) -> Tensor:
    """The words after the video [L, D]: the request's own have looked at the frames, tracks show themselves."""
    tail = model.language.embed(model.language.ids(prompt.tail))
    start, stop = prompt.request
    parts = [tail[:start], model.enriched(tail[start:stop], visual, times_s), tail[stop:]]
    whole = torch.cat(parts)
    if track_features:
        at = model.language.ids(prompt.tracks)
        tokens = torch.stack([model.track_token(one) for one in track_features])
        whole = whole.index_copy(0, at, tokens.to(whole.dtype))
    return whole


def frame_states(
    model: ViLLaModel,
    states: Tensor,
    times_s: Tensor,
    seg_at: Sequence[int],
    positions: Sequence[int],
    cache: DynamicCache,
) -> Tensor:
    """h_f [K, T, D]: one forward of the `[FRM]` groups on the answer's cache, which is cropped back.

    Each object's tokens see the prompt, the answer up to its `[SEG]` (at `seg_at` in the cache, at `positions` in the
    sequence) and each other, never another object's.
    """
    language = model.language
    count, frames = len(states), len(times_s)
    queries = model.frame_inputs(states, times_s).flatten(0, 1)
    at = language.ids(seg_at)
    length = int(cache.get_seq_length())
    own = torch.arange(count, device=states.device).repeat_interleave(frames)
    past = torch.arange(length, device=states.device)[None, :] <= at.repeat_interleave(frames)[:, None]
    visible = torch.cat((past, own[:, None] == own[None, :]), dim=1)
    parts = [language.text_inputs(queries[:frames], position + 1).positions for position in positions]
    read = language.read(Inputs(queries, torch.cat(parts, dim=1)), cache=cache, visible=visible)
    cache.crop(-len(queries))
    return read.reshape(count, frames, -1)


def _thumbnail(rgb: Rgb) -> NDArray[np.float32]:
    small = cv2.resize(rgb, _THUMBNAIL_PX, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray((small - small.mean()).reshape(-1), np.float32)
