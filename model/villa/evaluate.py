"""Scores of a model on rendered clips: J&F by kind of request, absent requests, and two baselines.

Every number is made the way a user would get it: the words go in, text is generated, masks come from the session.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from villa import masks
from villa.data.clips import ClipReader, list_clips
from villa.data.requests import sample_requests
from villa.interface import ClipFrame, RequestResult, SegmentationModel, finish
from villa.metrics import j_and_f

Mask = NDArray[np.bool_]
_NEUTRAL = "the object"


@dataclass(frozen=True)
class Score:
    """One request about one clip; J&F is 0..1, over the frames the model looked at."""

    clip: str
    kind: str
    request: str
    wanted: str
    answer: str
    absent: bool
    correct_absence: bool  # nothing segmented exactly when nothing is there
    jf: float
    jf_words_ignored: float
    jf_largest: float


def evaluate(
    model: SegmentationModel,
    root: Path,
    requests_per_clip: int = 6,
    frames: int = 8,
    seed: int = 0,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Model, folder of clips -> one score a request, in a fixed order for a fixed seed.

    Raises:
        FileNotFoundError: no clips there.
    """
    folders = list_clips(root)[:limit]
    if not folders:
        raise FileNotFoundError(f"no clips under {root}: make some with `villa data build`")
    scores: list[Score] = []
    for done, folder in enumerate(folders):
        scores += _clip(model, ClipReader(folder), requests_per_clip, frames, seed)
        if progress is not None:
            progress(done + 1, len(folders))
    return scores


def summary(scores: list[Score]) -> dict[str, dict[str, float]]:
    """Means by kind of request and over all present requests; absence as accuracy."""
    table: dict[str, dict[str, float]] = {}
    for kind in sorted({s.kind for s in scores}):
        table[kind] = _means([s for s in scores if s.kind == kind])
    table["all"] = _means(scores)
    return table


def save(scores: list[Score], path: Path) -> None:
    """Scores and their summary as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"summary": summary(scores), "scores": [asdict(s) for s in scores]}, indent=1))


def _means(scores: list[Score]) -> dict[str, float]:
    present = [s for s in scores if not s.absent]
    absent = [s for s in scores if s.absent]
    row = {"requests": float(len(scores))}
    if present:
        row["jf"] = float(np.mean([s.jf for s in present]))
        row["words_ignored"] = float(np.mean([s.jf_words_ignored for s in present]))
        row["largest"] = float(np.mean([s.jf_largest for s in present]))
        row["answered"] = float(np.mean([s.correct_absence for s in present]))
    if absent:
        row["absent_accuracy"] = float(np.mean([s.correct_absence for s in absent]))
    return row


def _clip(model: SegmentationModel, clip: ClipReader, count: int, frames: int, seed: int) -> Iterator[Score]:
    """The newest frame is the clip's last but a few, so that motion has happened."""
    rng = np.random.default_rng([seed, clip.facts.seed])
    last = int(rng.integers(min(frames, len(clip)) - 1, len(clip)))
    indices = list(range(max(0, last - frames + 1), last + 1))
    images = {i: clip.rgb(i) for i in indices}
    features = {i: model.encode(images[i]) for i in indices}
    offered = [ClipFrame(i / clip.facts.fps, lambda i=i: images[i], features[i]) for i in indices]  # type: ignore[misc]

    def ask(text: str) -> RequestResult:
        return finish(model.open_session().request(text, offered))

    truth = {i: clip.mask(i) for i in indices}
    areas = np.bincount(truth[last].ravel(), minlength=2)
    areas[0] = 0  # the background is no object
    largest = int(areas.argmax())
    ignored = ask(_NEUTRAL)
    for sample in sample_requests(clip.facts, last, rng, count):
        result = ask(sample.text)
        looked = [indices[i] for i in result.clip_index]
        wanted = [np.isin(truth[i], sample.targets) for i in looked]
        biggest = [truth[i] == largest for i in looked]
        empty = not result.objects
        yield Score(
            clip=clip.folder.name,
            kind=sample.kind,
            request=sample.text,
            wanted=sample.answer,
            answer=result.raw_text,
            absent=not sample.targets,
            correct_absence=empty == (not sample.targets),
            jf=_mean_jf(_union(result, clip), wanted),
            jf_words_ignored=_mean_jf(_union(ignored, clip), wanted),
            jf_largest=_mean_jf(biggest, wanted),
        )


def _union(result: RequestResult, clip: ClipReader) -> list[Mask]:
    """All objects of an answer together, one mask for each frame looked at."""
    shape = (clip.facts.height, clip.facts.width)
    union = [np.zeros(shape, np.bool_) for _ in result.clip_index]
    for thing in result.objects:
        for at, logits in enumerate(thing.logits):
            if logits is not None:
                union[at] |= masks.from_logits(logits, *shape)
    return union


def _mean_jf(mine: list[Mask], truth: list[Mask]) -> float:
    return float(np.mean([j_and_f(a, b) for a, b in zip(mine, truth, strict=True)]))
