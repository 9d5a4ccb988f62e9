"""Two results side by side: regressions first, intervals over clips, and what has no partner."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from villa_ros.cli.main import app
from villa_ros.evaluation.comparison import compare_results
from villa_ros.evaluation.results import Asked, BagResult, ResultError, ScenarioResult, Verdict, to_json


def asked(
    name: str, jf: float | None, present: bool | None = True, answered: bool = True, answer: str = "It is so."
) -> Asked:
    return Asked(
        request_id=name, text=f"the {name}", camera="camera", stamp_ns=0, answer=answer, state="", message="",
        present=present, answered=answered, j=jf, f=jf, jf=jf, coverage=1.0, hota=None, switches=None, frames=1,
        first_mask_s=None,
    )  # fmt: skip


def scenario(path: Path, bags: dict[str, list[Asked]], verdicts: dict[str, bool] | None = None) -> Path:
    result = ScenarioResult(
        name="s", scenario="s.yaml", mode="every-frame", model={}, settings={}, seed=0,
        bags=tuple(BagResult(name, name, name, requests=tuple(of)) for name, of in bags.items()),
        verdicts=tuple(Verdict(text, passed, 1.0) for text, passed in (verdicts or {}).items()),
    )  # fmt: skip
    path.mkdir(exist_ok=True)
    (path / "result.json").write_text(json.dumps(to_json(result)))
    return path


def split(path: Path, values: dict[tuple[str, str], float]) -> Path:
    scores = [
        {"video": video, "key": key, "kind": "name", "request": key, "jf": jf, "absent": False, "answered": True}
        for (video, key), jf in values.items()
    ]
    path.write_text(json.dumps({"seed": 0, "rows": [], "scores": scores}))
    return path


def test_what_got_worse_comes_first(tmp_path: Path) -> None:
    before = scenario(tmp_path / "a", {"one": [asked("mug", 0.9), asked("can", 0.5), asked("jar", 0.7)]})
    after = scenario(tmp_path / "b", {"one": [asked("mug", 0.4), asked("can", 0.9), asked("jar", 0.6)]})
    found = compare_results(before, after)
    assert [change.before.key for change in found.regressions] == ["mug", "jar"]
    assert [change.before.key for change in found.improvements] == ["can"]
    assert [round(change.delta, 3) for change in found.changes] == [-0.5, -0.1, 0.4]
    (mean,) = found.means
    assert (mean.requests, mean.before, mean.after) == (3, pytest.approx(0.7), pytest.approx(19 / 30))


def test_absent_requests_have_a_mean_of_their_own(tmp_path: Path) -> None:
    before = scenario(tmp_path / "a", {"one": [asked("mug", 0.9), asked("unicorn", None, False, False)]})
    after = scenario(tmp_path / "b", {"one": [asked("mug", 0.9), asked("unicorn", None, False, True)]})
    found = compare_results(before, after)
    assert [mean.name for mean in found.means] == ["J&F of what is there", "absent, answered without a mask"]
    assert [mean.delta for mean in found.means] == [0.0, -1.0]
    assert [change.before.key for change in found.regressions] == ["unicorn"]


def test_silence_is_worse_than_a_no(tmp_path: Path) -> None:
    before = scenario(tmp_path / "a", {"one": [asked("unicorn", None, False, False, "There is no unicorn.")]})
    after = scenario(tmp_path / "b", {"one": [asked("unicorn", None, False, False, "")]})
    assert [mean.delta for mean in compare_results(before, after).means] == [-1.0]


def test_the_interval_is_over_clips_and_a_sure_loss_is_one(tmp_path: Path) -> None:
    def of(value: Callable[[int], float]) -> dict[tuple[str, str], float]:
        return {(f"clip{i}", key): value(i) for i in range(30) for key in "abc"}

    before = split(tmp_path / "a.json", of(lambda i: 0.8))
    found = compare_results(before, split(tmp_path / "b.json", of(lambda i: 0.7 if i % 2 else 0.78)))
    total = found.means[0]
    assert total.delta == pytest.approx(-0.06)
    assert total.low < -0.06 < total.high < 0
    assert total.sure
    assert found.worse
    assert found.means[1].name == "- name"
    same = compare_results(before, before)
    assert not same.worse
    assert same.regressions == same.improvements == []
    mixed = compare_results(before, split(tmp_path / "c.json", of(lambda i: 0.9 if i % 2 else 0.7)))
    assert not mixed.means[0].sure


def test_criteria_that_broke_are_named(tmp_path: Path) -> None:
    before = scenario(tmp_path / "a", {"one": [asked("mug", 0.9)]}, {"J&F >= 0.8": True, "id switches = 0": False})
    after = scenario(tmp_path / "b", {"one": [asked("mug", 0.9)]}, {"J&F >= 0.8": False, "id switches = 0": True})
    found = compare_results(before, after)
    assert found.broken == ("J&F >= 0.8",)
    assert found.mended == ("id switches = 0",)
    assert found.worse


def test_requests_without_a_partner_are_counted_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    before = scenario(tmp_path / "a", {"one": [asked("mug", 0.9), asked("can", 0.5)]})
    after = scenario(tmp_path / "b", {"one": [asked("mug", 0.9)], "two": [asked("can", 0.5)]})
    found = compare_results(before, after)
    assert (found.only_before, found.only_after) == (1, 1)
    other = scenario(tmp_path / "c", {"three": [asked("mug", 0.9)]})
    with pytest.raises(ResultError, match="no scored request in common"):
        compare_results(before, other)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "scenario", "bags": [{}]}', '{"scores": [{}]}'])
def test_what_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    good = scenario(tmp_path / "a", {"one": [asked("mug", 0.9)]})
    bad = tmp_path / "bad.json"
    bad.write_text(content)
    with pytest.raises(ResultError, match=r"bad\.json"):
        compare_results(good, bad)


def test_the_command_prints_both_and_fails_where_it_shall(tmp_path: Path) -> None:
    before = scenario(tmp_path / "a", {"one": [asked("mug", 0.9), asked("can", 0.1)]}, {"J&F >= 0.5": True})
    after = scenario(tmp_path / "b", {"one": [asked("mug", 0.2), asked("can", 0.3)]}, {"J&F >= 0.5": False})
    run: Any = CliRunner().invoke(app, ["compare", str(before), str(after)])
    assert run.exit_code == 0, run.output
    assert "broken: J&F >= 0.5" in run.output
    assert "1 got worse, 1 better" in run.output
    assert run.output.index("the mug") < run.output.index("the can")
    assert CliRunner().invoke(app, ["compare", "--strict", str(before), str(after)]).exit_code == 1
    assert CliRunner().invoke(app, ["compare", "--strict", str(before), str(before)]).exit_code == 0
    missing = CliRunner().invoke(app, ["compare", str(before), str(tmp_path / "none.json")])
    assert missing.exit_code == 1
