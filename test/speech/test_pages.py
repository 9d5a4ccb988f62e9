"""The page and the launch file say what the node declares."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "speech.md").read_text("utf-8")


def test_the_table_of_parameters_is_the_nodes():
    pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
    from villa_ros.speech.parameter_page import table

    assert table() in PAGE, "make it anew: python -m villa_ros.speech.parameter_page"


def test_every_topic_and_service_is_described():
    from villa_ros.speech import messages

    for name in (messages.TRANSCRIPT, messages.STATUS, messages.LATENCY, messages.TALK, messages.CONFIRM):
        assert f"`{name}`" in PAGE


def test_the_page_says_that_it_is_no_safety_function():
    assert "not a safety function" in PAGE
    assert re.search(r"hardware (emergency )?stop", PAGE)


def test_the_launch_file_sets_parameters_of_the_node_with_its_defaults(fake_launch):
    pytest.importorskip("rclpy", reason="needs ROS 2 (pip: ros-rclpy)")
    from villa_ros.speech.parameters import TABLE

    path = ROOT / "launch" / "speech.launch.py"
    spec = importlib.util.spec_from_file_location("speech_launch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, default, _, choices, kind in module.ARGUMENTS:
        if kind is None or name == "use_sim_time":
            continue
        row = TABLE[name]
        assert default == (str(list(row.default)) if isinstance(row.default, tuple) else row.default)
        assert (choices or ()) == row.metadata["choices"]
    (actions,) = module.generate_launch_description().args
    (node,) = [action for action in actions if isinstance(action, fake_launch["Node"])]
    assert node.kwargs["executable"] == "villa_speech"
    assert set(node.kwargs["parameters"][0]) <= {*TABLE, "use_sim_time"}
