"""Scenario files: what they say, and how a mistake in one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_bags import write_bag

from villa_ros.evaluation.scenario import ScenarioError, Wanted, read_scenario, seconds
from villa_ros.runtime.package_share import share_path


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "scenario.yaml"
    file.write_text(text)
    return file


FULL = """
name: kitchen
mode: real-time
latencies: {fast: 20 ms, slow_step: 0.1}
seed: 3
model: {checkpoint: models/mine.safetensors, device: cuda, threads: 2}
settings: {policy: queue, present_threshold: 0.6}
bags:
  - path: "day1/*.mcap"
    cameras: {front: /front/image_raw, wrist: /wrist/image_raw/compressed}
    requests:
      - {at: 1.5, text: the red mug, camera: front, id: red, truth: "7"}
      - {at: 200 ms, text: and the blue one, camera: wrist, follow_up: true, timeout: 1 min, objects: []}
    truth: {folder: labels, video: kitchen}
    criteria: [id switches = 0]
  - path: sample
    name: shipped
    truth: none
criteria:
  - J&F of 'the red mug' >= 0.7
"""


def test_all_that_can_be_said_is_read(tmp_path: Path) -> None:
    for name in ("a.mcap", "b.mcap"):
        (tmp_path / "day1").mkdir(exist_ok=True)
        (tmp_path / "day1" / name).touch()
    scenario = read_scenario(written(tmp_path, FULL))
    assert (scenario.name, scenario.mode, scenario.seed) == ("kitchen", "real-time", 3)
    assert scenario.pace is not None
    assert (scenario.pace.fast_s, scenario.pace.slow_step_s) == (0.02, 0.1)
    assert scenario.checkpoint == str(tmp_path / "models" / "mine.safetensors")
    assert scenario.config(["front", "wrist"]).policy == "queue"
    assert [bag.name for bag in scenario.bags] == ["a", "b", "shipped"]
    first, last = scenario.bags[0], scenario.bags[2]
    assert first.path == tmp_path / "day1" / "a.mcap"
    assert first.requests == (
        Wanted("red", "the red mug", 1.5, "front", truth="7"),
        Wanted("request-2", "and the blue one", 0.2, "wrist", True, 60.0, objects=()),
    )
    assert first.truth.folder == tmp_path / "labels"
    assert first.truth.given
    assert [criterion.text for criterion in first.criteria] == ["id switches = 0"]
    assert last.path == share_path("sample", "tabletop")
    assert last.truth.none


def test_what_is_left_out_has_plain_defaults(tmp_path: Path) -> None:
    scenario = read_scenario(written(tmp_path, "bags: [{path: my.bag.mcap}]"))
    assert (scenario.name, scenario.mode, scenario.device, scenario.checkpoint) == (
        "scenario",
        "every-frame",
        "cpu",
        "",
    )
    assert scenario.bags[0].name == "my.bag"
    assert scenario.bags[0].path == tmp_path / "my.bag.mcap"  # that it is not there is told with the results
    assert not scenario.bags[0].truth.given


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bags: []", "bags: [] should be non-empty"),
        ("bag: [{path: a}]", "'bags' is a required property"),
        ("- a", "is not of type 'object'"),
        ("bags: [{path: a, camera: x}]", "did you mean 'cameras'?"),
        ("bags: [{path: a, requests: [{at: 1}]}]", "bags[0].requests[0]: 'text' is a required property"),
        ("bags: [{path: a, requests: [{at: 1 m, text: x}]}]", "has the unit 'm': wanted one of s, ms, us, min"),
        ("bags: [{path: a, requests: [{at: soon, text: x}]}]", "bags[0].requests[0].at: 'soon' is no duration"),
        ("bags: [{path: a, requests: [{at: -1, text: x}]}]", "bags[0].requests[0].at"),
        ("bags: [{path: a, requests: [{at: 1767225600000000000, text: x}]}]", "not a stamp"),
        ("bags: [{path: a, requests: [{at: 1, text: x, id: b}, {at: 2, text: y, id: b}]}]", "'b' is used twice"),
        ("bags: [{path: a, cameras: {f: /f, g: /g}, requests: [{at: 1, text: x}]}]", "names no camera"),
        ("bags: [{path: a, cameras: {f: /f}, requests: [{at: 1, text: x, camera: g}]}]", "'g' is none of f"),
        ("bags: [{path: '*.mcap'}]", "matches nothing in"),
        ("bags: [{path: a}, {path: b/a}]", "2 bags are called 'a'"),
        ("bags: [{path: a}]\ncriteria: [J&F is good]", "criteria[0]: 'J&F is good' is no criterion"),
        ("bags: [{path: a, criteria: [p95 latency < 2]}]", "bags[0].criteria[0]"),
        ("bags: [{path: a}]\nsettings: {polcy: queue}", "did you mean policy"),
        ("bags: [{path: a}]\nsettings: {policy: sometimes}", "policy is 'sometimes'"),
        ("bags: [{path: a}]\nmode: fast", "'fast' is not one of"),
        ("bags: [{path: a}]\nlatencies: {fast: 1 ms, slow_step: 1 ms}", "set mode: real-time"),
        ("bags: [{path: a, truth: {topic: t, folder: f}}]", "bags[0].truth"),
        ("bags: [", "cannot be read as YAML"),
    ],
)
def test_a_mistake_names_the_file_the_place_and_what_was_wanted(tmp_path: Path, text: str, told: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ScenarioError) as error:
        read_scenario(file)
    assert str(file) in str(error.value)
    assert told in str(error.value)


def test_a_scenario_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_scenario(tmp_path / "none.yaml")


@pytest.mark.parametrize(("text", "value"), [(1.5, 1.5), ("1500 ms", 1.5), ("2min", 120.0), ("3 s", 3.0), (0, 0.0)])
def test_durations_have_units(text: object, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


def test_the_scenarios_that_ship_are_in_order() -> None:
    files = sorted(share_path("config").glob("scenario*.yaml"))
    assert files
    for file in files:
        assert read_scenario(file).bags


def test_a_folder_of_a_bag_may_bear_the_magic_of_globs(tmp_path: Path) -> None:
    write_bag(tmp_path / "run[1]")
    (bag,) = read_scenario(written(tmp_path, "bags: [{path: 'run[1]'}]")).bags
    assert bag.path == tmp_path / "run[1]"
