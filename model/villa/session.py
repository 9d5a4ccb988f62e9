"""Streaming: a session answers requests about a clip and carries its objects from frame to frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from villa import answers, sampler
from villa.answering import Said, say, see
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
from villa.linker import Candidate, Link, link
from villa.model import ViLLa, clip_times, key_frame
from villa.out_of_memory import DeviceMemoryError, release
from villa.segmenter import Masks, Memory, Moment, Pyramid, joined
from villa.tokenizer import SEG

CANDIDATES_PER_FRAME = 4  # at most 4 T_l candidates are looked at
RING_FRAMES = 32  # that a session keeps itself, where the caller keeps none
EXPIRE_MISSES = 3  # answers to the same request in a row without the object
RESEED_IOU = 0.7  # a track that overlaps its new mask less than this begins anew from that
_THUMBNAIL_PX = (16, 12)
_HISTORY_TURNS = 4


class RequestCanceledError(RuntimeError):
    """`Session.cancel` was called while the request was at work."""


@dataclass(eq=False)
class Track:
    """A live object."""

    key: int
    memory: Memory
    name: str
    request: str  # the words that meant it
    prompt: Tensor  # p [C]
    mask: NDArray[np.bool_] | None  # [h, w] on the newest frame; None: not visible
    look: Tensor | None = None  # pooled features [C] where it was seen last
    misses: int = 0  # later answers to the same request that did not name it


class StreamSession:
    """The tracks of one camera's stream; see `villa.interface.Session`. Streams may be of any length."""

    def __init__(self, model: ViLLa) -> None:
        self._model = model
        self._tracks: dict[int, Track] = {}
        self._next_key = 1
        self._frames = 0  # carried to so far: the index that the next one gets
        self._ring: deque[ClipFrame] = deque(maxlen=RING_FRAMES)
        self._turns: deque[Turn] = deque(maxlen=_HISTORY_TURNS)
        self._running = 0  # requests begun; a canceled one finds another number here

    @property
    def keys(self) -> tuple[int, ...]:
        """Handles of the live tracks."""
        return tuple(self._tracks)

    def drop(self, keys: Sequence[int]) -> None:
        """Forget these tracks; unknown keys are ignored."""
        for key in keys:
            self._tracks.pop(key, None)

    def cancel(self) -> None:
        """End the request at work, if there is one: its next step raises RequestCanceledError. Tracks stay."""
        self._running += 1

    # -- fast pass -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def step(self, frame: Pyramid | Rgb, stamp_s: float) -> list[TrackOutput]:
        """Carry every live track on to one new frame, an image or its features; one output for each live track.

        Images are also kept, the newest `RING_FRAMES` of them, so that a request needs no clip of its own.
        """
        if isinstance(frame, np.ndarray):
            image, frame = frame, self._model.encode(frame)
            self._ring.append(ClipFrame(stamp_s, partial(_same, image), frame))
        moment = Moment(self._frames, stamp_s)
        self._frames += 1
        return self._carry(list(self._tracks.values()), frame, moment)

    def _carry(self, tracks: list[Track], features: Pyramid, moment: Moment) -> list[TrackOutput]:
        if not tracks:
            return []
        masks = self._masks_at([track.memory for track in tracks], features, moment)
        present = masks.present.float().sigmoid().tolist()
        quality = masks.iou.float().tolist()
        outputs = []
        for row, track in enumerate(tracks):
            logits = _logits(masks.logits[row]) if self._visible(present[row]) else None
            track.mask = None if logits is None else logits > 0
            if self._model.config.blocks.track_tokens and logits is not None:
                track.look = _pooled(features, masks.logits[row])
            outputs.append(TrackOutput(track.key, logits, quality[row], present[row]))
        return outputs

    def _masks_at(self, memories: Sequence[Memory], features: Pyramid, moment: Moment) -> Masks:
        """All objects in one batch; in two, one after the other, where the device has no memory for that."""
        carry = self._model.segmenter.carry
        try:
            return carry(memories, features, moment)
        except torch.OutOfMemoryError as error:
            if len(memories) == 1:
                raise DeviceMemoryError.of(error, "carrying one object to the next frame") from error
        release()
        half = len(memories) // 2
        try:
            return Masks.joined([carry(part, features, moment) for part in (memories[:half], memories[half:])])
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError.of(error, f"carrying {half} objects to the next frame") from error

    # -- slow pass -----------------------------------------------------------------------------------------------

    def request(
        self, text: str, clip: Sequence[ClipFrame] | None = None, history: Sequence[Turn] | None = None
    ) -> Generator[SlowStep, None, RequestResult]:
        """Answer `text` about `clip`; see `villa.interface.Session.request`.

        Without a clip, the images that were given to `step` are looked at; without a history, the session's own last
        turns are read (an empty one begins anew).

        Raises:
            ValueError: the clip is empty.
            RequestError: the request is too long.
            RequestCanceledError: `cancel` was called.
            DeviceMemoryError: the device's memory does not hold the pass, not even with half of the frames.
        """
        clip = list(self._ring) if clip is None else clip
        if not clip:
            raise ValueError("the clip holds no frame: wanted at least one")
        self._running += 1
        running = self._running
        read = tuple(self._turns) if history is None else tuple(history)
        frames = self._model.config.clip_frames
        while True:
            # inference_mode is per thread and must not leak to the caller between steps.
            steps = self._request(text, clip, read, frames)
            try:
                while True:
                    if self._running != running:
                        raise RequestCanceledError(f"the request {text[:60]!r} was canceled")
                    try:
                        with torch.inference_mode():
                            step = next(steps)
                    except StopIteration as done:
                        result: RequestResult = done.value
                        self._turns.append(_turn(text, result))
                        return result
                    yield step
            except torch.OutOfMemoryError as error:
                if frames == 1 or frames < self._model.config.clip_frames:
                    raise DeviceMemoryError.of(error, f"a request about {frames} frame(s)") from error
                frames = max(1, frames // 2)
            finally:
                steps.close()
            release()

    def _request(
        self, text: str, clip: Sequence[ClipFrame], history: Sequence[Turn], frames: int
    ) -> Generator[SlowStep, None, RequestResult]:
        model, codec = self._model, self._model.codec
        query = model.language.embed(model.language.ids(codec.request_ids(text))).float().mean(dim=0)
        chosen, images = yield from self._choose(clip, frames, query.to(model.sampler.relevance.weight.dtype))
        features: list[Pyramid] = []
        for done, index in enumerate(chosen):
            ready = clip[index].features
            if ready is None or (model.language.needs_pixels and index not in images):
                images.setdefault(index, clip[index].rgb())
            features.append(model.encode(images[index]) if ready is None else ready)
            yield SlowStep(Stage.BUFFERING, (done + 1) / len(chosen))
        stamps = [clip[index].stamp_s for index in chosen]
        pyramid = joined(features)
        ages = clip_times(stamps)
        times = torch.tensor(ages, dtype=torch.float32, device=model.device)
        visual = yield from see(model, [images[i] for i in chosen if i in images], pyramid, times)
        earlier, looks = self._earlier(history)
        prompt = model.language.prompt(text, earlier, visual, ages, model.config.max_request_tokens)
        said = yield from say(model, prompt, visual, times, looks)
        answer = answers.read(said.raw)
        kept: dict[int, ObjectResult] = {}
        if len(said.states):
            kept = yield from self._masks(text, said, answer, features, pyramid, stamps)
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
        self, clip: Sequence[ClipFrame], wanted: int, query: Tensor
    ) -> Generator[SlowStep, None, tuple[list[int], dict[int, Rgb]]]:
        """Indices of the clip frames to use, and the images already decoded on the way."""
        model = self._model
        candidates = sampler.even(len(clip), min(len(clip), CANDIDATES_PER_FRAME * wanted))
        images: dict[int, Rgb] = {}
        if len(candidates) <= wanted or model.config.clip_choice == "first":
            return sampler.even(len(clip), min(len(clip), wanted)), images
        stamps = [clip[index].stamp_s for index in candidates]
        known = [clip[index].features for index in candidates]
        descriptors = []
        for done, (index, features) in enumerate(zip(candidates, known, strict=True)):
            # Features and thumbnails cannot be compared: it is all of one or all of the other.
            if all(f is not None for f in known):
                descriptors.append(model.describe(features))  # type: ignore[arg-type]
            else:
                images[index] = clip[index].rgb()
                descriptors.append(_thumbnail(images[index]))
            if done % 4 == 3:
                yield SlowStep(Stage.BUFFERING, 0.0)
        picked = [candidates[i] for i in model.sampler.choose(stamps, np.stack(descriptors), wanted, query)]
        return picked, {index: images[index] for index in picked if index in images}

    def _earlier(self, history: Sequence[Turn]) -> tuple[list[tuple[str, str]], list[Tensor]]:
        """Earlier turns as (request, answer), with a `[SEG]` for each live track to stand for it, and the looks."""
        told: list[tuple[str, str]] = []
        looks: list[Tensor] = []
        for turn in history:
            text, at, live = "", 0, []
            for key, offset in zip(turn.keys, turn.offsets, strict=False):
                track = self._tracks.get(key)
                if track is not None and track.look is not None:
                    text += turn.answer[at:offset] + SEG
                    at = offset
                    live.append(track.look)
            told.append((turn.request, text + turn.answer[at:]))
            looks += live
        return told, looks

    # -- masks of an answer --------------------------------------------------------------------------------------

    def _masks(
        self,
        text: str,
        said: Said,
        answer: answers.Answer,
        features: list[Pyramid],
        pyramid: Pyramid,
        stamps: list[float],
    ) -> Generator[SlowStep, None, dict[int, ObjectResult]]:
        """Masks of every clip frame, seeds carried to the newest one; objects by the number of their [SEG]."""
        model = self._model
        count, frames = said.frames.shape[:2]
        prompts = model.prompts(said.states, said.frames, pyramid.tokens)
        looks: list[Masks] = []
        for t in range(frames):
            index = torch.full((count,), t, dtype=torch.long, device=model.device)
            looks.append(model.segmenter.decode(prompts.frames[:, t], pyramid, index))
            yield SlowStep(Stage.SEGMENTING, (t + 1) / frames)
        present = torch.stack([look.present for look in looks], dim=1).float()  # [K, T]
        key = key_frame(present, prompts.key_scores.float())
        # The clip's frames come before the stream's next one.
        moments = [Moment(self._frames - frames + t, stamps[t]) for t in range(frames)]
        results: dict[int, ObjectResult] = {}
        tracks: dict[int, Track] = {}
        last_seed: dict[int, int] = {}
        for k in range(count):
            chances = present[k].sigmoid().tolist()
            if self._gating and max(chances) <= model.config.least_presence:
                continue
            seen = [t for t in range(frames) if self._visible(chances[t])]
            # A key frame on which the object is not seen cannot seed.
            at = int(key[k]) if int(key[k]) in seen else int(present[k].argmax())
            seeds = seen if model.config.seed_every_frame and seen else [at]
            begun = [
                model.segmenter.seed(
                    looks[t][k : k + 1], prompts.frames[k : k + 1, t], pyramid, key.new_tensor([t]), moments[t : t + 1]
                )[0]
                for t in seeds
            ]
            logits = tuple(_logits(looks[t].logits[k]) if t in seen else None for t in range(frames))
            newest = logits[-1]
            tracks[k] = Track(
                key=0,
                memory=begun[0] if len(begun) == 1 else model.segmenter.join(begun),
                name=answer.names[k],
                request=text,
                prompt=prompts.video[k].clone(),
                mask=None if newest is None else newest > 0,
                look=_pooled(features[at], looks[at].logits[k]) if model.config.blocks.track_tokens else None,
            )
            score = chances[at] * float(looks[at].iou[k]) * said.confidence[k]
            results[k] = ObjectResult(0, answer.names[k], score, at, logits)
            last_seed[k] = seeds[-1]
        for t in range(frames):
            going = [track for k, track in tracks.items() if last_seed[k] < t]
            if going:
                self._carry(going, features[t], moments[t])
                yield SlowStep(Stage.TRACKING, (t + 1) / frames)
        # Only now do the tracks exist: a pass that is closed earlier leaves the session as it was.
        keys = self._settle(text, list(tracks.values()))
        return {k: replace(result, key=key) for (k, result), key in zip(results.items(), keys, strict=True)}

    @property
    def _gating(self) -> bool:
        """Does a low object score hide a mask?"""
        return self._model.config.least_presence > 0

    def _visible(self, present: float) -> bool:
        return present > 0.5 or not self._gating

    def _settle(self, text: str, new: list[Track]) -> list[int]:
        """Live tracks of an answer; a thing that is already tracked keeps its key, and its memory where it is good."""
        old = list(self._tracks.values())
        links = {found.new: found for found in link([_candidate(t) for t in new], [_candidate(t) for t in old])}
        keys = []
        for index, track in enumerate(new):
            found = links.get(index)
            if found is None:
                track.key = self._next_key
                self._next_key += 1
                self._tracks[track.key] = track
            else:
                _take_over(old[found.old], track, found)
            keys.append(track.key)
        for track in old:
            if track.request == text:
                track.misses = 0 if track.key in keys else track.misses + 1
                if track.misses >= EXPIRE_MISSES:
                    self.drop([track.key])
        return keys


def _take_over(old: Track, new: Track, found: Link) -> None:
    """An object that is already tracked was meant again: the newer words hold, and its memory where the old is bad."""
    old.name, old.request, old.prompt, old.misses = new.name, new.request, new.prompt, 0
    if old.mask is None or found.iou < RESEED_IOU:
        old.memory, old.mask, old.look = new.memory, new.mask, new.look


def _candidate(track: Track) -> Candidate:
    return Candidate(track.mask, np.asarray(track.prompt.float().cpu().numpy(), np.float32), track.name)


def _turn(text: str, result: RequestResult) -> Turn:
    return Turn(text, result.text, tuple(found.key for found in result.objects), result.seg_offsets)


def _pooled(features: Pyramid, logits: Tensor) -> Tensor:
    """Mean image token [C] under a mask [H/4, W/4]."""
    image = features.s16[0]
    inside = torch.nn.functional.adaptive_avg_pool2d(
        (logits > 0).to(image.dtype)[None], (image.shape[1], image.shape[2])
    )
    return (image * inside).sum(dim=(1, 2)) / inside.sum().clamp(min=1e-3)


def _same(image: Rgb) -> Rgb:
    return image


def _logits(x: Tensor) -> Logits:
    return np.asarray(x.float().cpu().numpy(), np.float32)


def _thumbnail(rgb: Rgb) -> NDArray[np.float32]:
    small = cv2.resize(rgb, _THUMBNAIL_PX, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray((small - small.mean()).reshape(-1), np.float32)
