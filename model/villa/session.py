"""Streaming: a session answers requests about a clip and carries its objects from frame to frame."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from villa import answers, sampler
from villa.encoder import Pyramid
from villa.interface import (
    ClipFrame,
    Logits,
    ObjectResult,
    RequestResult,
    Rgb,
    SlowStep,
    Stage,
    TrackOutput,
    Turn,
)
from villa.memory import Track, batch, split, stack
from villa.model import Features, ViLLa, clip_times, key_frame
from villa.propagator import Memory

PREFILL_TOKENS = 64
CANDIDATES_PER_FRAME = 4  # at most 4 T_l candidates are looked at
_THUMBNAIL_PX = (16, 12)
_SURE = 0.5  # predicted IoU times presence that a look needs to be remembered


@dataclass(frozen=True)
class _Generated:
    """What the language model said."""

    raw: str
    finish: str
    states: Tensor  # h_v [K, D]
    confidence: tuple[float, ...]  # probability of each [SEG]
    frames: Tensor  # h_f [K, T, D]


class StreamSession:
    """The tracks of one camera's stream; see `villa.interface.Session`."""

    def __init__(self, model: ViLLa) -> None:
        self._model = model
        self._tracks: dict[int, Track] = {}
        self._next_key = 1

    @property
    def keys(self) -> tuple[int, ...]:
        """Handles of the live tracks."""
        return tuple(self._tracks)

    def drop(self, keys: Sequence[int]) -> None:
        """Forget these tracks; unknown keys are ignored."""
        for key in keys:
            self._tracks.pop(key, None)

    # -- fast pass -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def step(self, features: Features, stamp_s: float) -> list[TrackOutput]:
        """Carry every live track on to one new frame."""
        return self._carry(list(self._tracks.values()), features, stamp_s)

    def _carry(self, tracks: list[Track], features: Features, stamp_s: float) -> list[TrackOutput]:
        model = self._model
        outputs: dict[int, TrackOutput] = {}
        for indices in batch(tracks):
            group = [tracks[i] for i in indices]
            frame = torch.zeros(len(group), dtype=torch.long, device=model.device)
            memories = [_aged(memory, stamp_s, model.device) for memory in stack(group)]
            masks = model.propagate(memories, features.tokens, features.pyramid, frame, 0.0)
            present = masks.present.float().sigmoid()
            quality = masks.iou.float()
            sure = (present * quality > _SURE).tolist()
            if any(sure):
                image = features.tokens.expand(len(group), -1, -1)
                seen = model.remember(image, masks.logits, masks.token, memories[0].prompt, stamp_s)
                for row, track in enumerate(group):
                    if sure[row]:
                        track.add(split(seen, row), model.config.propagator.memories - 1)
            for row, track in enumerate(group):
                visible = bool(present[row] > 0.5)
                outputs[track.key] = TrackOutput(
                    key=track.key,
                    logits=_logits(masks.logits[row]) if visible else None,
                    mask_score=float(quality[row]),
                    present_score=float(present[row]),
                )
        return [outputs[track.key] for track in tracks]

    # -- slow pass -----------------------------------------------------------------------------------------------

    def request(
        self, text: str, clip: Sequence[ClipFrame], history: Sequence[Turn] = ()
    ) -> Generator[SlowStep, None, RequestResult]:
        """Answer `text` about `clip`; see `villa.interface.Session.request`.

        Raises:
            ValueError: the clip is empty.
        """
        if not clip:
            raise ValueError("the clip holds no frame: wanted at least one")
        # inference_mode is per thread and must not leak to the caller between steps.
        steps = self._request(text, clip, history)
        while True:
            try:
                with torch.inference_mode():
                    step = next(steps)
            except StopIteration as done:
                result: RequestResult = done.value
                return result
            yield step

    def _request(
        self, text: str, clip: Sequence[ClipFrame], history: Sequence[Turn]
    ) -> Generator[SlowStep, None, RequestResult]:
        model = self._model
        chosen, images = yield from self._choose(clip)
        features: list[Features] = []
        for done, index in enumerate(chosen):
            ready = clip[index].features
            if ready is None:
                ready = model.encode(images[index] if index in images else clip[index].rgb())
            features.append(ready)
            yield SlowStep(Stage.BUFFERING, (done + 1) / len(chosen))
        stamps = [clip[index].stamp_s for index in chosen]
        pyramid, tokens = _joined(features)
        times = torch.tensor(clip_times(stamps), dtype=torch.float32, device=model.device)
        said = yield from self._answer(text, history, pyramid, times)
        answer = answers.read(said.raw)
        kept: dict[int, ObjectResult] = {}
        if len(said.states):
            kept = yield from self._masks(said, answer, features, pyramid, tokens, stamps)
        words = answer.text
        if len(said.states) and not kept:
            words = answers.ABSENT  # a name without an object is not an answer
        return RequestResult(
            text=words,
            raw_text=said.raw,
            seg_offsets=tuple(answer.offsets[i] for i in kept),
            finish_reason=said.finish,
            clip_index=tuple(chosen),
            objects=tuple(kept.values()),
        )

    def _choose(
        self, clip: Sequence[ClipFrame]
    ) -> Generator[SlowStep, None, tuple[list[int], dict[int, Rgb]]]:
        """Indices of the clip frames to use, and the images already decoded on the way."""
        wanted = self._model.config.clip_frames
        candidates = sampler.even(len(clip), min(len(clip), CANDIDATES_PER_FRAME * wanted))
        if len(candidates) <= wanted:
            return candidates, {}
        images: dict[int, Rgb] = {}
        thumbnails = []
        for done, index in enumerate(candidates):
            images[index] = clip[index].rgb()
            thumbnails.append(_thumbnail(images[index]))
            if done % 4 == 3:
                yield SlowStep(Stage.BUFFERING, 0.0)
        stamps = [clip[index].stamp_s for index in candidates]
        picked = [candidates[i] for i in sampler.choose(stamps, np.stack(thumbnails), wanted)]
        return picked, {index: images[index] for index in picked}

    def _answer(
        self, text: str, history: Sequence[Turn], pyramid: Pyramid, times: Tensor
    ) -> Generator[SlowStep, None, _Generated]:
        model, codec, language = self._model, self._model.codec, self._model.language
        device = model.device
        visual = model.visual_tokens(pyramid, times)
        earlier = " ".join(f"{turn.request} {turn.answer}" for turn in history)
        prompt = codec.prompt(text, earlier, model.config.max_request_tokens)
        head = language.embed(torch.tensor(prompt.head, device=device))
        tail = language.embed(torch.tensor(prompt.tail, device=device))
        start, stop = prompt.request
        words = model.synthesizer(tail[start:stop], visual, times)
        inputs = torch.cat((head, visual.flatten(0, 1), tail[:start], words, tail[stop:]))
        cache = language.new_cache()
        state = inputs[:0]
        for at in range(0, len(inputs), PREFILL_TOKENS):
            state = language(inputs[None, at : at + PREFILL_TOKENS], cache=cache)[0, -1]
            yield SlowStep(Stage.DECODING, 0.7 * min(1.0, (at + PREFILL_TOKENS) / len(inputs)))
        ids: list[int] = []
        seg_at: list[int] = []
        states: list[Tensor] = []
        confidence: list[float] = []
        finish = "length"
        length = len(inputs)
        for count in range(model.config.max_new_tokens):
            scores = language.logits(state).float().softmax(dim=-1)
            token = int(scores.argmax())
            if token == codec.end_id:
                finish = "stop"
                break
            ids.append(token)
            state = language(language.embed(torch.tensor([token], device=device))[None], cache=cache)[0, -1]
            if token == codec.seg_id:
                seg_at.append(length + count)
                states.append(state)
                confidence.append(float(scores[token]))
            partial = answers.read(codec.decode(ids)).text
            yield SlowStep(Stage.DECODING, 0.7 + 0.3 * (count + 1) / model.config.max_new_tokens, partial)
        raw = codec.decode(ids)
        if not states:
            nothing = visual.new_zeros(0, model.config.language.width)
            return _Generated(raw, finish, nothing, (), nothing[:, None])
        video = torch.stack(states)
        frames = self._frame_states(video, times, seg_at, cache)
        yield SlowStep(Stage.DECODING, 1.0, answers.read(raw).text)
        return _Generated(raw, finish, video, tuple(confidence), frames)

    def _frame_states(self, video: Tensor, times: Tensor, seg_at: list[int], cache: object) -> Tensor:
        """h_f [K, T, D]: one forward of the [FRM] groups on the answer's cache, which is cropped back."""
        model = self._model
        count, frames = len(video), len(times)
        device = video.device
        queries = model.frame_inputs(video, times).flatten(0, 1)[None]
        at = torch.tensor(seg_at, device=device)
        length = int(cache.get_seq_length())  # type: ignore[attr-defined]
        positions = (at[:, None] + 1 + torch.arange(frames, device=device)).reshape(1, -1)
        own = torch.arange(count, device=device).repeat_interleave(frames)
        past = torch.arange(length, device=device)[None, :] <= at.repeat_interleave(frames)[:, None]
        visible = torch.cat((past, own[:, None] == own[None, :]), dim=1)[None, None]
        states = model.language(queries, positions=positions, visible=visible, cache=cache)[0]
        cache.crop(-queries.shape[1])  # type: ignore[attr-defined]
        return states.unflatten(0, (count, frames))  # type: ignore[no-any-return]

    def _masks(
        self,
        said: _Generated,
        answer: answers.Answer,
        features: list[Features],
        pyramid: Pyramid,
        tokens: Tensor,
        stamps: list[float],
    ) -> Generator[SlowStep, None, dict[int, ObjectResult]]:
        """Masks of every clip frame, seeds carried to the newest one; objects by the number of their [SEG]."""
        model = self._model
        count, frames = said.frames.shape[:2]
        prompts = model.synchronizer(
            model.to_video_prompt(said.states), model.to_frame_prompt(said.frames), tokens
        )
        looks = []
        for t in range(frames):
            index = torch.full((count,), t, dtype=torch.long, device=model.device)
            looks.append(model.decode(prompts.frames[:, t], tokens, pyramid, index))
            yield SlowStep(Stage.SEGMENTING, (t + 1) / frames)
        present = torch.stack([look.present for look in looks], dim=1).float()  # [K, T]
        key = key_frame(present, prompts.key_scores.float())
        least = model.config.least_presence
        alive = [k for k in range(count) if float(present[k].max().sigmoid()) > least]
        results: dict[int, ObjectResult] = {}
        seeded: list[tuple[int, Track]] = []
        for k in alive:
            # A key frame on which the object is not seen cannot seed.
            at = int(key[k]) if present[k, key[k]] > 0 else int(present[k].argmax())
            look = looks[at]
            own = slice(k, k + 1)
            seed = model.remember(
                tokens[at : at + 1], look.logits[own], look.token[own], prompts.frames[own, at], stamps[at]
            )
            track = Track(self._next_key, seed)
            self._next_key += 1
            seeded.append((at, track))
            score = float(present[k, at].sigmoid()) * float(look.iou[k]) * said.confidence[k]
            logits = tuple(
                _logits(looks[t].logits[k]) if present[k, t] > 0 else None for t in range(frames)
            )
            results[k] = ObjectResult(track.key, answer.names[k], score, at, logits)
        for t in range(frames):
            going = [track for at, track in seeded if at < t]
            if going:
                self._carry(going, features[t], stamps[t])
                yield SlowStep(Stage.TRACKING, (t + 1) / frames)
        # Only now do the tracks exist: a pass that is closed earlier leaves the session as it was.
        for _, track in seeded:
            self._tracks[track.key] = track
        return results


def _aged(memory: Memory, now_s: float, device: torch.device) -> Memory:
    """The same memory with its time counted from now: stamps since 1970 do not fit a float32."""
    ages = [stamp - now_s for stamp in memory.time_s.tolist()] if isinstance(memory.time_s, Tensor) else [0.0]
    return replace(memory, time_s=torch.tensor(ages, dtype=torch.float32, device=device))


def _joined(features: list[Features]) -> tuple[Pyramid, Tensor]:
    """Single frames -> one pyramid and image tokens [T, S, C]."""
    pyramids = [f.pyramid for f in features]
    pyramid = Pyramid(
        torch.cat([p.s4 for p in pyramids]),
        torch.cat([p.s8 for p in pyramids]),
        torch.cat([p.s16 for p in pyramids]),
        torch.cat([p.s32 for p in pyramids]),
    )
    return pyramid, torch.cat([f.tokens for f in features])


def _logits(x: Tensor) -> Logits:
    return np.asarray(x.float().cpu().numpy(), np.float32)


def _thumbnail(rgb: Rgb) -> NDArray[np.float32]:
    small = cv2.resize(rgb, _THUMBNAIL_PX, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray((small - small.mean()).reshape(-1), np.float32)
