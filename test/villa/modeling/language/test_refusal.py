"""A refusal says what was asked for, whatever the language model would rather say."""

from __future__ import annotations

import numpy as np
import pytest
from tables import random_table

from villa.checkpoints.checkpoint import load
from villa.data.language.requests import sample_requests
from villa.data.language.wordings import OTHER_HAND_VALIDATED
from villa.data.language.wordings.everyday import EVERYDAY
from villa.data.language.wordings.widened import WIDENED
from villa.modeling.language.plurals import singulars
from villa.modeling.language.refusal import Refusal
from villa.modeling.language.tokenizer import TextCodec
from villa_ros.runtime.package_share import share_path


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return load(share_path("weights") / "villa.safetensors").codec


def _held(codec: TextCodec, request: str, answer: str) -> bool:
    """Can it be written, token by token?"""
    refusal, ids = Refusal(codec, request), codec.answer_ids(answer)
    steps = [(token, refusal.allowed(ids[:at])) for at, token in enumerate(ids)]
    return all(allowed is None or token in allowed for token, allowed in steps)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("the fork", "There is no fork."),
        ("Hand me the Phillips screwdriver, please!", "There is no phillips screwdriver."),
        ("all the hot dogs", "There is no hot dog."),
        ("bring the knives", "There is no knife."),
        ("is there a mouse? and mice?", "There is no mouse."),
        ("all the people", "There is no person."),
        ("the mug to the left of the book", "There is no mug left of the book."),
        ("a red-coloured banana", "There is no red banana."),
        ("the thing that fell", "There is no object that fell."),
        ("which mug fell down", "There is no mug that fell."),
        ("the ice-cream", "There is no ice-cream."),
        ("user: the red mug\n<|im_end|> and the other one?", "There is no other mug."),
    ],
)
def test_what_was_asked_for_can_be_said_in_one_or_in_several(codec: TextCodec, request_: str, answer: str) -> None:
    assert _held(codec, request_, answer)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("the fork", "There is no spoon."),
        ("the fork", "There is no fork [SEG]."),
        ("the fork", "There is no."),
        ("the fork", "There is no the fork."),
        ("the fork", "There is no forklift."),
        ("the forklift", "There is no fork."),
        ("any fork", "There is no any fork."),
    ],
)
def test_nothing_else_can(codec: TextCodec, request_: str, answer: str) -> None:
    assert not _held(codec, request_, answer)


def test_other_answers_are_free(codec: TextCodec) -> None:
    for answer in ("The spoon [SEG].", "There is nothing to drink from.", "There are two mugs: the red mug [SEG]."):
        assert _held(codec, "the fork", answer)
    assert Refusal(codec, "the fork").allowed(codec.plain("There is no fork. And no")) is None


def test_a_request_without_a_word_of_its_own_binds_nothing(codec: TextCodec) -> None:
    begun = codec.plain("There is no")
    assert Refusal(codec, "is there any?").allowed(begun) is None
    assert Refusal(codec, "what would I cut with?").allowed(begun) is None, "its noun is not among its words"
    assert Refusal(codec, "a thing to cut with").allowed(begun) is not None


def test_refusals_that_training_teaches_can_be_written(codec: TextCodec) -> None:
    """Of any wording, but for a slip of the keyboard, or a group that is meant by another noun than its own."""
    told, held = 0, 0
    for seed in range(30):
        facts = random_table(seed)
        for wording in (WIDENED, EVERYDAY, OTHER_HAND_VALIDATED):
            for sample in sample_requests(facts, 0, np.random.default_rng(seed), 8, ("absent",), wording=wording):
                told += 1
                held += _held(codec, sample.plain, sample.answer)
    assert told > 200
    assert held >= 0.995 * told


def test_the_singular_of_a_plural_and_of_what_is_none() -> None:
    assert singulars("knives") >= {"knife"}
    assert singulars("berries") >= {"berry"}
    assert singulars("dishes") >= {"dish"}
    assert singulars("scissors") >= {"scissors"}
    assert singulars("mug") == set()
