from __future__ import annotations

import re
import unicodedata

import pytest

from villa_ros.pipeline.command_validation import STOP_WORDS_OF, is_stop, meaning, refusal
from villa_ros.pipeline.config import ConfigError, PipelineConfig
from villa_ros.pipeline.request import Action, ErrorCode, Request

CONFIG = PipelineConfig(max_command_chars=100)


@pytest.mark.parametrize(
    "text",
    ["stop", "STOP!", " Stop. ", "stop stop stop", "para, para", "please stop", "Cancel that.", "halt", "never mind"],
)
def test_a_text_that_only_means_stop_stops(text: str) -> None:
    assert is_stop(text)
    assert meaning(Request("r", text)) == Action.STOP_ALL
    assert meaning(Request("r", text, Action.FOLLOW_UP)) == Action.STOP_ALL


@pytest.mark.parametrize("language", STOP_WORDS_OF)
def test_stop_is_understood_in_every_language_whatever_the_locale_says(language: str) -> None:
    for word in STOP_WORDS_OF[language]:
        assert is_stop(word)
        assert is_stop(f"{word.upper()}!")
        assert is_stop(unicodedata.normalize("NFD", word))
        assert meaning(Request("r", f" {word}. ", locale="en-GB")) == Action.STOP_ALL
        assert not is_stop(f"{word} mug")


@pytest.mark.parametrize(
    "text", ["the stop sign", "stop the car from falling", "don't stop", "", "  ", "bus stop", "stopper", "stop " * 500]
)
def test_a_text_that_only_mentions_stop_is_a_request(text: str) -> None:
    assert not is_stop(text)
    assert meaning(Request("r", text)) == Action.SEGMENT


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
