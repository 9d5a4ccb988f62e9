"""Scores of a model on videos with expressions: masks, words for what is not there, identities, and plain baselines.

Every number is made the way a user would get it: words go in, text is generated, masks come out. An expression about
the whole video is answered by `segment`; one that is asked at a frame by a session that has seen what came before and
carries its masks on from there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from villa import masks
from villa.data.benchmark import OPENING
from villa.data.referring_videos import Expression, Expressions, Video
from villa.evaluation.davis_jf import mean_jf, region_similarity, score_frames
from villa.evaluation.identity import IdentityScores, identity_scores
from villa.inference.video import Segmentation
from villa.interface import ClipFrame, RequestResult, Rgb, SegmentationModel, Session, Turn, finish
from villa.masks import RleMask

Mask = NDArray[np.bool_]
Track = list[Mask | None]  # one a frame
_NEUTRAL = "the object"
_COVERED_FRAMES = 4  # a cover that a track has to live through
_SAME_IOU = 0.5  # of a track that is on its object
_RETURNED_FRAMES = 3  # that are looked at after it came back


class EvaluatedModel(SegmentationModel, Protocol):
    """What is evaluated: streams and whole videos."""

    def segment(
        self, video: Sequence[Rgb], text: str, *, fps: float = ..., history: Sequence[tuple[str, str]] = ...
    ) -> Segmentation:
        """A whole video and a request -> tracklets; see `villa.inference.video.segment`."""
        ...

    def rank(
        self,
        video: Sequence[Rgb],
        text: str,
        names: Sequence[str],
        *,
        fps: float = ...,
        history: Sequence[tuple[str, str]] = ...,
        newest: bool = ...,
    ) -> Sequence[float]:
        """How likely each name is what a request means; see `villa.inference.multiple_choice.rank`."""
        ...


@dataclass(frozen=True)
class Score:
    """One expression. J, F and J&F are 0..1, means over frames, of all that is meant together."""

    video: str
    key: str
    kind: str
    request: str
    wanted: str
    answer: str
    absent: bool  # nothing is meant
    answered: bool  # something was segmented
    j: float
    f: float
    baselines: dict[str, float]  # J&F
    identity: IdentityScores
    # A track that was on its object found it again after a full cover; None: none was covered, or none was on it.
    kept: bool | None
    meant: str | None  # the one object that is meant; None: several, or none
    hit: str | None  # the object that the masks are on; None: on none, or there are none
    choice: bool | None  # of the names given to choose from the right one is the likeliest; None: no names were given
    first_mask_s: float = field(compare=False)

    @property
    def jf(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2

    @property
    def right(self) -> bool:
        """Is something segmented exactly when something is meant?"""
        return self.answered != self.absent


@dataclass(frozen=True)
class Shown:
    """A request and its answer on one frame, for people to look at."""

    score: Score
    rgb: Rgb
    masks: tuple[tuple[str, Mask], ...]  # names and masks that the model gave
    truth: RleMask  # all that is meant


@dataclass(frozen=True)
class _Answer:
    text: str
    raw_text: str
    names: list[str]
    tracks: list[Track]
    seconds: float
    turn: Turn | None = None  # in a session


def evaluate(
    model: EvaluatedModel,
    root: Path,
    *,
    limit: int | None = None,
    requests: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    show: Callable[[Shown], None] | None = None,
) -> list[Score]:
    """Model, a split's folder -> one score an expression, in the folder's order.

    Args:
        model: What is scored.
        root: Folder with `meta_expressions.json`.
        limit: Only the first so many videos.
        requests: Only the first so many expressions of a video.
        seed: Of the baseline that chooses at random.
        progress: Told (videos done, videos).
        show: Given each request as it is scored, on the frame in the middle of those that show what is meant.

    Raises:
        ExpressionsError: the folder is not in the format.
    """
    data = Expressions(root)
    videos = data.videos[:limit]
    scores: list[Score] = []
    for done in range(len(videos)):
        scores += evaluate_video(model, data, done, requests=requests, seed=seed, show=show)
        if progress is not None:
            progress(done + 1, len(videos))
    return scores


def evaluate_video(
    model: EvaluatedModel,
    data: Expressions,
    index: int,
    *,
    requests: int | None = None,
    seed: int = 0,
    show: Callable[[Shown], None] | None = None,
) -> list[Score]:
    """One video of a split, by its place -> the scores that `evaluate` has for it, whatever was scored before.

    Raises:
        ExpressionsError: a frame does not decode, or a mask has another size.
    """
    return list(_Video(model, data, data.videos[index], np.random.default_rng([seed, index]), show).scores(requests))


class _Video:
    """One video, decoded once, with the true masks of its objects."""

    def __init__(
        self,
        model: EvaluatedModel,
        data: Expressions,
        video: Video,
        rng: np.random.Generator,
        show: Callable[[Shown], None] | None,
    ) -> None:
        self.model, self.video, self.rng, self.show = model, video, rng, show
        self.frames = [data.rgb(video, t) for t in range(len(video.frames))]
        shape = self.frames[0].shape[:2]
        self.shape: tuple[int, int] = (shape[0], shape[1])
        self.truth: dict[str, Track] = {
            identity: [data.mask(identity, t, self.shape) for t in range(len(self.frames))]
            for identity in video.objects
        }
        self.features: dict[int, Any] = {}
        self.openings: dict[str, _Answer] = {}
        self.ignored: dict[int | None, _Answer] = {}

    def scores(self, requests: int | None) -> Iterator[Score]:
        scored = [expression for expression in self.video.expressions if expression.kind != OPENING]
        for expression in scored[:requests]:
            yield self._score(expression)

    def _score(self, expression: Expression) -> Score:
        answer = self._ask(expression)
        asked = expression.asked_at
        shown = self._scored(asked)
        true = [self._on(self.truth[identity], shown) for identity in expression.masks]
        mine = [self._on(track, shown) for track in answer.tracks]
        wanted, got = self._union(true, shown), self._union(mine, shown)
        scored = score_frames(got, wanted)
        score = Score(
            video=self.video.name,
            key=expression.key,
            kind=expression.kind,
            request=expression.text,
            wanted=expression.answer or "",
            answer=answer.raw_text,
            absent=not expression.masks,
            answered=bool(answer.tracks),
            j=scored.j,
            f=scored.f,
            baselines=self._baselines(expression, wanted, shown),
            identity=identity_scores(true, mine),
            kept=None if asked is None else _kept(true, mine),
            meant=expression.masks[0] if len(expression.masks) == 1 else None,
            hit=self._hit(got, shown),
            choice=self._chosen(expression),
            first_mask_s=answer.seconds,
        )
        if self.show is not None:
            seen = [at for at, mask in enumerate(wanted) if mask.any()] or list(range(len(shown)))
            at = seen[len(seen) // 2]
            given = [(name, track[at]) for name, track in zip(answer.names, mine, strict=True)]
            drawn = tuple((name, mask) for name, mask in given if mask is not None)
            self.show(Shown(score, self.frames[shown[at]], drawn, masks.encode(wanted[at])))
        return score

    def _scored(self, asked: int | None) -> list[int]:
        """Frames that count: those with true masks; a session's masks begin where it was asked."""
        return [t for t in self.video.scored if t >= (asked or 0)]

    @staticmethod
    def _on(track: Track, shown: Sequence[int]) -> Track:
        return [track[t] for t in shown]

    def _union(self, tracks: Sequence[Sequence[Mask | None]], shown: Sequence[int]) -> list[Mask]:
        union = [np.zeros(self.shape, np.bool_) for _ in shown]
        for track in tracks:
            for t, mask in enumerate(track):
                if mask is not None:
                    union[t] |= mask
        return union

    def _hit(self, got: Sequence[Mask], shown: Sequence[int]) -> str | None:
        """The object that masks are on, more than on any other."""
        overlap = {identity: _mean_iou(got, self._on(track, shown)) for identity, track in self.truth.items()}
        best = max(overlap, key=lambda identity: overlap[identity], default=None)
        return best if best is not None and overlap[best] >= _SAME_IOU else None

    def _chosen(self, expression: Expression) -> bool | None:
        """Is the likeliest of the names to choose from the right one?"""
        if not expression.choices:
            return None
        at = expression.asked_at
        seen = self.frames if at is None else self.frames[: at + 1]
        history = self.video.before(expression)
        likely = self.model.rank(
            seen, expression.text, expression.choices, fps=self.video.fps, history=history, newest=at is not None
        )
        return int(np.argmax(likely)) == expression.choice

    def _baselines(self, expression: Expression, wanted: Sequence[Mask], shown: Sequence[int]) -> dict[str, float]:
        """J&F of plain ways to answer: words ignored, and the true masks of the largest object, of as many random ones
        as are meant, and of those whose true names share the most words with the request.
        """
        if not expression.masks:
            return {}
        at = shown[-1] if expression.asked_at is None else shown[0]
        area = {identity: np.count_nonzero(track[at]) for identity, track in self.truth.items()}  # type: ignore[arg-type]
        largest = max(area, key=lambda identity: (area[identity], identity))
        visible = sorted(identity for identity in area if area[identity]) or sorted(area)
        drawn = self.rng.choice(visible, min(len(expression.masks), len(visible)), replace=False)
        if expression.asked_at not in self.ignored:
            neutral = Expression(_NEUTRAL, (), asked_at=expression.asked_at)
            self.ignored[expression.asked_at] = self._ask(neutral)
        tracks = {
            "words_ignored": self.ignored[expression.asked_at].tracks,
            "largest": [self.truth[largest]],
            "random": [self.truth[str(identity)] for identity in drawn],
            "bag_of_words": [self.truth[identity] for identity in self._sharing(expression.text, visible)],
        }
        return {
            name: mean_jf(self._union([self._on(track, shown) for track in own], shown), wanted)
            for name, own in tracks.items()
        }

    def _sharing(self, text: str, visible: Sequence[str]) -> list[str]:
        """Visible objects whose names share the most words with a request; none where no name shares any."""
        said = set(re.findall(r"[a-z]+", text.lower()))
        shared = {identity: len(said & set(self.video.names.get(identity, ()))) for identity in visible}
        most = max(shared.values(), default=0)
        return [identity for identity in visible if most and shared[identity] == most]

    # -- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, expression: Expression) -> _Answer:
        if expression.asked_at is None:
            return self._of_video(expression)
        session = self.model.open_session()
        turns: list[Turn] = []
        for before in self.video.chain(expression):
            turns.append(self._in_session(session, before, turns)[1])
        result, _, seconds = self._in_session(session, expression, turns)
        names = [thing.name for thing in result.objects]
        return _Answer(result.text, result.raw_text, names, self._carried(session, expression, result), seconds)

    def _of_video(self, expression: Expression) -> _Answer:
        history = []
        for before in self.video.chain(expression):
            if before.key not in self.openings:
                self.openings[before.key] = self._of_video(before)
            history.append((before.text, self.openings[before.key].text))
        start = time.monotonic()
        seen = self.model.segment(self.frames, expression.text, fps=self.video.fps, history=history)
        seconds = time.monotonic() - start
        tracks: list[Track] = [
            [None if mask is None else masks.decode(mask) for mask in tracklet.masks] for tracklet in seen.tracklets
        ]
        names = [tracklet.name for tracklet in seen.tracklets]
        return _Answer(seen.text, seen.raw_text, names, tracks, seconds)

    def _in_session(
        self, session: Session, expression: Expression, turns: Sequence[Turn]
    ) -> tuple[RequestResult, Turn, float]:
        at = expression.asked_at or 0
        clip = [
            ClipFrame(t / self.video.fps, self.frames[t].copy, self._features(t))  # as a live node has them
            for t in range(at + 1)
        ]
        start = time.monotonic()
        result = finish(session.request(expression.text, clip, turns))
        seconds = time.monotonic() - start
        keys = tuple(thing.key for thing in result.objects)
        return result, Turn(expression.text, result.text, keys, result.seg_offsets), seconds

    def _carried(self, session: Session, expression: Expression, result: RequestResult) -> list[Track]:
        at = expression.asked_at or 0
        tracks: dict[int, Track] = {}
        for thing in result.objects:
            track: Track = [None] * len(self.frames)
            newest = thing.logits[-1]
            track[at] = None if newest is None else masks.from_logits(newest, *self.shape)
            tracks[thing.key] = track
        session.drop([key for key in session.keys if key not in tracks])  # what only an earlier turn meant
        for t in range(at + 1, len(self.frames) if tracks else 0):
            for output in session.step(self._features(t), t / self.video.fps):
                if output.key in tracks and output.logits is not None:
                    tracks[output.key][t] = masks.from_logits(output.logits, *self.shape)
        return list(tracks.values())

    def _features(self, t: int) -> Any:
        if t not in self.features:
            self.features[t] = self.model.encode(self.frames[t])
        return self.features[t]


def _kept(true: Sequence[Sequence[Mask | None]], mine: Sequence[Sequence[Mask | None]]) -> bool | None:
    """Were all objects that went under full cover and came back found again by the track that was on them before?"""
    verdicts = []
    for thing in true:
        gap = _cover(thing)
        if gap is None:
            continue
        before, after = slice(0, gap[0]), slice(gap[1] + 1, gap[1] + 2 + _RETURNED_FRAMES)
        on_it = [track for track in mine if _mean_iou(track[before], thing[before]) >= _SAME_IOU]
        if on_it:
            # One frame to come back: it shows a sliver at first.
            verdicts.append(_mean_iou(on_it[0][after][1:], thing[after][1:]) >= _SAME_IOU)
    return all(verdicts) if verdicts else None


def _cover(thing: Sequence[Mask | None]) -> tuple[int, int] | None:
    """First and last frame of the first long cover that is followed by more frames in view."""
    seen = [mask is not None and bool(mask.any()) for mask in thing]
    start = None
    for t, visible in enumerate(seen):
        if not visible and start is None and t and seen[t - 1]:
            start = t
        elif visible and start is not None:
            if t - start >= _COVERED_FRAMES and t + 1 < len(seen):
                return start, t - 1
            start = None
    return None


def _mean_iou(mine: Sequence[Mask | None], true: Sequence[Mask | None]) -> float:
    """Mean IoU over the frames on which the object is in view."""
    values = [
        0.0 if a is None else region_similarity(a, b)
        for a, b in zip(mine, true, strict=True)
        if b is not None and b.any()
    ]
    return float(np.mean(values)) if values else 0.0
