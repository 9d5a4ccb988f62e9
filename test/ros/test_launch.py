"""The launch file: every argument explained, used, and without evaluation of text."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "launch" / "villa.launch.py"


@pytest.fixture
def description(fake_launch):
    spec = importlib.util.spec_from_file_location("villa_launch", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (actions,) = module.generate_launch_description().args
    return actions, fake_launch


def _of(description, name):
    actions, kinds = description
    return [action for action in actions if isinstance(action, kinds[name])]


def _mentioned(value, kinds):
    if isinstance(value, kinds["LaunchConfiguration"]):
        return {value.args[0]}
    if isinstance(value, kinds["ParameterValue"]):
        return _mentioned(value.args[0], kinds)
    if isinstance(value, dict):
        return set().union(*(_mentioned(item, kinds) for item in value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(set(), *(_mentioned(item, kinds) for item in value))
    return set()


def test_each_argument_is_described_and_each_used_one_declared(description):
    declared = _of(description, "DeclareLaunchArgument")
    assert all(action.kwargs["description"] for action in declared)
    (node,) = _of(description, "Node")
    (profile,) = _of(description, "SetEnvironmentVariable")
    used = _mentioned(list(node.kwargs.values()), description[1]) | _mentioned(profile.args, description[1])
    assert used == {action.args[0] for action in declared}


def test_profile_is_set_before_the_node_starts(description):
    actions, _ = description
    names = [type(action).__name__ for action in actions]
    assert names.index("SetEnvironmentVariable") < names.index("Node")
    (profile,) = _of(description, "SetEnvironmentVariable")
    assert profile.args[0] == "FASTDDS_DEFAULT_PROFILES_FILE"


def test_default_files_exist(description):
    declared = _of(description, "DeclareLaunchArgument")
    defaults = {action.args[0]: action.kwargs["default_value"] for action in declared}
    assert Path(defaults["params_file"]).is_file()
    assert Path(defaults["fastdds_profile"]).is_file()


def test_sample_parameters_are_known_to_the_node_and_start_it(start_node, lifecycle, peer):
    from dataclasses import fields

    from villa_ros.parameters import Parameters

    sample = ROOT / "config" / "villa_node.yaml"
    section = yaml.safe_load(sample.read_text("utf-8"))["/**"]["ros__parameters"]
    assert set(section) <= {row.name for row in fields(Parameters)}
    start_node(params_file=sample)
    peer.until(lambda: lifecycle.state() == "active", "the node to activate itself")


def test_launch_files_evaluate_nothing():
    for path in (ROOT / "launch").glob("*.py"):
        text = path.read_text("utf-8")
        assert "eval(" not in text
        assert "PythonExpression" not in text
