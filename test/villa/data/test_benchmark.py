"""A split's clips and requests on disk: read back by the reader of the public sets, the same for the same seeds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from drawn_clips import draw_clip
from tables import film, thing

from villa.data import benchmark
from villa.data.benchmark import OPENING, annotate
from villa.data.clips import ClipReader, EventFacts
from villa.data.language.wordings import HELD_OUT, OTHER_HAND, OTHER_HAND_VALIDATED, VALIDATED
from villa.data.referring_videos import Expressions, ExpressionsError
from villa.data.splits import SPLITS, split_of

VAL = replace(SPLITS["val"], requests=8)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    for seed in range(3):
        draw_clip(folder / f"{seed:07d}", seed)
    annotate(folder, VAL)
    return folder


def test_the_reader_of_public_sets_reads_clips_and_masks(root: Path) -> None:
    data = Expressions(root)
    assert [video.name for video in data] == ["0000000", "0000001", "0000002"]
    for video in data:
        clip = ClipReader(root / video.name)
        assert len(video.frames) == len(clip)
        assert video.fps == clip.facts.fps
        assert video.objects == tuple(f"{video.name}_{i}" for i in (1, 2, 3))
        assert np.array_equal(data.rgb(video, 2), clip.rgb(2))
        for number in (1, 2, 3):
            assert np.array_equal(data.mask(f"{video.name}_{number}", 4, (120, 160)), clip.mask(4) == number)


def test_every_request_has_its_kind_its_answer_and_its_masks(root: Path) -> None:
    kinds: Counter[str] = Counter()
    for video in Expressions(root):
        scored = [expression for expression in video.expressions if expression.kind != OPENING]
        assert 4 <= len(scored) <= VAL.requests
        assert len({expression.text for expression in scored}) == len(scored)
        for expression in video.expressions:
            kinds[expression.kind] += 1
            assert expression.asked_at is None
            assert (expression.kind == "absent") == (not expression.masks)
            assert expression.answer is not None
            assert expression.answer.count("[SEG]") == len(expression.masks)
    assert len(kinds) >= 4


def test_a_follow_up_comes_after_its_opening(root: Path) -> None:
    follow_ups = [(v, e) for v in Expressions(root) for e in v.expressions if e.kind == "follow-up"]
    assert follow_ups
    for video, expression in follow_ups:
        (opening,) = video.chain(expression)
        assert opening.kind == OPENING
        assert opening.masks != expression.masks
        ((request, answer),) = video.before(expression)
        assert request == opening.text
        assert "[SEG]" not in answer


def test_choices_hold_one_right_name(root: Path) -> None:
    found = 0
    for video in Expressions(root):
        names = {f"{video.name}_{t.id}": t.name for t in ClipReader(root / video.name).facts.objects}
        for expression in video.expressions:
            if expression.choice is not None:
                found += 1
                assert len(set(expression.choices)) == len(expression.choices) >= 3
                assert expression.choices[expression.choice] == names[expression.masks[0]]
    assert found > 3


def test_the_same_clips_give_the_same_files(root: Path) -> None:
    files = [root / name for name in (benchmark.META, benchmark.MASKS)]
    before = [file.read_bytes() for file in files]
    annotate(root, VAL, workers=2)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e: e.update(after="no such"), "comes after 'no such'"),
        (lambda e: e.update(asked_at=99), "asked_at is 99, the video has 6 frames"),
        (lambda e: e.update(choices=["a", "b"], choice=2), "choice is 2 of 2 choices"),
        (lambda e: e.update(choices=["a", "b"], choice=None), "choice is None of 2 choices"),
    ],
)
def test_a_field_that_cannot_be_is_named(root: Path, tmp_path: Path, change, match: str) -> None:
    meta = json.loads((root / benchmark.META).read_text())
    change(meta["videos"]["0000000"]["expressions"]["0"])
    file = tmp_path / "meta_expressions.json"
    file.write_text(json.dumps(meta))
    with pytest.raises(ExpressionsError, match=match):
        Expressions(root, file)


def test_an_object_without_masks_is_named(root: Path, tmp_path: Path) -> None:
    meta = json.loads((root / benchmark.META).read_text())
    meta["videos"]["0000000"]["objects"].append("ghost")
    file = tmp_path / "meta_expressions.json"
    file.write_text(json.dumps(meta))
    with pytest.raises(ExpressionsError, match="object 'ghost' is not in mask_dict"):
        Expressions(root, file)


# -- splits -----------------------------------------------------------------------------------------------------------


def test_seeds_of_splits_do_not_meet() -> None:
    ranges = sorted((split.first_seed, split.first_seed + 100_000) for split in SPLITS.values())
    assert all(end <= start for (_, end), (start, _) in pairwise(ranges))
    assert all(split.clips <= 100_000 for split in SPLITS.values())


def test_each_test_split_asks_enough_about_enough_clips() -> None:
    tests = [split for split in SPLITS.values() if split.is_test]
    assert len(tests) == 6
    for split in tests:
        assert split.clips >= 40
        assert split.clips * split.requests >= 300


def test_an_unknown_split_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="split 'testing': wanted one of train, val, val-unseen-phrase, val-"):
        split_of("testing")


def test_of_unseen_objects_only_those_are_asked_for() -> None:
    objects = (
        replace(thing(1, "carton", "red"), key="libero/milk"),
        replace(thing(2, "book", "blue"), key="libero/black_book"),
        thing(3, "banana", "yellow"),
    )
    facts = film(objects, [[(x, 0.1, 0.05)] * 8 for x in (-0.3, 0.0, 0.3)])
    asked = benchmark._requests(facts, SPLITS["test-unseen-object"], np.random.default_rng(0))
    assert asked
    assert {item.sample.targets for item in asked} <= {(1,), ()}
    assert any(item.sample.targets for item in asked)


def test_where_tracks_have_to_find_their_object_again_mostly_that_one_is_asked_for() -> None:
    objects = (thing(1, "mug", "red"), thing(2, "book", "blue"), thing(3, "banana", "yellow"))
    hidden = [(1, t) for t in range(20, 26)]
    places = [[(x, 0.1, 0.05)] * 48 for x in (-0.3, 0.0, 0.3)]
    facts = film(objects, places, (EventFacts("occluded", 1, 20, 25),), hidden)
    split = SPLITS["test-occlusion"]
    asked = benchmark._requests(facts, split, np.random.default_rng(0))
    assert {item.at for item in asked} == {split.asked_at}
    assert len(asked) == split.requests
    assert sum(item.sample.targets == (1,) for item in asked) >= split.requests / 2


def test_words_kept_for_tests_are_used_where_they_are_kept_for() -> None:
    assert SPLITS["test-unseen-phrase"].wording is HELD_OUT
    assert all(split.wording is not HELD_OUT for split in SPLITS.values() if split.name != "test-unseen-phrase")
    assert SPLITS["val-unseen-phrase"].wording is VALIDATED
    assert not SPLITS["val-unseen-phrase"].is_test
    assert SPLITS["test-other-hand"].wording is OTHER_HAND
    assert SPLITS["val-other-hand"].wording is OTHER_HAND_VALIDATED
    assert {split.name for split in SPLITS.values() if split.wide} == {"test-other-hand", "val-other-hand"}
