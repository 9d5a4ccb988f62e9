from __future__ import annotations

from pathlib import Path

import pytest

from villa_ros.pipeline.request import RequestState as S
from villa_ros.pipeline.request_states import TRANSITIONS, StateError, check, stages_up_to

DOCS = Path(__file__).resolve().parents[2] / "docs" / "states.md"


def test_every_state_has_a_row_and_final_states_lead_nowhere() -> None:
    assert set(TRANSITIONS) == set(S)
    for state, after in TRANSITIONS.items():
        assert (not after) == state.final


def test_every_state_can_be_reached_and_every_active_one_can_be_ended_from_outside() -> None:
    reachable = {S.UNKNOWN}
    for _ in S:
        reachable |= {after for state in reachable for after in TRANSITIONS[state]}
    assert reachable == set(S)
    for state in S:
        if S.QUEUED <= state <= S.TRACKING:
            assert TRANSITIONS[state] >= {S.CANCELED, S.SUPERSEDED, S.FAILED}


def test_a_step_off_the_table_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(StateError, match="TRACKING cannot be followed by NO_TARGET; allowed: SUCCEEDED"):
        check(S.TRACKING, S.NO_TARGET)
    with pytest.raises(StateError, match="allowed: nothing"):
        check(S.CANCELED, S.QUEUED)


def test_skipped_stages_are_passed_through_in_order() -> None:
    assert stages_up_to(S.QUEUED, S.SEGMENTING) == (S.BUFFERING, S.DECODING, S.SEGMENTING)
    assert stages_up_to(S.SEGMENTING, S.DECODING) == ()


def test_the_documented_table_is_the_one_in_force() -> None:
    documented = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 2 and cells[0].strip("`") in S.__members__:
            names = [name.strip(" `") for name in cells[1].split(",")]
            documented[S[cells[0].strip("`")]] = {S[name] for name in names if name in S.__members__}
    assert documented == {state: set(after) for state, after in TRANSITIONS.items()}
