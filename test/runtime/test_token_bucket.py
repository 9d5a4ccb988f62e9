"""A burst passes, a flood does not, and a pause fills the bucket again."""

from __future__ import annotations

import pytest

from villa_ros.runtime.token_bucket import TokenBucket


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("burst", "rate_hz", "at_once"), [(None, 5.0, 5), (None, 0.5, 1), (3, 100.0, 3)])
def test_so_many_pass_at_once_and_then_at_the_rate(burst: int | None, rate_hz: float, at_once: int) -> None:
    clock = Clock()
    bucket = TokenBucket(burst, clock)
    assert [bucket.take(rate_hz) for _ in range(at_once + 1)] == [True] * at_once + [False]
    clock.now_s += 1.0 / rate_hz
    assert [bucket.take(rate_hz) for _ in range(2)] == [True, False]
    clock.now_s += 3600.0
    assert sum(bucket.take(rate_hz) for _ in range(1000)) == at_once


def test_without_a_rate_everything_passes_and_a_rate_set_later_begins_full() -> None:
    clock = Clock()
    bucket = TokenBucket(clock=clock)
    assert all(bucket.take(0.0) for _ in range(1000))
    assert [bucket.take(2.0) for _ in range(3)] == [True, True, False]


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    clock = Clock()
    bucket = TokenBucket(clock=clock)
    assert [bucket.take(1.0), bucket.take(1.0)] == [True, False]
    clock.now_s -= 50.0
    assert not bucket.take(1.0)
