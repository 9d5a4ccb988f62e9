"""What holds for every value of a kind: hypothesis looks for one for which it does not, and makes it small.

`make fuzz` asks for many more examples than the tests do, with the profile "long".
"""

from __future__ import annotations

import json
import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from villa import masks
from villa.files.plain_data import MOST_NODES, PlainDataError, from_json, from_yaml
from villa_ros.pipeline.stamp_filter import StampFilter
from villa_ros.pipeline.stop_words import STOP_WORDS_OF, is_aside, is_stop
from villa_ros.speech.stop_phrases import is_spoken_stop

settings.register_profile("short", max_examples=60, derandomize=True, deadline=None, database=None)
settings.register_profile("long", max_examples=2_000, deadline=None, database=None)
settings.load_profile("short")  # --hypothesis-profile comes later, and wins

STOPS = st.sampled_from([stop for words in STOP_WORDS_OF.values() for stop in words])
ASIDES = st.sampled_from(
    ["please", "now", "right now", "hey", "robot", "bitte", "s'il te plaît", "i said", "no", "wait"]
)
BETWEEN = st.sampled_from([" ", ", ", "! ", "... ", " - ", "\n", "\u200b "])
CASES = st.sampled_from([str.upper, str.lower, str.title, lambda text: unicodedata.normalize("NFD", text)])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
def test_a_mask_that_is_encoded_is_decoded_as_it_was(mask: np.ndarray) -> None:
    coded = masks.encode(mask)
    assert np.array_equal(masks.decode(coded), mask)
    assert coded.area == mask.sum()
    assert coded.runs[1:].all(), "only the first run may be of no pixel"
    assert masks.encode(masks.decode(coded)) == coded


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12),
        elements=st.floats(-8, 8, width=32),
    ),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_a_mask_of_logits_is_the_same_by_the_short_way(logits: np.ndarray, down: int, right: int) -> None:
    height, width = logits.shape[0] * down, logits.shape[1] * right
    assert masks.of_logits(logits, height, width) == masks.encode(masks.from_logits(logits, height, width))


@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=8),
    st.tuples(*[st.integers(0, 30)] * 4),
    st.tuples(st.integers(0, 30), st.integers(0, 30)),
)
def test_runs_of_anybody_are_a_mask_or_refused(
    runs: list[int], box: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    x, y, width, height = box
    coded = masks.RleMask(*size, x, y, width, height, np.asarray(runs, np.uint32), sum(runs[1::2]))
    try:
        mask = masks.decode(coded)
    except masks.MaskError:
        return
    assert mask.shape == size
    assert mask.sum() == coded.area


@given(STOPS, st.lists(ASIDES, max_size=3), st.lists(ASIDES, max_size=3), BETWEEN, CASES)
def test_a_stop_stays_one_whatever_is_said_beside_it(
    stop: str, before: list[str], after: list[str], between, case
) -> None:
    text = case(between.join([*before, stop, *after]))
    assert is_stop(text)
    assert not is_aside(text)
    assert is_spoken_stop(text)
    assert is_aside(between.join([*before, *after]))


@given(STOPS | st.text(max_size=20), st.sampled_from(["the red mug", "watch it", "sign on the wall"]))
def test_what_asks_for_something_is_no_stop(before: str, asked: str) -> None:
    assert not is_stop(f"{before} {asked}")


@given(st.text())
def test_a_text_that_is_a_stop_is_one_when_it_is_spoken(text: str) -> None:
    assert is_spoken_stop(text) or not is_stop(text)


@given(st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 10**8)), max_size=40), st.integers(0, 10**9))
def test_every_stamp_goes_on_or_is_left_out_and_once(steps: list[tuple[int, int]], jump_ns: int) -> None:
    left_out: list[int] = []
    stamps: StampFilter[int] = StampFilter(left_out.append)
    passed = []
    stamp_ns = arrival_ns = 10**18
    for number, (step, waited) in enumerate(steps):
        stamp_ns, arrival_ns = stamp_ns + step, arrival_ns + waited
        passed += stamps.offer(number, stamp_ns, arrival_ns, jump_ns)
    passed += stamps.rest(jump_ns)
    numbers = [one.item for one in passed]
    assert numbers == sorted(numbers)
    assert sorted(numbers + left_out) == list(range(len(steps)))


@given(JSON)
def test_plain_data_is_what_was_written(value: object) -> None:
    assert from_json(json.dumps(value)) == value


@given(st.text() | st.binary())
def test_a_text_of_anybody_is_plain_data_or_refused(text: str | bytes) -> None:
    for read in (from_json, from_yaml) if isinstance(text, str) else (from_json,):
        try:
            value = read(text)
        except PlainDataError:
            continue
        assert len(repr(value)) < 10 * MOST_NODES
