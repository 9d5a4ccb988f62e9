"""The numbers of villa_msgs are the numbers of the pipeline, both ways."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from villa_ros.pipeline.events import FinishReason, TrackState
from villa_ros.pipeline.request import Action, ErrorCode, RequestState

MSG = Path(__file__).resolve().parents[2] / "msg"
_CONSTANT = re.compile(r"^(u?int\d+)\s+([A-Z][A-Z0-9_]*)\s*=\s*(\d+)")


def constants(text: str, prefix: str = "") -> dict[str, int]:
    """Name without prefix -> number, of the constants whose names start with the prefix."""
    found = {}
    for line in text.splitlines():
        match = _CONSTANT.match(line)
        if match and match[2].startswith(prefix):
            found[match[2].removeprefix(prefix)] = int(match[3])
    return found


def message(name: str) -> str:
    return (MSG / "msg" / f"{name}.msg").read_text(encoding="utf-8")


def numbers(enum: type[IntEnum]) -> dict[str, int]:
    return {member.name: int(member) for member in enum}


@pytest.mark.parametrize(
    ("name", "enum"),
    [("Command", Action), ("TrackedInstance", TrackState), ("Answer", FinishReason)],
)
def test_the_constants_of_a_message_are_the_members_of_its_enum(name: str, enum: type[IntEnum]) -> None:
    assert constants(message(name)) == numbers(enum)


def test_request_status_holds_the_states_and_the_error_codes() -> None:
    found = constants(message("RequestStatus"))
    errors = {name.removeprefix("ERROR_"): n for name, n in found.items() if name.startswith("ERROR_")}
    states = {name: n for name, n in found.items() if not name.startswith("ERROR_")}
    assert states == numbers(RequestState)
    assert errors == numbers(ErrorCode)


def test_an_outcome_is_a_final_state_and_a_stage_is_one_that_is_not() -> None:
    _, result, feedback = (MSG / "action" / "SegmentVideo.action").read_text(encoding="utf-8").split("---\n")
    final = {state.name: int(state) for state in RequestState if state.final}
    others = {state.name: int(state) for state in RequestState if not state.final}
    assert constants(result, "OUTCOME_") == {"UNKNOWN": 0, **final}
    assert constants(feedback, "STAGE_") == others


@pytest.mark.parametrize("path", sorted((MSG / "msg").glob("*.msg")), ids=lambda path: path.stem)
def test_an_enum_starts_with_unknown_and_repeats_no_number(path: Path) -> None:
    found = constants(path.read_text(encoding="utf-8"))
    plain = {name: n for name, n in found.items() if not name.startswith("ERROR_")}
    if plain:
        assert plain["UNKNOWN"] == 0
        assert len(set(plain.values())) == len(plain)


def test_every_interface_file_is_built() -> None:
    cmake = (MSG / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = set(re.findall(r'"((?:msg|action)/\w+\.(?:msg|action))"', cmake))
    files = {path.relative_to(MSG).as_posix() for path in [*MSG.glob("msg/*.msg"), *MSG.glob("action/*.action")]}
    assert listed == files


def test_the_installed_interface_is_the_one_in_the_tree() -> None:
    """A stale villa_msgs wheel would make every other test here say nothing about what runs."""
    action = pytest.importorskip("villa_msgs.action", reason="villa_msgs is not installed: pip install ./msg")
    messages = pytest.importorskip("villa_msgs.msg")
    for path in (MSG / "msg").glob("*.msg"):
        generated = getattr(messages, path.stem)
        for name, number in constants(path.read_text(encoding="utf-8")).items():
            assert getattr(generated, name) == number, f"{path.stem}.{name}"
        fields = re.findall(r"^[\w/]+(?:\[\])?\s+([a-z]\w*)\s*(?:#|$)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert list(generated.get_fields_and_field_types()) == fields
    assert action.SegmentVideo.Result.OUTCOME_FAILED == RequestState.FAILED
