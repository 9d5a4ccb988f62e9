from __future__ import annotations

import re

import pytest

from villa_ros.pipeline.command_validation import refusal
from villa_ros.pipeline.config import ConfigError, PipelineConfig
from villa_ros.pipeline.request import Action, ErrorCode, Request

CONFIG = PipelineConfig(max_command_chars=100)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (Request("r", ""), ErrorCode.EMPTY_TEXT, "empty"),
        (Request("r", " \t\n "), ErrorCode.EMPTY_TEXT, "empty"),
        (Request("r", "x" * 101), ErrorCode.TEXT_TOO_LONG, "101 characters, wanted 100"),
        (Request("r", "the \ufffd mug"), ErrorCode.TEXT_UNDECODABLE, r"U\+FFFD"),
        (Request("r", "the \udcff mug"), ErrorCode.TEXT_UNDECODABLE, "UTF-8"),
        (Request("r", "mug", Action.UNKNOWN), ErrorCode.UNKNOWN_ACTION, r"action is 0, wanted one of SEGMENT \(1\)"),
        (Request("r", "mug", camera="left"), ErrorCode.UNKNOWN_CAMERA, "'left', wanted one of camera"),
        (Request("r" * 129, "mug"), ErrorCode.TEXT_TOO_LONG, "request_id has 129"),
        (Request("r", "mug", conversation_id="c" * 129), ErrorCode.TEXT_TOO_LONG, "conversation_id has 129"),
    ],
)
def test_an_unfit_command_is_refused_with_what_was_seen_and_wanted(
    request_: Request, code: ErrorCode, words: str
) -> None:
    refused = refusal(request_, CONFIG)
    assert refused is not None
    assert refused[0] == code
    assert re.search(words, refused[1])


@pytest.mark.parametrize("text", ["the red mug", "x" * 100, "die Tasse für Ärzte", "赤いマグカップ", "🍌"])
def test_any_language_and_length_within_the_bound_is_fine(text: str) -> None:
    assert refusal(Request("", text, camera=""), CONFIG) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"policy": "drop"}, "'drop'; choose one of preempt, queue, reject"),
        ({"cameras": ()}, "name at least one camera"),
        ({"cameras": ("a", "a")}, "each name may occur once"),
        ({"clip_frames": 0}, "clip_frames is 0"),
        ({"mask_threshold": 1.0}, "mask_threshold is 1.0"),
        ({"clip_duration_s": float("nan")}, "clip_duration_s is nan"),
        ({"lost_after_frames": 20, "remove_after_frames": 10}, "remove_after_frames is 10"),
        ({"catch_up_frames": -1}, "catch_up_frames is -1"),
    ],
)
def test_a_setting_out_of_range_is_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PipelineConfig(**values)  # type: ignore[arg-type]
