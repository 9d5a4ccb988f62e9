"""Naming everything in view."""

from __future__ import annotations

import numpy as np
import pytest

from villa.data.clips import SCHEMA, ClipFacts, ObjectFacts, View
from villa.data.language.describe import check, describe


def _facts(*things: tuple[str, str, float, int]) -> ClipFacts:
    """Things as (colour, kind, middle x, visible px)."""
    return ClipFacts(
        schema=SCHEMA,
        generator=0,
        seed=0,
        split="train",
        fps=5.0,
        width=320,
        height=240,
        intrinsics=(300.0, 300.0, 160.0, 120.0),
        camera_position_m=((0.0, 0.0, 1.0),),
        camera_rotation=((1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),),
        table="drawn",
        objects=tuple(
            ObjectFacts(i, f"{i}", kind, f"{colour} {kind}", (kind,), colour, (), "paint", (), "drawn")
            for i, (colour, kind, _, _) in enumerate(things, start=1)
        ),
        frames=(
            tuple(
                View(i, px, 400, (int(x) - 10, 50, 20, 20), (x, 60.0), 1.0, (x / 100, 0.0, 0.05))
                for i, (_, _, x, px) in enumerate(things, start=1)
            ),
        ),
        events=(),
    )


@pytest.mark.parametrize(
    ("things", "sentence"),
    [
        ((), "I see nothing."),
        ((("red", "mug", 100.0, 400),), "I see a red mug."),
        # From left to right, and what is hardly visible is left out.
        (
            (("red", "mug", 200.0, 400), ("orange", "bowl", 50.0, 400), ("blue", "can", 120.0, 5)),
            "I see an orange bowl and a red mug.",
        ),
        (
            (("red", "mug", 200.0, 400), ("red", "mug", 50.0, 400), ("blue", "can", 120.0, 400)),
            "I see the left red mug, a blue can and the right red mug.",
        ),
    ],
)
def test_everything_in_view_is_named_from_left_to_right(things, sentence):
    sample = describe(_facts(*things), 0, np.random.default_rng(0))
    assert sample.answer == sentence
    assert sample.targets == ()
    assert sample.kind == "describe"


def test_it_is_asked_in_many_ways():
    facts = _facts(("red", "mug", 100.0, 400))
    texts = {describe(facts, 0, np.random.default_rng(seed)).plain for seed in range(60)}
    assert len(texts) >= 10


def test_nouns_are_checked_against_what_is_there():
    facts = _facts(("red", "mug", 100.0, 400), ("blue", "can", 200.0, 400))
    answers = {}
    for seed in range(40):
        sample = check(facts, 0, np.random.default_rng(seed))
        assert sample is not None
        assert sample.targets == ()
        for said in sample.answer.rstrip(".").replace(" and ", ", ").split(", "):
            noun, colour = said.lower().removeprefix("the ").split(" is ")
            assert f"the {noun}" in sample.plain
            answers.setdefault(noun, set()).add(colour)
    assert answers["mug"] == {"red"}
    assert answers["can"] == {"blue"}
    # What a jar is to one speaker is a can to another.
    assert "jar" not in answers
    assert answers["hammer"] == {"not here"}


def test_two_of_a_kind_have_no_one_colour():
    facts = _facts(("red", "mug", 100.0, 400), ("blue", "mug", 200.0, 400))
    for seed in range(20):
        sample = check(facts, 0, np.random.default_rng(seed))
        assert sample is None or " mug" not in sample.plain
