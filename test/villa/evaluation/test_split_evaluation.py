"""Evaluation: a model that knows the truth scores one, one that says nothing scores what nothing is worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_clips import draw_clip
from tiny import tiny_model

from villa import ViLLa, masks
from villa.data.benchmark import OPENING, annotate
from villa.data.referring_videos import Expression, Expressions, ExpressionsError, Video
from villa.data.splits import SPLITS
from villa.evaluation.score_table import ALL, save, table
from villa.evaluation.split_evaluation import EvaluatedModel, Shown, _cover, _kept, evaluate
from villa.inference.video import Segmentation, Tracklet
from villa.interface import ObjectResult, RequestResult, TrackOutput
from villa_ros.evaluation.score_sheet import _chosen, write_score_sheet
from villa_ros.video.overlay_video import PictureError

FRAMES = 10
ASKED_AT = 3


def drawn(folder: Path, **changes) -> Path:
    for seed in range(2):
        draw_clip(folder / f"{seed:07d}", seed, FRAMES)
    annotate(folder, replace(SPLITS["val"], requests=8, **changes))
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return drawn(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> Path:
    return drawn(tmp_path_factory.mktemp("live"), asked_at=ASKED_AT)


class Knowing:
    """Knows the truth of a folder; `lose` frames from which on its tracks are lost."""

    def __init__(self, root: Path, lose: int = 10_000) -> None:
        self.data, self.lose = Expressions(root), lose
        self.heard: list[tuple[str, tuple[str, ...]]] = []

    def find(self, image: np.ndarray, text: str) -> tuple[Video, int, Expression | None]:
        for video in self.data:
            for t in range(len(video.frames)):
                if np.array_equal(self.data.rgb(video, t), image):
                    return video, t, next((e for e in video.expressions if e.text == text), None)
        raise AssertionError("an image of another folder")

    def encode(self, rgb):
        return rgb

    def describe(self, features):
        return np.zeros(4, np.float32)

    def segment(self, video, text, *, fps=10.0, history=()) -> Segmentation:
        self.heard.append((text, tuple(request for request, _ in history)))
        found, _, meant = self.find(video[0], text)
        ids = () if meant is None else meant.masks
        shape = video[0].shape[:2]
        tracks = [tuple(masks.encode(self.data.mask(i, t, shape)) for t in range(len(video))) for i in ids]
        tracklets = tuple(Tracklet("it", 1.0, 0, track, ()) for track in tracks)
        return Segmentation("", f"knows {found.name}", "stop", (0,), tracklets)

    def rank(self, video, text, names, *, fps=10.0, history=(), newest=False):
        _, _, meant = self.find(video[0], text)
        assert newest == (meant.asked_at is not None)
        return [float(index == meant.choice) for index in range(len(names))]

    def open_session(self):
        return KnowingSession(self)


class KnowingSession:
    def __init__(self, model: Knowing) -> None:
        self.model, self.ids, self.next = model, {}, 1

    @property
    def keys(self):
        return tuple(self.ids)

    def drop(self, keys: Sequence[int]) -> None:
        for key in keys:
            self.ids.pop(key, None)

    def logits(self, identity: str, t: int, shape):
        mask = self.model.data.mask(identity, t, shape)
        return None if t >= self.model.lose or not mask.any() else np.where(mask, 9.0, -9.0).astype(np.float32)

    def request(self, text, clip, history=()):
        self.model.heard.append((text, tuple(turn.request for turn in history)))
        image = clip[-1].rgb()
        _, t, meant = self.model.find(image, text)
        objects = []
        for identity in () if meant is None else meant.masks:
            self.ids[self.next] = identity
            objects.append(ObjectResult(self.next, identity, 1.0, 0, (self.logits(identity, t, image.shape[:2]),)))
            self.next += 1
        return RequestResult("", "", (0,) * len(objects), "stop", (t,), tuple(objects))
        yield

    def step(self, features, stamp_s):
        _, t, _ = self.model.find(features, "")
        return [TrackOutput(k, self.logits(i, t, features.shape[:2]), 1.0, 1.0) for k, i in self.ids.items()]


@pytest.mark.parametrize("folder", ["whole", "live"])
def test_the_truth_scores_one(folder: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(folder)
    model = Knowing(root)
    scores = evaluate(model, root)
    scored = [e for v in Expressions(root) for e in v.expressions if e.kind != OPENING]
    assert [score.request for score in scores] == [expression.text for expression in scored]
    for score in scores:
        assert score.right
        assert (score.j, score.f) == (1.0, 1.0)
        assert score.identity.switches == 0
        if score.absent:
            assert score.baselines == {}
        else:
            assert score.identity.hota == pytest.approx(1.0)
            assert score.baselines["words_ignored"] == 0.0
            assert score.hit is not None
            assert score.meant in (None, score.hit)
        assert score.choice in (None, True)
    assert any(score.baselines["largest"] < 0.9 for score in scores if not score.absent)
    assert any(score.choice for score in scores)
    by_name = [s.baselines["bag_of_words"] for s in scores if s.kind in ("name", "colour")]
    assert np.mean(by_name) > 0.9


@pytest.mark.parametrize("folder", ["whole", "live"])
def test_a_follow_up_is_asked_after_its_opening(folder: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(folder)
    model = Knowing(root)
    evaluate(model, root)
    chains = {
        expression.text: tuple(turn.text for turn in video.chain(expression))
        for video in Expressions(root)
        for expression in video.expressions
    }
    followed = [(text, before) for text, before in model.heard if chains.get(text)]
    assert followed
    assert all(before == chains[text] for text, before in followed)


def test_masks_lost_on_the_way_cost_the_frames_after_it(live: Path) -> None:
    scores = [s for s in evaluate(Knowing(live, lose=ASKED_AT + 2), live) if not s.absent]
    assert {score.j for score in scores} == {2 / (FRAMES - ASKED_AT)}
    assert all(score.answered for score in scores)


def test_a_real_model_is_scored_the_same_each_time(whole: Path, live: Path) -> None:
    for root in (whole, live):
        model: EvaluatedModel = ViLLa(tiny_model())
        scores = evaluate(model, root, limit=1, requests=3)
        assert scores == evaluate(model, root, limit=1, requests=3)
        assert len(scores) == 3
        assert all(0 <= score.jf <= 1 for score in scores)


def test_rows_hold_means_of_what_they_say(whole: Path, tmp_path: Path) -> None:
    right = evaluate(Knowing(whole), whole)
    wrong = [replace(s, j=0.0, f=0.5, answered=s.absent) for s in right]
    rows = {row.kind: row for row in table([*right, *wrong])}
    present = sum(not score.absent for score in right)
    assert set(rows) == {score.kind for score in right} | {ALL}
    assert rows[ALL].requests == 2 * len(right)
    assert rows[ALL].jf == pytest.approx((1.0 + 0.25) / 2)
    assert rows[ALL].refused == 0.5
    assert rows["absent"].absent_accuracy == 0.5
    assert rows["absent"].jf is None
    assert rows[ALL].choice == 1.0
    assert rows[ALL].jf_low <= rows[ALL].jf <= rows[ALL].jf_high
    assert present
    save(right, tmp_path / "scores.json")
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["rows"][-1]["kind"] == ALL
    assert len(written["scores"]) == len(right)
    with pytest.raises(ValueError, match="no scores"):
        table([])


def test_each_request_can_be_looked_at_as_it_was_scored(whole: Path, tmp_path: Path) -> None:
    shown: list[Shown] = []
    scores = evaluate(Knowing(whole), whole, show=shown.append)
    assert [one.score for one in shown] == scores
    for one in shown:
        drawn = [mask for _, mask in one.masks]
        truth = masks.decode(one.truth)
        assert truth.any() == (not one.score.absent)
        assert np.array_equal(np.any(drawn, axis=0) if drawn else np.zeros_like(truth), truth)
    path = write_score_sheet(shown, tmp_path / "sheets" / "sheet.png")
    sheet = cv2.imread(str(path))
    kinds = {score.kind for score in scores}
    assert sheet is not None
    assert sheet.shape[1] > 4 * 400
    assert sheet.shape[0] > len(kinds) / 2 * 300
    with pytest.raises(PictureError, match="nothing to draw"):
        write_score_sheet([], path)


def test_the_sheet_has_a_success_and_the_worst_of_each_kind(whole: Path) -> None:
    shown: list[Shown] = []
    evaluate(Knowing(whole), whole, limit=1, requests=1, show=shown.append)
    (one,) = shown
    some = [replace(one, score=replace(one.score, j=j, f=j, absent=False)) for j in (0.1, 0.9, 0.2, 0.8, 1.0)]
    assert [round(chosen.score.jf, 2) for chosen in _chosen(some)] == [0.9, 0.1]
    assert _chosen([one]) == [one]


def test_only_frames_with_true_masks_count(whole: Path, tmp_path: Path) -> None:
    for name in ("mask_dict.json", "meta_expressions.json"):
        (tmp_path / name).write_text((whole / name).read_text())
    (tmp_path / "JPEGImages").symlink_to(whole / "JPEGImages")
    meta = json.loads((tmp_path / "meta_expressions.json").read_text())
    for video in meta["videos"].values():
        video["scored"] = [1, 4]
    (tmp_path / "meta_expressions.json").write_text(json.dumps(meta))

    class Late(Knowing):
        def segment(self, video, text, *, fps=10.0, history=()):
            found = super().segment(video, text, fps=fps, history=history)
            late = [replace(t, masks=(None, None, None, None, *t.masks[4:])) for t in found.tracklets]
            return replace(found, tracklets=tuple(late))

    assert {score.j for score in evaluate(Late(whole), tmp_path) if not score.absent} == {0.5}
    video["scored"] = [99]
    (tmp_path / "meta_expressions.json").write_text(json.dumps(meta))
    with pytest.raises(ExpressionsError, match="'scored' as indices of its 10 frames"):
        Expressions(tmp_path)


def test_a_pair_is_right_where_both_are(whole: Path) -> None:
    one = next(s for s in evaluate(Knowing(whole), whole) if s.meant is not None)
    a, b, c = (replace(one, meant=name, hit=name) for name in "abc")
    assert table([a, b, c])[-1].pairs == 1.0
    assert table([a, b, replace(c, hit="a")])[-1].pairs == pytest.approx(1 / 3)
    assert table([a, replace(b, video="another")])[-1].pairs is None
    assert table([a, a])[-1].pairs is None  # other words for the same object


def test_a_model_ranks_each_name_by_itself() -> None:
    model = ViLLa(tiny_model())
    frames = [np.random.default_rng(t).integers(0, 255, (48, 64, 3), np.uint8) for t in range(4)]
    likely = model.rank(frames, "the mug", ["red mug", "blue bowl"], fps=5.0)
    assert len(likely) == 2
    assert max(likely) < 0
    assert model.rank(frames, "the mug", ["blue bowl", "red mug"], fps=5.0) == pytest.approx(likely[::-1], rel=1e-4)
    alone = model.rank(frames, "the mug", ["red mug"], fps=5.0)
    assert alone == pytest.approx(likely[:1], rel=1e-4)
    with pytest.raises(ValueError, match="at least one name"):
        model.rank(frames, "the mug", [])


# -- identity through a cover ----------------------------------------------------------------------------------------

ON, OFF = np.pad(np.ones((4, 4), np.bool_), 2), np.zeros((8, 8), np.bool_)
ELSEWHERE = np.pad(np.ones((2, 2), np.bool_), ((0, 6), (6, 0)))
COVERED = [ON] * 4 + [OFF] * 5 + [ON] * 6


def test_a_cover_is_long_and_has_an_end() -> None:
    assert _cover(COVERED) == (4, 8)
    assert _cover([ON] * 4 + [OFF] * 3 + [ON] * 6) is None
    assert _cover([ON] * 4 + [OFF] * 9) is None
    assert _cover([OFF] * 5 + [ON] * 9) is None


def test_a_track_that_finds_its_object_again_kept_it() -> None:
    assert _kept([COVERED], [[ON] * 4 + [None] * 6 + [ON] * 5]) is True
    assert _kept([COVERED], [[ON] * 4 + [None] * 11]) is False
    assert _kept([COVERED], [[ON] * 4 + [None] * 5 + [ELSEWHERE] * 6]) is False


def test_another_track_on_the_object_does_not_count() -> None:
    mine = [[ON] * 4 + [None] * 11, [None] * 9 + [ON] * 6]
    assert _kept([COVERED], mine) is False


def test_who_was_never_on_the_object_cannot_keep_it() -> None:
    assert _kept([COVERED], [[ELSEWHERE] * 15]) is None
    assert _kept([[ON] * 15], [[ON] * 15]) is None
