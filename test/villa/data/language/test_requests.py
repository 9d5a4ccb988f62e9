"""A request has one right answer: checked against the facts by brute force, on tables made up for the test."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from tables import random_table, table, thing, view

from villa.data.clips import ClipFacts
from villa.data.language.affordances import USES
from villa.data.language.phrases import Speaker
from villa.data.language.requests import COLOURS, KINDS, MOST_TARGETS, REQUEST_KINDS, RequestSample, sample_requests
from villa.data.language.spatial_relations import (
    RELATIONS,
    Holds,
    behind,
    between,
    distance_m,
    left_of,
    next_to,
    right_of,
)
from villa.data.language.vocabulary import KIND, TABLETOP
from villa.data.language.wordings import HELD_OUT, OTHER_HAND, OTHER_HAND_VALIDATED, TRAINED, VALIDATED, Wording
from villa.data.language.wordings.everyday import EVERYDAY
from villa.data.language.wordings.widened import WIDENED


def many(facts: ClipFacts, kind: str, count: int = 40, frame: int = 0) -> list[RequestSample]:
    return sample_requests(facts, frame, np.random.default_rng(0), count, (kind,))


MUGS = table(
    (thing(1, "mug", "red"), thing(2, "mug", "blue"), thing(3, "bowl", "red"), thing(4, "book", "green")),
    (view(1, 60, 120, 0.9), view(2, 160, 60, 1.1), view(3, 250, 160, 0.7), view(4, 160, 200, 0.6)),
)


def test_two_of_a_kind_are_both_meant_and_counted() -> None:
    samples = many(MUGS, "ambiguous")
    assert samples
    for sample in samples:
        assert sample.targets == (1, 2)
        assert sample.answer == "There are two mugs: the red mug [SEG] and the blue mug [SEG]." or (
            sample.answer == "There are two coffee mugs: the red mug [SEG] and the blue mug [SEG]."
        )


def test_a_colour_tells_twins_apart() -> None:
    samples = [s for s in many(MUGS, "colour") if s.targets == (1,)]
    assert samples
    for sample in samples:
        assert sample.answer == "The red mug [SEG]."
        assert "red" in sample.plain
        assert "mug" in sample.plain


def test_a_kind_is_denied_only_when_nothing_could_be_called_so() -> None:
    for sample in many(MUGS, "absent", 300):
        assert sample.targets == ()
        assert "[SEG]" not in sample.answer
        assert sample.answer.startswith("There is no")
        assert "cup." not in sample.answer  # some would call a mug a cup
        for item in MUGS.objects:
            assert sample.answer != f"There is no {item.name}."


def test_what_is_hidden_or_barely_seen_is_neither_meant_nor_denied() -> None:
    hidden = table(
        (thing(1, "mug", "red"), thing(2, "banana", "yellow"), thing(3, "book", "blue")),
        (view(1, 60, 120, 0.9), view(2, 160, 60, 1.1), view(3, 250, 160, 0.7)),
        (view(1, 60, 120, 0.9), view(2, 160, 60, 1.1, visible=0), view(3, 250, 160, 0.7, visible=12)),
    )
    samples = [s for kind in REQUEST_KINDS for s in many(hidden, kind, 60, frame=1)]
    assert {s.targets for s in samples} == {(1,), ()}
    assert all("banana" not in s.plain and "book" not in s.plain for s in samples)


def test_an_object_never_seen_may_be_denied() -> None:
    unseen = table(
        (thing(1, "mug", "red"), thing(2, "banana", "yellow")),
        (view(1, 60, 120, 0.9), view(2, 160, 60, 1.1, visible=0, amodal=0)),
    )
    assert any("banana" in sample.answer for sample in many(unseen, "absent", 300))


def test_an_object_of_several_colours_is_not_asked_for_by_one_of_them() -> None:
    facts = table(
        (thing(1, "mug", "red", ("white",)), thing(2, "bowl", "white"), thing(3, "book", "blue")),
        (view(1, 60, 120, 0.9), view(2, 160, 60, 1.1), view(3, 250, 160, 0.7)),
    )
    for sample in [*many(facts, "several", 100), *many(facts, "colour", 100)]:
        assert not any(f"white {word}" in sample.plain for word in ("thing", "object", "item"))
    for sample in many(facts, "absent", 300):
        assert sample.answer != "There is no white mug."


def test_where_no_colour_is_the_main_one_none_is_asked_for_and_none_of_them_denied() -> None:
    jar = replace(thing(1, "jar", "red"), colour="", colours=("red", "white"), name="jar")
    hammer = replace(thing(2, "hammer", "blue"), colour="", colours=("blue", "black"), name="hammer")
    facts = table((jar, hammer), (view(1, 60, 120, 0.9), view(2, 160, 60, 1.1)))
    samples = [sample for kind in REQUEST_KINDS for sample in many(facts, kind, 100)]
    denied = {sample.answer for sample in samples if sample.kind == "absent"}
    assert {"There is no green jar.", "There is no red hammer."} <= denied
    for wrong in ("red jar", "white jar", "blue hammer", "black hammer", "red thing", "black object"):
        assert not any(wrong in sample.plain for sample in samples if sample.targets)
        assert f"There is no {wrong}." not in denied
    assert {sample.answer for sample in samples if sample.targets == (2,)} == {"The hammer [SEG]."}


def test_a_hammer_of_unknown_colours_may_have_any() -> None:
    facts = table((thing(1, "hammer", "blue"), thing(2, "book", "red")), (view(1, 60, 120, 0.9), view(2, 160, 60, 1.1)))
    denied = {sample.answer for sample in many(facts, "absent", 300)}
    assert "There is no green book." in denied
    assert not denied & {f"There is no {colour} hammer." for colour in COLOURS}


@pytest.mark.parametrize("seed", range(40))
def test_targets_are_visible_and_named_from_left_to_right(seed: int) -> None:
    facts = random_table(seed)
    views = {item.id: item for item in facts.frames[1]}
    for sample in sample_requests(facts, 1, np.random.default_rng(seed), 40):
        assert sample.answer.count("[SEG]") == len(sample.targets) <= MOST_TARGETS
        assert (sample.kind == "absent") == (not sample.targets)
        assert all(views[number].visible_px >= 40 for number in sample.targets)
        xs = [views[number].centroid[0] for number in sample.targets]
        assert xs == sorted(xs)
        places = [sample.answer.index("[SEG]")] if sample.targets else []
        for number in sample.targets:
            noun = KIND[facts.objects[number - 1].kind].nouns[0]
            assert noun in sample.answer
        assert sample.text
        assert places == sorted(places)


@pytest.mark.parametrize("seed", range(40))
def test_a_relation_picks_the_only_object_it_holds_for(seed: int) -> None:
    """Read the sentence back and try every object against the anchor."""
    facts = random_table(seed)
    views = {item.id: item for item in facts.frames[1]}
    wordings = sorted(
        ((words, name) for name, several in TRAINED.relations.items() for words in several),
        key=lambda pair: -len(pair[0]),
    )
    for sample in sample_requests(facts, 1, np.random.default_rng(seed), 40, ("relation",)):
        found = next(((words, name) for words, name in wordings if f" {words} the " in sample.plain), None)
        if found is None:  # "nearest to" has its own test
            continue
        words, name = found
        before, after = sample.plain.split(f" {words} the ", 1)
        anchors = [o for o in facts.objects if any(noun in after for noun in o.names)]
        anchors = [o for o in anchors if not any(c in after for c in COLOURS) or o.colour in after]
        seen = [o for o in facts.objects if views[o.id].visible_px >= 40]
        meant = [o for o in seen if any(before.endswith(noun) for noun in o.names)]
        if before.endswith(("thing", "object", "item")):
            meant = seen
        answers = {
            o.id
            for anchor in anchors
            for o in meant
            if o.id != anchor.id and RELATIONS[name](views[o.id], views[anchor.id]) is Holds.YES
        }
        assert set(sample.targets) <= answers
        if len(anchors) == 1:
            assert answers == set(sample.targets)


def test_nearest_is_nearest_by_a_margin() -> None:
    for seed in range(30):
        facts = random_table(seed)
        views = {item.id: item for item in facts.frames[0]}
        seen = [o for o in facts.objects if any(f[o.id - 1].visible_px for f in facts.frames)]
        for sample in sample_requests(facts, 0, np.random.default_rng(seed), 60, ("relation",)):
            if "nearest" not in sample.plain and "closest" not in sample.plain:
                continue
            (target,) = sample.targets
            anchored = [
                o.id
                for o in seen
                if o.id != target
                and all(
                    distance_m(views[target], views[o.id]) <= distance_m(views[other.id], views[o.id])
                    for other in seen
                    if other.id not in (o.id, target)
                )
            ]
            assert anchored


def test_relations_exclude_each_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        a, b = (view(i, float(rng.uniform(20, 300)), 100.0, float(rng.uniform(0.5, 1.2))) for i in (1, 2))
        assert not (left_of(a, b) is Holds.YES and right_of(a, b) is Holds.YES)
        assert not (behind(a, b) is Holds.YES and behind(b, a) is Holds.YES)
        assert (left_of(a, b) is Holds.YES) == (right_of(b, a) is Holds.YES)
        assert next_to(a, b) is next_to(b, a)


def test_between_is_near_the_line_and_not_at_its_ends() -> None:
    left, right = view(1, 60, 120, 1.0), view(2, 260, 120, 1.0)
    assert between(view(3, 160, 120, 1.0), left, right) is Holds.YES
    assert between(view(3, 20, 120, 1.0), left, right) is Holds.NO
    assert between(view(3, 160, 120, 1.5), left, right) is Holds.NO
    assert between(view(3, 75, 120, 1.0), left, right) is Holds.UNCLEAR
    assert between(view(3, 160, 120, 1.0), left, view(2, 75, 120, 1.0)) is Holds.NO


def test_what_stands_between_two_things_is_meant() -> None:
    row = table(
        (thing(1, "mug", "red"), thing(2, "book", "blue"), thing(3, "bowl", "green"), thing(4, "pan", "black")),
        (view(1, 60, 120, 0.9), view(2, 160, 120, 0.9), view(3, 260, 120, 0.9), view(4, 160, 40, 1.6)),
    )
    samples = [s for s in many(row, "relation", 200) if "between" in s.plain and "mug" in s.plain and "bowl" in s.plain]
    assert samples
    assert {s.targets for s in samples} == {(2,)}


def test_a_material_is_asked_for_only_where_nothing_else_may_be_of_it() -> None:
    pans = table(
        (thing(1, "pan", "black"), thing(2, "book", "blue"), thing(3, "banana", "yellow")),
        (view(1, 60, 120, 0.9), view(2, 160, 120, 0.9), view(3, 260, 120, 0.9)),
    )
    samples = many(pans, "material", 20)
    assert {s.targets for s in samples if "metal" in s.plain} == {(1,)}
    assert {s.targets for s in samples if "paper" in s.plain} == {(2,)}
    views = (view(1, 60, 120, 0.9), view(2, 160, 120, 0.9))
    doubtful = table((thing(1, "pan", "black"), thing(2, "mug", "gray")), views)
    assert not many(doubtful, "material", 20)


def test_a_follow_up_means_something_only_after_its_first_request() -> None:
    samples = many(MUGS, "follow-up", 60)
    assert len(samples) > 20
    for sample in samples:
        (before,) = sample.history
        assert before.request
        assert before.answer.count("[SEG]") == len(sample.targets) == 1
        assert before.answer != sample.answer
        assert (before.target,) != sample.targets
    twins = [s for s in samples if "other" in s.plain]
    assert twins
    for sample in twins:
        assert {sample.history[0].answer, sample.answer} == {"The red mug [SEG].", "The blue mug [SEG]."}


def test_a_request_that_must_hold_on_other_frames_means_the_same_on_each() -> None:
    objects = (thing(1, "mug", "red"), thing(2, "book", "blue"), thing(3, "banana", "yellow"))
    moved = table(
        objects,
        (view(1, 250, 120, 0.9), view(2, 160, 120, 0.9), view(3, 40, 200, 0.6)),
        (view(1, 60, 120, 0.9), view(2, 160, 120, 0.9), view(3, 40, 200, 0.6)),
    )
    rng = np.random.default_rng
    kinds = ("relation", "superlative", "absent")
    free = sample_requests(moved, 1, rng(0), 80, kinds)
    bound = sample_requests(moved, 1, rng(0), 80, kinds, also_on=(0,))
    assert any("mug left of the" in s.plain and "book" in s.plain for s in free)
    assert bound
    for sample in bound:
        assert not ("left of" in sample.plain and "mug" in sample.plain and "book" in sample.plain)


def sentences(wording: Wording) -> set[str]:
    found: set[str] = set()
    for name in wording.__dataclass_fields__:
        value = getattr(wording, name)
        for part in value.values() if isinstance(value, dict) else [value] if isinstance(value, tuple) else []:
            for item in part:
                found |= {item} if isinstance(item, str) else set(item)
    return found


def test_no_sentence_kept_for_tests_is_among_those_for_training() -> None:
    held = sentences(HELD_OUT)
    assert len(held) > 120
    for wording in (TRAINED, WIDENED, EVERYDAY):
        assert not sentences(wording) & held
        for name in ("relations", "extremes", "happened", "what_happened", "further"):
            assert getattr(wording, name).keys() >= getattr(HELD_OUT, name).keys()


def telling(texts: Iterable[str]) -> set[str]:
    """Words that say what is meant: a split of unseen phrases shall be about words that training never had."""
    return {word for text in texts for word in re.findall(r"[a-z']{4,}", re.sub(r"{.*?}", " ", text.lower()))}


def core(wording: Wording) -> set[str]:
    extremes = [text for texts in wording.extremes.values() for text in texts]
    happened = [text for texts in (*wording.happened.values(), *wording.what_happened.values()) for text in texts]
    return telling((*extremes, *happened, *wording.not_coloured, *wording.further["other"]))


# Say nothing alone.
EMPTY = {"after", "before", "colour", "else", "from", "least", "more", "moment", "very"}


def test_no_telling_word_kept_for_tests_is_in_the_wider_wordings() -> None:
    usual = telling(sentences(replace(TRAINED, uses={})))
    assert len(core(WIDENED)) > 2 * len(core(TRAINED))
    for wording in (WIDENED, EVERYDAY):
        assert (core(HELD_OUT) - usual) & core(wording) <= EMPTY


@pytest.mark.parametrize("hand", [OTHER_HAND, OTHER_HAND_VALIDATED])
def test_what_another_hand_says_is_not_said_in_training(hand: Wording) -> None:
    """Except where all that it says for something is what everybody says: "to the left of"."""
    said = sentences(TRAINED) | sentences(WIDENED) | sentences(EVERYDAY)
    own = sentences(hand)
    assert len(own) > 250
    assert len(own & said) < 0.1 * len(own)
    for block in blocks(hand):
        assert not set(block) & said or set(block) <= said


def blocks(wording: Wording) -> Iterable[tuple[str, ...]]:
    waiting = [getattr(wording, name) for name in wording.__dataclass_fields__ if name != "bare"]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif value and isinstance(value[0], str):
            yield value
        else:
            waiting += value


def test_words_for_validation_are_neither_of_training_nor_of_a_test() -> None:
    mine = sentences(VALIDATED)
    assert len(mine) > 120
    usual = telling(sentences(replace(TRAINED, uses={})))
    for wording in (TRAINED, WIDENED, EVERYDAY, HELD_OUT):
        assert not sentences(wording) & mine
        assert (core(VALIDATED) - usual) & core(wording) <= EMPTY | {"nothing", "time", "with", "without"}
        for name in ("relations", "extremes", "happened", "what_happened", "further"):
            assert getattr(wording, name).keys() >= getattr(VALIDATED, name).keys()
    assert VALIDATED.uses.keys() == USES.keys()


def test_wider_wordings_hold_all_that_the_splits_are_built_with() -> None:
    assert sentences(TRAINED) < sentences(WIDENED)
    assert len(sentences(WIDENED)) > 4 * len(sentences(TRAINED))
    for use, own in TRAINED.uses.items():
        assert set(own.requests) < set(WIDENED.uses[use][0])
        assert set(own.phrases) < set(WIDENED.uses[use][1])


def test_requests_in_wider_words_mean_the_same_things() -> None:
    """What is meant hangs on the facts alone, and asides change no word of the request."""
    for seed in range(40):
        facts = random_table(seed)
        for sample in sample_requests(facts, 1, np.random.default_rng(seed), 30, wording=WIDENED):
            assert "{" not in sample.plain
            assert sample.answer.count("[SEG]") == len(sample.targets)
    asides = {*WIDENED.before, *WIDENED.after}
    speaker = Speaker(np.random.default_rng(0), WIDENED)
    said = Counter(speaker.aside("the red mug") for _ in range(400))
    assert 150 < said["the red mug"] < 350
    for text in said:
        assert set(text.split(", ")) <= {"the red mug", *asides}
    assert Speaker(np.random.default_rng(0), TRAINED).aside("the red mug") == "the red mug"


def test_requests_in_words_kept_for_tests_mean_the_same_things() -> None:
    kinds = [kind for kind in REQUEST_KINDS if kind != "time"]
    trained = {s.plain for seed in range(40) for s in sample_requests(MUGS, 0, np.random.default_rng(seed), 30, kinds)}
    for seed in range(40):
        facts = random_table(seed)
        for sample in sample_requests(facts, 1, np.random.default_rng(seed), 20, kinds, wording=HELD_OUT):
            assert sample.plain not in trained
            assert "{" not in sample.plain
            assert sample.answer.count("[SEG]") == len(sample.targets)


def test_kinds_of_request_keep_their_shares() -> None:
    counts: Counter[str] = Counter()
    for seed in range(120):
        facts = random_table(seed)
        counts.update(s.kind for s in sample_requests(facts, 0, np.random.default_rng(seed), 8))
    total = counts.total()
    assert total > 900
    assert 0.14 < counts["absent"] / total < 0.28
    assert set(counts) == set(REQUEST_KINDS) - {"time"}  # nothing moves on these tables
    for kind in ("name", "colour", "relation", "use", "several"):
        assert counts[kind] / total > 0.04


def test_the_same_generator_gives_the_same_requests() -> None:
    first, second = (sample_requests(MUGS, 0, np.random.default_rng(3), 12) for _ in range(2))
    assert first == second
    assert len({sample.plain for sample in first}) == 12


def test_an_empty_table_has_only_absent_things() -> None:
    samples = sample_requests(table((), ()), 0, np.random.default_rng(0), 10)
    assert samples
    assert {sample.kind for sample in samples} == {"absent"}


def test_the_lists_for_a_classifier_are_stable() -> None:
    assert KINDS[:4] == ("mug", "cup", "bowl", "plate")
    assert COLOURS[:3] == ("red", "orange", "yellow")
    assert KINDS[:29] == TABLETOP
    assert KINDS[-1] == "parking meter"
    assert len(KINDS) == 358
    assert len(COLOURS) == 11
