"""What a model segments in one video of a benchmark.

Every expression is asked the way a user would: words and a whole video go in, masks come out. A set that gives the mask
of the first frame asks nothing: that mask goes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from villa import masks
from villa.data.referring_videos import Expression, Video
from villa.evaluation.benchmarks import Benchmark, BenchmarkError, Prediction
from villa.inference.video import Segmentation
from villa.interface import Rgb
from villa.masks import Mask, RleMask

_HELD_BYTES = 512 * 2**20  # of decoded frames of one video; more are decoded for each expression anew


class AnswerError(ValueError):
    """An answer does not fit its video."""


class VideoModel(Protocol):
    """What is run: whole videos and requests."""

    def segment(
        self, video: Sequence[Rgb], text: str, *, fps: float = ..., history: Sequence[tuple[str, str]] = ...
    ) -> Segmentation:
        """A whole video and a request -> tracklets; see `villa.inference.video.segment`."""
        ...


@runtime_checkable
class RankingModel(Protocol):
    """A model that can also choose among answers."""

    def rank(
        self, video: Sequence[Rgb], text: str, names: Sequence[str], *, fps: float = ..., history: Any = ...
    ) -> Sequence[float]:
        """How likely each name is what a request means; see `villa.inference.multiple_choice.rank`."""
        ...


@runtime_checkable
class PropagatingModel(Protocol):
    """A model that can also carry a mask that it is given."""

    def propagate(self, frames: Iterable[Rgb], mask: Mask, *, fps: float = ...) -> Iterable[RleMask | None]:
        """A video and the mask of its first frame -> that of each; see `villa.inference.mask_propagation.propagate`."""
        ...


def predictions_of(model: VideoModel, benchmark: Benchmark, video: Video) -> dict[str, Prediction]:
    """Ask a model all that is scored of a video -> what it segments for each expression, by the expression's key.

    Raises:
        BenchmarkError: a frame, or the mask that is given, is missing, does not decode or is of another size.
        AnswerError: the model's masks do not fit the video, or it cannot carry a mask that is given.
    """
    if benchmark.first_mask:
        carried = _carried(model, benchmark, video)
        return {expression.key: carried for expression in benchmark.asked(video)}
    frames = _Frames(benchmark, video)
    answers: dict[str, Segmentation] = {}
    return {e.key: _predicted(model, video, frames, e, answers) for e in benchmark.asked(video)}


def _carried(model: object, benchmark: Benchmark, video: Video) -> Prediction:
    """The mask of the first frame, carried through a video whose frames are read one by one and not kept."""
    if not isinstance(model, PropagatingModel):
        raise AnswerError(
            f"{benchmark.name} gives the mask of the first frame, and {type(model).__name__} has no `propagate` that "
            "carries one: wanted a model like villa.ViLLa"
        )
    given = benchmark.given(video)
    height, width = given.shape
    frames = _of_one_size(benchmark, video, (height, width))
    carried = tuple(model.propagate(frames, given, fps=video.fps))
    sizes = {(mask.height, mask.width) for mask in carried if mask is not None}
    _check_fit(sizes, len(carried), len(video.frames), (height, width))
    return Prediction(carried, (height, width))


def _of_one_size(benchmark: Benchmark, video: Video, shape: tuple[int, int]) -> Iterator[Rgb]:
    """The frames of a video, each decoded as it is asked for."""
    for t, path in enumerate(video.frames):
        image = benchmark.rgb(video, t)
        if image.shape[:2] != shape:
            raise BenchmarkError(
                f"{path}: {image.shape[1]}x{image.shape[0]} px, the first frame is {shape[1]}x{shape[0]}: "
                "wanted one size in a video"
            )
        yield image


class _Frames(Sequence[Rgb]):
    """A video's images by index, kept once decoded while they fit into memory."""

    def __init__(self, benchmark: Benchmark, video: Video) -> None:
        self._benchmark, self._video = benchmark, video
        self._kept: dict[int, Rgb] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._video.frames)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[t] for t in range(*index.indices(len(self)))]
        t = range(len(self))[index]
        if t in self._kept:
            return self._kept[t]
        image = self._benchmark.rgb(self._video, t)
        if self._bytes + image.nbytes <= _HELD_BYTES:
            self._kept[t] = image
            self._bytes += image.nbytes
        return image


def _predicted(
    model: VideoModel, video: Video, frames: _Frames, expression: Expression, answers: dict[str, Segmentation]
) -> Prediction:
    history = _history(model, video, frames, expression, answers)
    answer = model.segment(frames, expression.text, fps=video.fps, history=history)
    answers[expression.key] = answer
    height, width = frames[0].shape[:2]
    choice = None
    if expression.choices and isinstance(model, RankingModel):
        likely = model.rank(frames, expression.text, expression.choices, fps=video.fps, history=history)
        choice = int(np.argmax(likely)) == expression.choice
    return Prediction(_unions(answer, len(frames), (height, width)), (height, width), answer.text, choice)


def _history(
    model: VideoModel, video: Video, frames: _Frames, expression: Expression, answers: dict[str, Segmentation]
) -> list[tuple[str, str]]:
    """Requests that an expression follows up on, with the model's own answers."""
    history: list[tuple[str, str]] = []
    for turn in video.chain(expression):
        if turn.key not in answers:
            answers[turn.key] = model.segment(frames, turn.text, fps=video.fps, history=tuple(history))
        history.append((turn.text, answers[turn.key].text))
    return history


def _unions(answer: Segmentation, length: int, shape: tuple[int, int]) -> tuple[RleMask | None, ...]:
    """All tracklets of an answer together, frame by frame."""
    for tracklet in answer.tracklets:
        sizes = {(mask.height, mask.width) for mask in tracklet.masks if mask is not None}
        _check_fit(sizes, len(tracklet.masks), length, shape)
    unions: list[RleMask | None] = []
    for t in range(length):
        found = [mask for tracklet in answer.tracklets if (mask := tracklet.masks[t]) is not None and mask.area]
        if len(found) <= 1:
            unions.append(found[0] if found else None)
            continue
        union = masks.decode(found[0])
        for mask in found[1:]:
            union |= masks.decode(mask)
        unions.append(masks.encode(union))
    return tuple(unions)


def _check_fit(sizes: set[tuple[int, int]], count: int, length: int, shape: tuple[int, int]) -> None:
    """Refuse `count` masks of these sizes for a video of `length` frames of one."""
    if count != length or not sizes <= {shape}:
        raise AnswerError(
            f"the model gave masks of {sorted(sizes)} px for {count} frames, "
            f"the video has {length} frames of {shape} px (height, width): wanted a mask or None for each"
        )
