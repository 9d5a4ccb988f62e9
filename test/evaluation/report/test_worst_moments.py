"""Which requests and frames a report shows first."""

from __future__ import annotations

from villa_ros.evaluation.report.worst_moments import IN_ALL, worst_first, worst_moments
from villa_ros.evaluation.results import Asked, BagResult, Moment, ScenarioResult


def _result_of(*asked: Asked) -> ScenarioResult:
    bag = BagResult("bag", "bag", "bag", requests=asked)
    return ScenarioResult("any", "", "every-frame", {}, {}, 0, (bag,), ())


def _request(
    name: str, present: bool | None, answered: bool, jf: float | None, moments: tuple[Moment, ...] = ()
) -> Asked:
    said = ("It is so.", "TRACKING", "")
    return Asked(name, name, "camera", 0, *said, present, answered, jf, jf, jf, None, None, None, 1, None, moments)


def test_wrong_requests_come_before_low_ones_and_unknown_before_rightly_refused() -> None:
    result = _result_of(
        _request("refused", False, False, None),
        _request("unknown", None, True, None),
        _request("good", True, True, 0.9),
        _request("low", True, True, 0.3),
        _request("missed", True, False, 0.0),
        _request("invented", False, True, None),
    )
    names = [asked.text for _, asked in worst_first(result)]
    assert names == ["missed", "invented", "low", "good", "unknown", "refused"]


def test_worst_moments_lie_apart_and_each_request_has_one_before_any_has_two() -> None:
    frames = tuple(Moment(int(n * 1e8), True, 1, n / 100, n / 100) for n in range(40))
    one = worst_moments(_result_of(_request("low", True, True, 0.2, frames)))
    assert [moment.moment.stamp_ns // 10**8 for moment in one] == [0, 10, 20]
    many = _result_of(*(_request(f"low {n}", True, True, 0.2, frames) for n in range(IN_ALL - 1)))
    counts = [sum(moment.asked is asked for moment in worst_moments(many)) for _, asked in worst_first(many)]
    assert counts == [2] + [1] * (IN_ALL - 2)


def test_a_mask_for_what_is_not_there_is_a_worst_moment() -> None:
    frames = tuple(Moment(int(n * 1e8), n > 4, int(n > 4), None, None) for n in range(8))
    (first, *_) = worst_moments(_result_of(_request("invented", False, True, None, frames)))
    assert first.moment.masks == 1
    assert first.jf is None
