"""Which stamps follow, which are left out, and which are a clock that jumped."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from villa_ros.pipeline.clip_buffer import NS_PER_S
from villa_ros.pipeline.stamp_filter import StampFilter

JUMP_NS = 5 * NS_PER_S


def ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def run(stamps: Sequence[float], arrivals: Sequence[float] | None = None, jump_ns: int = JUMP_NS, *, end: bool = True):
    """Numbers of what passed, how many were left out, and (number, seconds) of jumps."""
    left_out: list[int] = []
    one: StampFilter[int] = StampFilter(left_out.append)
    passed = []
    for number, stamp in enumerate(stamps):
        arrival = arrivals[number] if arrivals else number * 0.1
        passed += one.offer(number, ns(stamp), ns(arrival), jump_ns)
    if end:
        passed += one.rest(jump_ns)
    jumps = [(each.item, round(each.jumped_ns / NS_PER_S, 1)) for each in passed if each.jumped_ns]
    return [each.item for each in passed], len(left_out), jumps


STEADY = [100 + 0.1 * number for number in range(12)]


def with_stamp(at: int, stamp: float) -> list[float]:
    return [*STEADY[:at], stamp, *STEADY[at + 1 :]]


def test_a_steady_camera_passes_at_once() -> None:
    assert run(STEADY, end=False) == (list(range(12)), 0, [])


@pytest.mark.parametrize("stamp", [0.0, 102.5, 90.0, 1e9, 99.0, -5.0])
@pytest.mark.parametrize("at", [1, 5, 10])
def test_one_bad_stamp_is_left_out_and_nothing_jumps(at: int, stamp: float) -> None:
    passed, left_out, jumps = run(with_stamp(at, stamp), end=False)
    assert passed == [number for number in range(12) if number != at]
    assert (left_out, jumps) == (1, [])


def test_two_bad_stamps_one_after_the_other_that_do_not_follow_each_other() -> None:
    stamps = [*STEADY[:5], 500.0, 0.0, *STEADY[7:]]
    passed, left_out, _ = run(stamps, end=False)
    assert passed[-5:] == [7, 8, 9, 10, 11]
    assert left_out >= 1


@pytest.mark.parametrize("by", [-20.0, 30.0])
def test_a_clock_that_jumps_jumps_once_and_costs_no_frame(by: float) -> None:
    stamps = [*STEADY[:5], *(stamp + by for stamp in STEADY[5:])]
    passed, left_out, jumps = run(stamps, end=False)
    assert passed == list(range(12))
    assert (left_out, jumps) == (0, [(5, by)])


def test_a_jump_is_told_with_the_frame_after_it() -> None:
    one: StampFilter[str] = StampFilter()
    for number, stamp in enumerate(STEADY[:5]):
        assert len(one.offer("old", ns(stamp), ns(number * 0.1), JUMP_NS)) == 1
    assert one.offer("first", ns(3.0), ns(0.5), JUMP_NS) == []
    assert [(each.item, each.jumped_ns < 0) for each in one.offer("second", ns(3.1), ns(0.6), JUMP_NS)] == [
        ("first", True),
        ("second", False),
    ]


def test_ahead_by_less_than_a_jump_is_a_gap() -> None:
    """Two seconds of frames were lost on their way, and the rest came at once."""
    stamps = [*STEADY[:5], *(stamp + 2.0 for stamp in STEADY[5:])]
    assert run(stamps, end=False) == (list(range(12)), 0, [])


def test_a_stall_after_which_all_come_together() -> None:
    arrivals = [*(0.1 * number for number in range(5)), *(3.0 + 0.001 * number for number in range(7))]
    assert run(STEADY, arrivals, end=False) == (list(range(12)), 0, [])


def test_frames_that_overtake_each_other_pass_as_they_came() -> None:
    stamps = [100.0, 100.1, 100.3, 100.2, 100.4]
    assert run(stamps, end=False) == ([0, 1, 2, 3, 4], 0, [])


@pytest.mark.parametrize("rate", [2.0, 10.0, 30.0])
@pytest.mark.parametrize("period", [0.1, 1.0, 5.0])
def test_a_slow_camera_that_is_played_fast_does_not_jump(period: float, rate: float) -> None:
    stamps = [100 + period * number for number in range(12)]
    passed, left_out, jumps = run(stamps, [period / rate * number for number in range(12)])
    assert (passed, left_out) == (list(range(12)), 0)
    assert len(jumps) <= 1  # the first step of a very slow one is not yet known as its pace
    assert all(number == 1 for number, _ in jumps)


def test_a_bag_that_starts_over_jumps_back_each_time() -> None:
    stamps = [*STEADY, *STEADY, *STEADY]
    passed, left_out, jumps = run(stamps, end=False)
    assert (passed, left_out) == (list(range(36)), 0)
    assert [number for number, _ in jumps] == [12, 24]


def test_without_a_limit_a_clock_that_runs_ahead_is_only_a_gap_and_one_that_goes_back_still_jumps() -> None:
    ahead = [*STEADY[:5], *(stamp + 1000 for stamp in STEADY[5:])]
    assert run(ahead, jump_ns=0) == (list(range(12)), 0, [])
    back = [*STEADY[:5], *(stamp - 50 for stamp in STEADY[5:])]
    assert run(back, jump_ns=0)[2] == [(5, -50.0)]


def test_what_is_held_at_the_end_goes_on() -> None:
    passed, left_out, _ = run([*STEADY, 200.0])
    assert (passed[-1], left_out) == (12, 0)


def test_stamps_that_stand_still_pass() -> None:
    """What they mean is for the ring to say."""
    assert run([100.0] * 6, end=False)[0] == list(range(6))
