"""What people say besides: words for groups, everything but some, orders finished afterwards, what came into view."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tables import random_table, table, thing, view

from villa.data.language.groups import Group, groups, read_groups
from villa.data.language.requests import ALL_KINDS, REQUEST_KINDS, RequestSample, sample_requests
from villa.data.language.vocabulary import KIND, KINDS, VocabularyError
from villa.data.language.wordings import OTHER_HAND, OTHER_HAND_VALIDATED, TRAINED
from villa.data.language.wordings.everyday import EVERYDAY

WIDE = set(ALL_KINDS) - set(REQUEST_KINDS)
VIEWS = (view(1, 60, 120, 0.9), view(2, 160, 60, 1.1), view(3, 250, 160, 0.7), view(4, 160, 200, 0.6))
FRUIT = table(
    (thing(1, "apple", "red"), thing(2, "banana", "yellow"), thing(3, "mug", "blue"), thing(4, "mug", "white")), VIEWS
)


def many(facts, kind: str, count: int = 60, frame: int = 0, wording=EVERYDAY, **more) -> list[RequestSample]:
    return sample_requests(facts, frame, np.random.default_rng(0), count, (kind,), wording=wording, known=KINDS, **more)


# -- groups ------------------------------------------------------------------------------------------------------------


def test_a_word_for_many_kinds_means_all_of_them():
    samples = many(FRUIT, "group")
    meant = {sample.targets for sample in samples if "fruit" in sample.plain}
    assert meant == {(1, 2)}
    assert all("red apple [SEG]" in s.answer for s in samples if "fruit" in s.plain)
    tools = [sample for sample in samples if "tools" in sample.plain]
    assert tools
    assert {(sample.targets, sample.answer, sample.kind) for sample in tools} == {((), "There is no tool.", "absent")}


def test_no_request_rests_on_what_some_would_count():
    doubtful = table((thing(1, "apple", "red"), thing(2, "tomato", "red"), thing(3, "mug", "blue")), VIEWS[:3])
    assert not any("fruit" in sample.plain for sample in many(doubtful, "group"))
    hidden = table(
        FRUIT.objects, VIEWS, (*VIEWS[:1], view(2, 160, 60, 1.1, visible=0), *VIEWS[2:])
    )  # who cannot see it cannot mean it, nor say that the apple is all
    assert not any("fruit" in sample.plain for sample in many(hidden, "group", frame=1))


def test_the_shipped_groups_are_whole():
    every = groups()
    assert {"fruit", "tool", "cutlery", "toy", "food", "vegetable"} <= set(every)
    for group in every.values():
        assert len(group.kinds) >= 4
        assert not group.kinds & group.maybe
        assert (group.kinds | group.maybe) <= set(KIND)


def test_a_file_of_groups_is_read_and_what_contradicts_itself_refused():
    (group,) = read_groups("fruit: {said: [fruit], one: piece of fruit, maybe: [tomato], groups: [nut]}").values()
    assert group == Group("fruit", ("fruit",), "piece of fruit", group.kinds, group.maybe)
    assert "apple" in group.kinds
    assert {"tomato", "walnut"} <= group.maybe
    for text, message in (
        ("fruit: {say: [fruit]}", "'fruit' has a field 'say': wanted `said` and `one`"),
        ("fruit: {one: piece}", "'fruit' has no words"),
        ("jewel: {said: [jewels], one: jewel}", "no kind is in 'jewel', of group 'jewel'"),
        ("fruit: {said: [f], one: f, groups: [jewel]}", "no kind is in 'jewel', of group 'fruit'"),
        ("fruit: {said: [f], one: f, maybe: [ruby]}", "kind 'ruby' of group 'fruit' is none"),
    ):
        with pytest.raises(VocabularyError, match=message):
            read_groups(text)


# -- exclusion ---------------------------------------------------------------------------------------------------------


def test_everything_but_what_a_noun_means():
    samples = many(FRUIT, "exclusion")
    rest = {"mug": (1, 2), "coffee mug": (1, 2), "apple": (2, 3, 4), "banana": (1, 3, 4)}
    assert {tuple(sorted(sample.targets)) for sample in samples} == set(rest.values())
    for sample in samples:
        (noun,) = [noun for noun in ("mug", "apple", "banana") if noun in sample.plain]
        assert set(sample.targets) == set(rest[noun])
        assert set(sample.anchors) == {1, 2, 3, 4} - set(sample.targets)


def test_where_something_is_hidden_nobody_knows_what_everything_is():
    hidden = table(FRUIT.objects, VIEWS, (*VIEWS[:3], view(4, 160, 200, 0.6, visible=0)))
    assert many(hidden, "exclusion", frame=1) == []


# -- orders that are finished afterwards -------------------------------------------------------------------------------


def test_what_is_said_behind_a_noun_tells_which_one():
    samples = many(FRUIT, "corrected", 120)
    assert {sample.targets for sample in samples} >= {(3,), (4,)}
    for sample in samples:
        assert len(sample.targets) == 1
        if not sample.anchors and {"blue", "mug"} <= set(re.findall("[a-z]+", sample.plain)):
            assert sample.targets == (3,)
        if not sample.anchors and sample.targets in ((3,), (4,)) and "mug" in sample.plain:
            assert set(sample.candidates) == {3, 4}


def test_ends_and_sizes_are_as_without_a_break():
    two = table((thing(1, "mug", "red"), thing(2, "mug", "blue")), (view(1, 60, 120, 0.9), view(2, 260, 120, 0.9)))
    for sample in many(two, "corrected", 120):
        if "left" in sample.plain.split():
            assert sample.targets == (1,)
        if "right" in sample.plain.split():
            assert sample.targets == (2,)
        assert not {"big", "biggest", "small", "smallest"} & set(sample.plain.split())  # they look the same


# -- what came into view -----------------------------------------------------------------------------------------------


def _arrival(before: int, amodal: int):
    objects = (thing(1, "mug", "red"), thing(2, "banana", "yellow"))
    early = (view(1, 60, 120, 0.9), view(2, 160, 60, 1.1, visible=before, amodal=amodal))
    return table(objects, *[early] * 6, *[(view(1, 60, 120, 0.9), view(2, 160, 60, 1.1))] * 6)


def test_what_was_not_there_at_first_can_be_asked_for():
    samples = many(_arrival(0, 0), "appeared", 20, frame=11)
    assert samples
    assert {(sample.kind, sample.targets) for sample in samples} == {("time", (2,))}
    assert many(_arrival(0, 0), "appeared", 20, frame=11, since=7) == []  # who looks from then on saw nothing come


def test_what_was_only_hidden_did_not_come():
    assert many(_arrival(0, 900), "appeared", 20, frame=11) == []
    assert many(_arrival(900, 900), "appeared", 20, frame=11) == []


# -- the words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wording", [EVERYDAY, OTHER_HAND, OTHER_HAND_VALIDATED])
def test_each_hand_has_words_for_all_of_it(wording):
    for seed in range(30):
        facts = random_table(seed)
        for sample in sample_requests(
            facts, 1, np.random.default_rng(seed), 30, ALL_KINDS, wording=wording, known=KINDS
        ):
            assert "{" not in sample.plain
            assert sample.answer.count("[SEG]") == len(sample.targets)
    assert {"group", "exclusion", "corrected"} <= {
        sample.kind
        for seed in range(30)
        for sample in sample_requests(
            random_table(seed), 1, np.random.default_rng(seed), 30, ALL_KINDS, wording=wording
        )
    }


def test_words_of_the_first_splits_ask_for_none_of_it():
    for kind in WIDE:
        assert many(FRUIT, kind, 20, wording=TRAINED) == []
