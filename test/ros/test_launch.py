"""The launch files: every argument explained, used, and without evaluation of text."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))

# What else lies there is a scenario of `villa eval`.
PARAMETER_FILES = [path for path in sorted((ROOT / "config").glob("*.yaml")) if not path.name.startswith("scenario")]


def load(path):
    spec = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def described(fake_launch):
    """The actions of a launch file by their kind, as the stand-in recorded them."""

    def read(name):
        (actions,) = load(ROOT / "launch" / name).generate_launch_description().args
        return actions, {
            kind: [action for action in actions if isinstance(action, made)] for kind, made in fake_launch.items()
        }

    return read


def mentioned(value, kinds):
    """The arguments that a value, however deep, is made of."""
    if isinstance(value, kinds["LaunchConfiguration"]):
        return {value.args[0]}
    if isinstance(value, tuple(kinds.values())):
        return mentioned([value.args, value.kwargs], kinds)
    if isinstance(value, dict):
        return set().union(*(mentioned(item, kinds) for item in value.values()))
    if isinstance(value, (list, tuple)):
        return set().union(set(), *(mentioned(item, kinds) for item in value))
    return set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_argument_is_described_and_used_and_each_used_one_declared(path, described, fake_launch):
    actions, of = described(path.name)
    declared = of["DeclareLaunchArgument"]
    assert all(action.kwargs["description"] for action in declared)
    for action in declared:
        choices, default = action.kwargs["choices"], action.kwargs["default_value"]
        assert choices is None or default in choices
    doing = [action for action in actions if action not in declared]
    assert mentioned(doing, fake_launch) == {action.args[0] for action in declared}


def test_profile_is_set_before_the_node_starts(described):
    actions, _ = described("villa.launch.py")
    names = [type(action).__name__ for action in actions]
    assert names.index("SetEnvironmentVariable") < names.index("Node")
    (profile,) = [action for action in actions if type(action).__name__ == "SetEnvironmentVariable"]
    assert profile.args[0] == "FASTDDS_DEFAULT_PROFILES_FILE"


def test_default_files_exist(described):
    _, of = described("villa.launch.py")
    defaults = {action.args[0]: action.kwargs["default_value"] for action in of["DeclareLaunchArgument"]}
    assert Path(defaults["params_file"]).is_file()
    assert Path(defaults["fastdds_profile"]).is_file()


def test_parameters_that_the_launch_file_sets_are_the_nodes(described):
    from villa_ros.node.parameters import TABLE

    _, of = described("villa.launch.py")
    (node,) = of["Node"]
    assert set(node.kwargs["parameters"][0]) <= {*TABLE, "use_sim_time"}


def test_replay_passes_on_only_what_the_node_file_declares(described):
    _, of = described("villa.launch.py")
    known = {action.args[0] for action in of["DeclareLaunchArgument"]}
    _, of = described("replay.launch.py")
    (included,) = of["IncludeLaunchDescription"]
    passed = dict(included.kwargs["launch_arguments"])
    assert set(passed) <= known
    assert passed["use_sim_time"] == "true"
    (source,) = included.args
    assert Path(source.args[0]) == ROOT / "launch" / "villa.launch.py"


@pytest.mark.native
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_real_launch_takes_them(path):
    pytest.importorskip("launch_ros", reason="needs launch and launch_ros, which are not in pip")
    description = load(path).generate_launch_description()
    arguments = description.get_launch_arguments()
    assert arguments
    assert all(argument.description for argument in arguments)


@pytest.mark.parametrize("sample", PARAMETER_FILES, ids=lambda path: path.name)
def test_sample_parameters_are_known_to_the_node_and_start_it(start_node, lifecycle, peer, sample):
    from villa_ros.node.parameters import CAMERA_TABLE, TABLE

    section = yaml.safe_load(sample.read_text("utf-8"))["/**"]["ros__parameters"]
    cameras = {name: section.pop(name) for name in section["cameras"]}
    assert set(section) <= set(TABLE)
    for own in cameras.values():
        assert set(own) <= set(CAMERA_TABLE)
    start_node(params_file=sample)
    peer.until(lambda: lifecycle.state() == "active", "the node to activate itself")


def test_launch_files_evaluate_nothing():
    for path in (ROOT / "launch").glob("*.py"):
        text = path.read_text("utf-8")
        assert "eval(" not in text
        assert "PythonExpression" not in text
