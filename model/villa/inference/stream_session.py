"""Streaming: a session answers requests about a clip and carries its objects from frame to frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from villa.inference.answering import ask
from villa.inference.association import Candidate, Link, link
from villa.inference.finite import finite
from villa.inference.grounding import GroundedObject, ground, memory_of, on_cpu, pooled, visible, words_of
from villa.inference.out_of_memory import DeviceMemoryError, in_steps, release
from villa.interface import (
    ClipFrame,
    ObjectResult,
    RequestResult,
    Rgb,
    SlowStep,
    Stage,
    TrackOutput,
    Turn,
)
from villa.modeling.language.tokenizer import SEG
from villa.modeling.segmenters.interface import Masks, Memory, Moment, Pyramid
from villa.modeling.villa import ViLLaModel

RING_FRAMES = 32  # that a session keeps itself, where the caller keeps none
EXPIRE_MISSES = 3  # answers to the same request in a row without the object
RESEED_IOU = 0.7  # a track that overlaps its new mask less than this begins anew from that
_HISTORY_TURNS = 4


class RequestCanceledError(RuntimeError):
    """`Session.cancel` was called while the request was at work."""


@dataclass(eq=False)
class SessionTrack:
    """A live object."""

    key: int
    memory: Memory
    name: str
    request: str  # the words that meant it
    prompt: Tensor  # p [C]
    mask: NDArray[np.bool_] | None  # [h, w] on the newest frame; None: not visible
    features: Tensor | None = None  # pooled features [C] where it was seen last
    misses: int = 0  # later answers to the same request that did not name it


class StreamSession:
    """The tracks of one camera's stream; see `villa.interface.Session`. Streams may be of any length."""

    def __init__(self, model: ViLLaModel) -> None:
        self._model = model
        self._tracks: dict[int, SessionTrack] = {}
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
        """End the request at work, or about to be: its next step raises RequestCanceledError. Tracks stay."""
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

    def _carry(self, tracks: list[SessionTrack], features: Pyramid, moment: Moment) -> list[TrackOutput]:
        if not tracks:
            return []
        masks = self._masks_at([track.memory for track in tracks], features, moment)
        finite("the masks of a frame", masks.logits, masks.present, masks.iou)
        present = masks.present.float().sigmoid().tolist()
        quality = masks.iou.float().tolist()
        drawn = on_cpu(masks.logits)  # one copy from the device for all
        outputs = []
        for row, track in enumerate(tracks):
            logits = drawn[row] if visible(self._model, present[row]) else None
            track.mask = None if logits is None else logits > 0
            if self._model.config.blocks.track_tokens and logits is not None:
                track.features = pooled(features, masks.logits[row])
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
        turns are read (an empty one begins anew). A new request cancels one that is still at work.

        Raises:
            ValueError: the clip is empty.
            RequestError: the request is too long.
            RequestCanceledError: `cancel` was called.
            DeviceMemoryError: the device's memory does not hold the pass, not even with half of the frames.
        """
        clip = list(self._ring) if clip is None else clip
        read = tuple(self._turns) if history is None else tuple(history)
        self._running += 1
        return self._until_canceled(text, clip, read, self._running)

    def _until_canceled(
        self, text: str, clip: Sequence[ClipFrame], history: Sequence[Turn], running: int
    ) -> Generator[SlowStep, None, RequestResult]:
        steps = in_steps(lambda frames: self._request(text, clip, history, frames), self._model.config.clip_frames)
        try:
            while True:
                if self._running != running:
                    raise RequestCanceledError(f"the request {text[:60]!r} was canceled")
                try:
                    step = next(steps)
                except StopIteration as done:
                    result: RequestResult = done.value
                    self._turns.append(_turn(text, result))
                    return result
                yield step
        finally:
            steps.close()

    def _request(
        self, text: str, clip: Sequence[ClipFrame], history: Sequence[Turn], frames: int
    ) -> Generator[SlowStep, None, RequestResult]:
        model = self._model
        earlier, track_features = self._earlier(history)
        response = yield from ask(model, text, clip, frames, earlier, track_features)
        length = len(response.encoded.chosen)
        # The clip's frames come before the stream's next one.
        moments = [Moment(self._frames - length + t, stamp) for t, stamp in enumerate(response.encoded.stamps_s)]
        found = yield from ground(model, response, moments)
        tracks = [self._begun(text, thing) for thing in found]
        for t in range(length):
            going = [track for track, thing in zip(tracks, found, strict=True) if thing.last_seed < t]
            if going:
                self._carry(going, response.encoded.features[t], moments[t])
                yield SlowStep(Stage.TRACKING, (t + 1) / length)
        # Only now do the tracks exist: a pass that is closed earlier leaves the session as it was.
        keys = self._settle(text, tracks)
        objects = tuple(
            ObjectResult(key, thing.name, thing.score, thing.key, thing.logits)
            for key, thing in zip(keys, found, strict=True)
        )
        return RequestResult(
            text=words_of(response, found),
            raw_text=response.generated.raw,
            seg_offsets=tuple(response.answer.offsets[thing.number] for thing in found),
            finish_reason=response.generated.finish,
            clip_index=response.encoded.chosen,
            objects=objects,
        )

    def _begun(self, text: str, thing: GroundedObject) -> SessionTrack:
        newest = thing.logits[-1]
        return SessionTrack(
            key=0,
            memory=memory_of(self._model, thing),
            name=thing.name,
            request=text,
            prompt=thing.prompt,
            mask=None if newest is None else newest > 0,
            features=thing.features,
        )

    def _earlier(self, history: Sequence[Turn]) -> tuple[list[tuple[str, str]], list[Tensor]]:
        """Earlier turns as (request, answer), with a `[SEG]` for each live track, and the tracks' features."""
        told: list[tuple[str, str]] = []
        track_features: list[Tensor] = []
        for turn in history:
            text, at, live = "", 0, []
            for key, offset in zip(turn.keys, turn.offsets, strict=False):
                track = self._tracks.get(key) if self._model.config.blocks.track_tokens else None
                if track is not None and track.features is not None:
                    text += turn.answer[at:offset] + SEG
                    at = offset
                    live.append(track.features)
            told.append((turn.request, text + turn.answer[at:]))
            track_features += live
        return told, track_features

    def _settle(self, text: str, new: list[SessionTrack]) -> list[int]:
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


def _take_over(old: SessionTrack, new: SessionTrack, found: Link) -> None:
    """An object that is already tracked was meant again: the newer words hold, and its memory where the old is bad."""
    new.key = old.key
    old.name, old.request, old.prompt, old.misses = new.name, new.request, new.prompt, 0
    if old.mask is None or found.iou < RESEED_IOU:
        old.memory, old.mask, old.features = new.memory, new.mask, new.features


def _candidate(track: SessionTrack) -> Candidate:
    return Candidate(track.mask, np.asarray(track.prompt.float().cpu().numpy(), np.float32), track.name)


def _turn(text: str, result: RequestResult) -> Turn:
    return Turn(text, result.text, tuple(found.key for found in result.objects), result.seg_offsets)


def _same(image: Rgb) -> Rgb:
    return image
