"""The node's pipeline over a ViLLa of pretrained parts: real classes of transformers at tiny size, no fake."""

from __future__ import annotations

import pytest
from fakes import Told, frame

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/runtime.txt")

from answering_models import over_sam2  # noqa: E402

from villa import ViLLa  # noqa: E402
from villa_ros.pipeline.config import PipelineConfig  # noqa: E402
from villa_ros.pipeline.engine import Engine  # noqa: E402
from villa_ros.pipeline.events import TracksEvent  # noqa: E402
from villa_ros.pipeline.request import Action, ErrorCode, Request  # noqa: E402

TWO, ONE = "The red box [SEG] and the green box [SEG].", "The red box [SEG]."


@pytest.mark.parametrize("family", ["qwen3_vl", "internvl", "smolvlm"])
def test_a_request_is_answered_and_tracked_and_followed_up(family: str) -> None:
    told = Told()
    made = Engine(ViLLa(over_sam2(TWO, ONE, family=family)), PipelineConfig(policy="queue"), told, "n")
    for index in range(6):
        made.ingest(frame(index, red=(4, 4, 10, 10), green=(30, 20, 8, 8)))
    made.submit(Request("a", "the red and the green box", conversation_id="c"))
    while made.slow():
        pass
    assert told.answers("a")[-1].text == "The red box and the green box."
    assert told.states("a")[-1] == "TRACKING"
    for index in range(6, 30):
        new = frame(index, red=(4, 4, 10, 10), green=(30, 20, 8, 8))
        made.ingest(new)
        made.fast("camera", new.header.stamp_ns)
    tracks = [event for event in told if isinstance(event, TracksEvent)]
    assert len(tracks) >= 24
    ids = {instance.track_id for event in tracks for instance in event.instances}
    assert len(ids) == 2
    made.submit(Request("b", "now the red one", action=Action.FOLLOW_UP, conversation_id="c"))
    while made.slow():
        pass
    assert told.answers("b")[-1].text == "The red box."
    assert told.states("b")[-1] in ("TRACKING", "SUCCEEDED")


def test_a_request_that_is_too_long_is_refused_with_both_numbers_and_the_next_one_works() -> None:
    told = Told()
    made = Engine(ViLLa(over_sam2(ONE)), PipelineConfig(max_command_chars=50_000), told, "n")
    for index in range(4):
        made.ingest(frame(index))
    made.submit(Request("long", "mug " * 9000))
    while made.slow():
        pass
    assert told.states("long") == ["REJECTED"]
    assert told.last("long").error_code == ErrorCode.TEXT_NOT_READ
    assert "tokens, at most" in told.last("long").message
    made.submit(Request("b", "the red box"))
    while made.slow():
        pass
    assert told.states("b")[-1] == "TRACKING"
