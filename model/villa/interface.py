"""What a streaming segmentation model offers to whoever drives it.

The pipeline is written against these types only, so that the trained model, a larger one and a test double are
interchangeable. Arrays are numpy at this border: the caller never touches a device tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]  # [H, W, 3], red first
Logits = NDArray[np.float32]  # [h, w] mask logits on the decoder's grid; > 0 is inside

# Opaque per-frame features, made by `SegmentationModel.encode` and given back to the same model.
FrameFeatures = Any


class Stage(IntEnum):
    """Where a slow pass stands; the numbers are those of villa_msgs/RequestStatus."""

    BUFFERING = 2
    DECODING = 3
    SEGMENTING = 4
    TRACKING = 5


@dataclass(frozen=True)
class ClipFrame:
    """One frame that the slow pass may look at.

    `rgb` decodes on demand, so that frames the sampler does not choose cost nothing; `features` is set when the
    fast pass has already encoded the frame.
    """

    stamp_s: float
    rgb: Callable[[], Rgb]
    features: FrameFeatures | None = None


@dataclass(frozen=True)
class SlowStep:
    """Yielded after each small step of a slow pass, so that the caller can run fast passes and cancel between."""

    stage: Stage
    progress: float  # 0..1
    partial_text: str = ""


@dataclass(frozen=True)
class ObjectResult:
    """One object that the answer names with a `[SEG]` and that is present in the clip."""

    key: int  # the session's handle for the track, unique in the session, never reused
    name: str
    score: float  # 0..1 confidence that this is the object meant and that it is visible
    key_index: int  # into RequestResult.clip_index: the frame the mask was seeded on
    logits: tuple[Logits | None, ...]  # one for each clip frame; None where the object is not visible


@dataclass(frozen=True)
class RequestResult:
    """The outcome of a slow pass. No objects means "not there", which is an answer and no error."""

    text: str  # special tokens removed
    raw_text: str
    seg_offsets: tuple[int, ...]  # Unicode code points into `text`, one for each object in `objects`
    finish_reason: str  # "stop" | "length"
    clip_index: tuple[int, ...]  # which of the offered frames were used, ascending
    objects: tuple[ObjectResult, ...]


@dataclass(frozen=True)
class TrackOutput:
    """One track on one frame, from the fast pass."""

    key: int
    logits: Logits | None  # None: not visible on this frame
    mask_score: float  # predicted IoU, 0..1
    present_score: float  # probability that the object is visible, 0..1


@dataclass(frozen=True)
class Turn:
    """An earlier request and its answer, for follow-up requests."""

    request: str
    answer: str
    keys: tuple[int, ...] = field(default=())
    offsets: tuple[int, ...] = field(default=())  # where in `answer` each of `keys` was named; code points


class Session(Protocol):
    """The tracks of one camera's stream. Not thread-safe: one worker owns the model."""

    def request(
        self, text: str, clip: Sequence[ClipFrame], history: Sequence[Turn] = ()
    ) -> Generator[SlowStep, None, RequestResult]:
        """Answer `text` about `clip` (oldest first; the newest frame is always used).

        Closing the generator cancels the pass and leaves the session as it was. When it returns, the objects are
        seeded and their memory is carried to the newest clip frame. An object that is already tracked keeps its key.
        """
        ...

    def step(self, features: FrameFeatures, stamp_s: float) -> list[TrackOutput]:
        """Carry every live track on to one new frame; one output per live track."""
        ...

    def drop(self, keys: Sequence[int]) -> None:
        """Forget these tracks and free their memory; unknown keys are ignored."""
        ...

    @property
    def keys(self) -> tuple[int, ...]:
        """Handles of the live tracks."""
        ...


class SegmentationModel(Protocol):
    """A loaded model. `encode` runs once a frame, whatever the number of objects."""

    def encode(self, rgb: Rgb) -> FrameFeatures:
        """Image [H, W, 3] uint8, any size -> features."""
        ...

    def describe(self, features: FrameFeatures) -> NDArray[np.float32]:
        """Features -> a small descriptor [d], for choosing key segments."""
        ...

    def open_session(self) -> Session:
        """A new, empty session."""
        ...


@runtime_checkable
class ChoosyModel(Protocol):
    """A model that knows what it cannot read."""

    def objection(self, text: str) -> str:
        """Why a request cannot be read, for people: what was seen and what is wanted; empty where it can be."""
        ...


R = TypeVar("R")


def finish(steps: Generator[object, None, R]) -> R:
    """Run a slow pass, or any work in parts, to its end without anything between its steps."""
    try:
        while True:
            next(steps)
    except StopIteration as done:
        result: R = done.value
        return result
