"""Parameters: declared from one table, described, limited, and all of them in the documentation."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import rclpy
from rclpy.exceptions import InvalidParameterValueException
from rclpy.parameter import Parameter

from villa_ros.parameters import ParameterError, Parameters, declare, read
from villa_ros.pipeline.config import ConfigError, PipelineConfig

DOCS = Path(__file__).resolve().parents[2] / "docs" / "node.md"


@pytest.fixture
def make_node():
    made = []

    def make(**overrides):
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        made.append(rclpy.create_node("parameters", parameter_overrides=given))
        declare(made[-1])
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()


def test_defaults_are_those_of_the_table_and_of_the_pipeline(make_node):
    assert read(make_node()) == Parameters()
    assert Parameters().pipeline_config() == PipelineConfig()


def test_given_values_arrive_with_their_types(make_node):
    seen = read(make_node(clip_frames=5, cameras=["left"], mask_threshold=0.25, overlay=False))
    assert (seen.clip_frames, seen.cameras, seen.mask_threshold, seen.overlay) == (5, ("left",), 0.25, False)
    assert seen.pipeline_config().clip_frames == 5


@pytest.mark.parametrize("overrides", [{"clip_frames": 0}, {"mask_threshold": 1.5}, {"max_command_chars": 1_000_000}])
def test_value_out_of_range_is_refused(make_node, overrides):
    with pytest.raises(InvalidParameterValueException, match=next(iter(overrides))):
        make_node(**overrides)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"cameras": ("left", "right")}, "one topic for each camera"),
        ({"cameras": ("Left Eye",)}, "small letters"),
        ({"policy": "ignore"}, "preempt, queue, reject"),
        ({"image_transport": "theora"}, "auto, raw, compressed"),
    ],
)
def test_contradiction_names_what_is_wanted(changes, wanted):
    with pytest.raises(ParameterError, match=wanted):
        replace(Parameters(), **changes).check()


def test_camera_named_twice_is_refused():
    twice = replace(Parameters(), cameras=("left", "left"), image_topics=("a", "b"))
    with pytest.raises(ConfigError, match="each name may occur once"):
        twice.pipeline_config()


def test_every_parameter_is_described_and_documented(make_node):
    node, page = make_node(), DOCS.read_text("utf-8")
    for row in fields(Parameters):
        text = node.describe_parameter(row.name).description
        assert text
        assert f"| `{row.name}` |" in page
        assert text in page
