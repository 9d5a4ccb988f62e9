"""Criteria in words: what is understood, what is refused, and how they are judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from villa_ros.evaluation.criteria import CriterionError, parse_criterion
from villa_ros.evaluation.results import Asked, BagResult, Timing

RED = Asked(
    request_id="red",
    text="the red mug",
    camera="camera",
    stamp_ns=0,
    answer="The red mug.",
    state="TRACKING",
    message="",
    present=True,
    answered=True,
    j=0.8,
    f=0.7,
    jf=0.75,
    coverage=0.9,
    hota=0.7,
    switches=1,
    frames=10,
    first_mask_s=0.4,
)
BLUE = replace(RED, request_id="blue", text="the blue mug", jf=0.25, j=0.2, f=0.3, switches=0, first_mask_s=0.8)
ABSENT = replace(
    RED, request_id="none", text="a banana", present=False, answered=False, jf=None, j=None, f=None, hota=None,
    switches=None, coverage=None, first_mask_s=None, state="NO_TARGET",
)  # fmt: skip
BAG = BagResult(
    "one", "one.mcap", "one", requests=(RED, BLUE, ABSENT), timing=Timing(tuple(i / 100 for i in range(1, 101))),
    dropped={"camera": {"replaced": 3, "bad image: x": 1}},
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value", "passed"),
    [
        ("J&F of 'the red mug' >= 0.7", 0.75, True),
        ('J&F of "red" >= 0.8', 0.75, False),
        ("J&F >= 0.5", 0.5, True),
        ("mean J&F > 0.5", 0.5, False),
        ("J of 'blue' = 0.2", 0.2, True),
        ("F >= 50 %", 0.5, True),
        ("id switches = 0", 1, False),
        ("switches of 'blue' == 0", 0, True),
        ("coverage >= 90%", 0.9, True),
        ("HOTA < 0.71", 0.7, True),
        ("refused <= 0", 0, True),
        ("absent right >= 1", 1.0, True),
        ("answered requests >= 3", 3, True),
        ("answered requests = 2", 3, False),
        ("p95 latency < 0.96 s", 0.95, True),
        ("p50 latency < 500 ms", 0.5, False),
        ("max latency <= 1 s", 1.0, True),
        ("first mask < 800 ms", 0.8, False),
        ("first mask of 'red' < 0.5 s", 0.4, True),
        ("dropped frames <= 4", 4, True),
        ("failed requests = 0", 0, True),
        ("absent stays absent", 1.0, True),
        ("Present is  found", 1.0, True),
    ],
)
def test_a_criterion_is_measured_and_judged(text: str, value: float, passed: bool) -> None:
    verdict = parse_criterion(text).judge([BAG])
    assert verdict.value == pytest.approx(value)
    assert verdict.passed is passed
    assert bool(verdict.reason) is not passed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("J&F of the red mug >= 0.7", "is not measured"),
        ("JF >= 0.7", "did you mean 'J&F'"),
        ("J&F >= 70", "is not within 0..1 (or write 70 %)"),
        ("J&F >= 0.7 s", "is a share"),
        ("p95 latency < 0.2", "has no unit; wanted s or ms"),
        ("p95 latency < 20 %", "has the unit '%'"),
        ("p95 latency < 2 min", "has the unit 'min'"),
        ("id switches = 0.5", "wanted a whole number"),
        ("id switches = 3 s", "wanted a whole number"),
        ("id swiches = 0", "did you mean 'id switches'"),
        ("p95 latency of 'red' < 1 s", "is measured over all requests"),
        ("absent stay absent", "did you mean 'absent stays absent'"),
        ("J&F", "is no criterion"),
        ("J&F >= often", "is no criterion"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_was_wanted(text: str, told: str) -> None:
    with pytest.raises(CriterionError) as error:
        parse_criterion(text)
    assert told in str(error.value)


def test_nothing_to_measure_is_a_failure_and_says_so() -> None:
    unknown = replace(BAG, requests=(replace(RED, present=None, jf=None, switches=None),), timing=Timing())
    for text in ("J&F >= 0", "id switches >= 0", "p95 latency < 9 s", "absent stays absent", "present is found"):
        verdict = parse_criterion(text).judge([unknown])
        assert not verdict.passed, text
        assert verdict.value is None
        assert verdict.reason
    assert "no request is 'the green mug'" in parse_criterion("J&F of 'the green mug' > 0").judge([BAG]).reason


def test_absent_that_got_a_mask_is_named() -> None:
    wrong = replace(ABSENT, answered=True)
    verdict = parse_criterion("absent stays absent").judge([replace(BAG, requests=(wrong, ABSENT))])
    assert not verdict.passed
    assert verdict.value == 0.5
    assert "1 of 2: 'a banana'" in verdict.reason


def test_silence_is_no_right_answer_for_what_is_absent() -> None:
    silent = replace(BAG, requests=(replace(ABSENT, answer="", state="FAILED"), ABSENT, replace(RED, answer="")))
    assert parse_criterion("absent right >= 1").judge([silent]).value == 0.5
    assert parse_criterion("answered requests >= 1").judge([silent]).value == 1
    assert parse_criterion("absent stays absent").judge([silent]).passed, "it is about masks"
    assert parse_criterion("refused = 0").judge([silent]).passed


def test_several_bags_are_judged_together() -> None:
    other = replace(BAG, name="two", requests=(replace(RED, jf=0.25),))
    assert parse_criterion("J&F of 'the red mug' >= 0.5").judge([BAG, other]).value == pytest.approx(0.5)
