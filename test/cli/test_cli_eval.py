"""`villa eval` as its user calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_bags import write_bag
from typer.testing import CliRunner

from villa_ros.cli.main import app

ASK = "requests: [{at: 0.5, text: the red box, absent: false}, {at: 1.5, text: a banana, absent: true}]"


def villa(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    write_bag(tmp_path / "plain")
    file = tmp_path / "kitchen.yaml"
    file.write_text(f"bags: [{{path: plain, {ASK}}}]\ncriteria: [absent stays absent, present is found]")
    return file


def test_a_scenario_gives_tables_files_and_exit_status(
    scenario: Path, tmp_path: Path, fake_model: list[tuple[str, str]]
) -> None:
    run = villa(scenario, "--out", tmp_path / "out")
    assert run.exit_code == 0, run.output
    assert "the red box" in run.output
    assert run.output.count("passed") == 2
    folder = tmp_path / "out" / "kitchen"
    assert json.loads((folder / "result.json").read_text())["passed"] is True
    assert "the red box" in (folder / "report.html").read_text("utf-8")
    assert (folder / "plain" / "run" / "run.mcap").is_file()
    assert (folder / "plain" / "camera.webm").stat().st_size > 0
    assert fake_model == [("", "cpu")]
    again = villa(scenario, "--out", tmp_path / "out", "--no-report")
    assert "plain: kept from before" in again.output
    assert fake_model == [("", "cpu")], "nothing to run, nothing to load"


def test_a_criterion_that_fails_ends_with_1_and_says_which(
    scenario: Path, tmp_path: Path, fake_model: list[tuple[str, str]]
) -> None:
    scenario.write_text(scenario.read_text().replace("present is found", "J&F >= 0.5"))
    run = villa(scenario, "--out", tmp_path / "out", "--no-report")
    assert run.exit_code == 1
    assert "failed nothing to measure" in " ".join(run.output.split())
    assert "1 of 1 scenarios failed" in run.output


def test_one_of_several_scenarios_may_fail_and_all_are_run(
    scenario: Path, tmp_path: Path, fake_model: list[tuple[str, str]]
) -> None:
    other = tmp_path / "hall.yaml"
    other.write_text("bags: [{path: nowhere.mcap}]")
    run = villa(other, scenario, "--out", tmp_path / "out", "--no-report")
    assert run.exit_code == 1
    assert "no bag at" in " ".join(run.output.split())
    assert "1 of 2 scenarios failed" in run.output
    assert json.loads((tmp_path / "out" / "kitchen" / "result.json").read_text())["passed"] is True
    assert json.loads((tmp_path / "out" / "hall" / "result.json").read_text())["bags"][0]["failed"] is True


def test_options_stand_in_for_what_the_scenario_says(
    scenario: Path, tmp_path: Path, fake_model: list[tuple[str, str]]
) -> None:
    run = villa(scenario, "--out", tmp_path / "out", "--no-report", "--mode", "real-time", "--device", "cuda:7")
    assert run.exit_code == 0, run.output
    assert fake_model == [("", "cuda:7")]
    assert json.loads((tmp_path / "out" / "kitchen" / "result.json").read_text())["mode"] == "real-time"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "one of the three"),
        (["a.yaml", "--benchmark", "mevis"], "one of the three"),
        (["--benchmark", "mevis"], "needs --root"),
        (["a.yaml", "--mode", "sometimes"], "wanted one of every-frame, real-time"),
        (["a.yaml", "--first-mask"], "give it with --benchmark davis2016"),
        (["--benchmark", "davis2016", "--root", "."], "has no sentences to ask"),
        (["--benchmark", "mevis", "--root", ".", "--first-mask"], "or take davis2016"),
    ],
)
def test_a_wrong_call_is_told(arguments: list[str], told: str) -> None:
    run = villa(*arguments)
    assert run.exit_code == 2
    assert told in run.output


def test_a_mistake_in_the_file_is_told_before_the_model_loads(
    scenario: Path, fake_model: list[tuple[str, str]]
) -> None:
    scenario.write_text(scenario.read_text() + "\nsettngs: {}")
    run = villa(scenario)
    assert run.exit_code == 1
    assert "did you mean 'settings'" in run.output
    assert fake_model == []


def test_two_scenarios_of_one_name_are_refused(scenario: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "kitchen.yaml"
    other.write_text("bags: [{path: sample}]")
    run = villa(scenario, other)
    assert run.exit_code == 1
    assert "several scenarios are called 'kitchen'" in run.output


def test_an_unknown_benchmark_lists_those_that_are_there(tmp_path: Path) -> None:
    run = villa("--benchmark", "coco", "--root", tmp_path)
    assert run.exit_code == 1
    assert "mevis" in run.output
    assert "ref-davis17" in run.output


def test_worst_moments_are_written_for_other_tools(
    scenario: Path, tmp_path: Path, fake_model: list[tuple[str, str]]
) -> None:
    asked = "requests: [{at: 0.5, text: the purple box, absent: true}, {at: 1.5, text: the red box, absent: true}]"
    scenario.write_text(f"bags: [{{path: plain, {asked}}}]")
    run = villa(scenario, "--out", tmp_path / "out", "--no-report", "--moments")
    assert run.exit_code == 0, run.output
    folder = tmp_path / "out" / "kitchen" / "moments"
    assert str(folder) in run.output
    told = [json.loads(line)["metadata"] for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]
    assert {one["request"] for one in told} == {"the red box"}, "it is red, and not there by what the file says"
    assert {one["fault"] for one in told} == {"not there, but masked"}
    assert len(list((folder / "images").glob("*.jpg"))) == len(told)
