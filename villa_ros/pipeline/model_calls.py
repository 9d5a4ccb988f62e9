"""The two ways the model is run: all that takes time, and nothing that changes what the outside sees.

These functions run on the thread that owns the model while no lock is held. They catch what the model raises
and hand it back as a value: the engine decides what it means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

import numpy as np

from villa import masks
from villa.interface import ClipFrame, RequestResult, SlowStep, Turn
from villa_ros.pipeline.request import ErrorCode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from villa.interface import FrameFeatures, Logits, SegmentationModel, Session
    from villa.masks import RleMask
    from villa_ros.pipeline.clip_buffer import RingEntry
    from villa_ros.pipeline.config import PipelineConfig
    from villa_ros.pipeline.frame import Frame


class ModelContractError(RuntimeError):
    """The model returned something that its interface does not allow."""


@dataclass(frozen=True)
class Failure:
    """The model raised, or a frame did not decode (`entry` names it then)."""

    error: BaseException
    entry: RingEntry | None = None
    keys: tuple[int, ...] = ()  # tracks that the model made before and that nobody will follow

    @property
    def code(self) -> ErrorCode:
        """What to tell the outside."""
        out_of_memory = isinstance(self.error, MemoryError) or type(self.error).__name__ == "OutOfMemoryError"
        return ErrorCode.OUT_OF_MEMORY if out_of_memory else ErrorCode.MODEL_FAILED

    @property
    def message(self) -> str:
        """What happened and what to do."""
        seen = f"the model raised {type(self.error).__name__}: {self.error}"
        if self.code == ErrorCode.OUT_OF_MEMORY:
            return f"{seen}; offer fewer candidates or use a smaller model"
        return f"{seen}; send the request again, and report it with the log if it recurs"


@dataclass(frozen=True)
class Observed:
    """One track on one frame, its mask at the source's size; empty where the object is not visible."""

    mask: RleMask
    mask_score: float
    present_score: float


@dataclass(frozen=True)
class Answered:
    """A finished slow pass, with the masks of each object on the used frames where it is visible."""

    result: RequestResult
    objects: tuple[dict[int, RleMask], ...]  # position in `result.clip_index` -> mask


SlowOutcome = Union[SlowStep, Answered, Failure]  # noqa: UP007 - evaluated at run time


@dataclass(eq=False)
class SlowPass:
    """A request at work on a clip."""

    request_id: str
    camera: str
    text: str
    entries: list[RingEntry]
    history: tuple[Turn, ...]
    again: bool = False  # the request was answered before: only its tracks change
    session: Session | None = None
    generator: Generator[SlowStep, None, RequestResult] | None = field(default=None, repr=False)

    def advance(self, model: SegmentationModel, config: PipelineConfig) -> SlowOutcome:
        """One small step."""
        try:
            if self.generator is None:
                if self.session is None:
                    self.session = model.open_session()
                clip = [ClipFrame(entry.stamp_s, _decoder(entry), entry.features) for entry in self.entries]
                self.generator = self.session.request(self.text, clip, self.history)
            return next(self.generator)
        except StopIteration as finished:
            result: RequestResult = finished.value
        except BaseException as error:  # a model that calls exit() must not end the worker
            return Failure(error, next((entry for entry in self.entries if entry.broken), None))
        try:
            return self._answered(result, config)
        except Exception as error:
            made = result.objects if isinstance(result, RequestResult) else ()
            return Failure(error, keys=tuple(result_object.key for result_object in made))

    def close(self) -> None:
        """Cancel the computation; whatever the model raises on the way out is the caller's."""
        if self.generator is not None:
            self.generator.close()
            self.generator = None

    def _answered(self, result: RequestResult, config: PipelineConfig) -> Answered:
        if not isinstance(result, RequestResult):
            raise ModelContractError(f"the slow pass returned {type(result).__name__}, wanted RequestResult")
        used, offered = result.clip_index, len(self.entries)
        if list(used) != sorted(set(used)) or not used or used[0] < 0 or used[-1] != offered - 1:
            raise ModelContractError(f"clip_index is {used}, wanted ascending indices below {offered}, the newest last")
        if len(result.seg_offsets) != len(result.objects):
            raise ModelContractError(
                f"{len(result.objects)} objects have {len(result.seg_offsets)} seg_offsets, wanted one for each"
            )
        scores = [result_object.score for result_object in result.objects]
        if not all(map(math.isfinite, scores)):
            raise ModelContractError(f"the scores of the objects are {scores}, wanted finite numbers")
        keys = [result_object.key for result_object in result.objects]
        if len(set(keys)) != len(keys):
            raise ModelContractError(f"object keys are {keys}, wanted each once")
        frame = self.entries[-1].frame
        objects = []
        for result_object in result.objects:
            if len(result_object.logits) != len(used):
                raise ModelContractError(
                    f"{result_object.name!r} has {len(result_object.logits)} masks for {len(used)} frames"
                )
            found = {
                index: rle_of(logits, frame, config)
                for index, logits in enumerate(result_object.logits)
                if logits is not None
            }
            objects.append({index: mask for index, mask in found.items() if mask.area})
        return Answered(result, tuple(objects))


@dataclass(frozen=True)
class Propagated:
    """A finished fast pass: what the session said of each of its tracks."""

    features: FrameFeatures
    tracks: dict[int, Observed]


def propagate(
    model: SegmentationModel, session: Session, entry: RingEntry, config: PipelineConfig
) -> Propagated | Failure:
    """Carry the session's tracks on to one frame."""
    features = entry.features
    if features is None:
        try:
            rgb = entry.frame.upright()
        except Exception as error:
            return Failure(error, entry)
    try:
        if features is None:
            features = model.encode(rgb)
        outputs = session.step(features, entry.stamp_s)
        seen = {}
        for output in outputs:
            if not (math.isfinite(output.present_score) and math.isfinite(output.mask_score)):
                raise ModelContractError(
                    f"object {output.key} has the scores {output.present_score} and {output.mask_score}, wanted finite "
                    "numbers"
                )
            visible = output.logits is not None and output.present_score >= config.present_threshold
            mask = rle_of(output.logits if visible else None, entry.frame, config)
            seen[output.key] = Observed(mask, output.mask_score, output.present_score)
        return Propagated(features, seen)
    except BaseException as error:  # as above
        return Failure(error)


def rle_of(logits: Logits | None, frame: Frame, config: PipelineConfig) -> RleMask:
    """Mask logits [h, w] of a frame seen upright -> RLE of the frame as it is, cut at the configured probability.

    None -> empty.
    """
    if logits is None:
        return masks.RleMask.empty(frame.height, frame.width)
    shift = math.log(config.mask_threshold / (1.0 - config.mask_threshold))
    shifted: NDArray[np.float32] = np.asarray(logits, np.float32) - np.float32(shift)
    if shifted.ndim != 2 or not shifted.size:
        raise ModelContractError(f"mask logits have shape {shifted.shape}, wanted [h, w]")
    if not np.isfinite(shifted).all():
        raise ModelContractError("mask logits hold NaN or infinity, wanted finite numbers")
    return masks.of_logits(frame.mounting.as_given(shifted), frame.height, frame.width)


def _decoder(entry: RingEntry) -> Callable[[], NDArray[np.uint8]]:
    def rgb() -> NDArray[np.uint8]:
        try:
            return entry.frame.upright()
        except Exception:
            entry.broken = True  # so that a frame's damage is not taken for the model's failure
            raise

    return rgb
