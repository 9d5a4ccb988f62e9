"""A second request about a thing that is tracked already: one identity, whoever asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fakes import BlobModel, Told, frame

from villa.interface import RequestResult
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import TrackletsEvent, TracksEvent, TrackState
from villa_ros.pipeline.request import Action, Request


class Linking:
    """A model that knows a colour again: its track keeps its key."""

    def __init__(self) -> None:
        self.model = BlobModel()
        self.keys: dict[str, int] = {}
        self.model.faults.result = self._linked

    def _linked(self, result: RequestResult) -> RequestResult:
        objects = []
        for found in result.objects:
            key = self.keys.setdefault(found.name, found.key)
            objects.append(replace(found, key=key))
        return replace(result, objects=tuple(objects))


def _engine(**config: Any) -> tuple[Engine, Told]:
    told = Told()
    made = Engine(Linking().model, PipelineConfig(policy="queue", **config), told, "n")
    for index in range(4):
        made.ingest(frame(index, red=(4, 4, 10, 10), green=(30, 20, 8, 8)))
    return made, told


def _think(made: Engine) -> None:
    while made.slow():
        pass


def _next(made: Engine, index: int) -> None:
    new = frame(index, red=(4, 4, 10, 10), green=(30, 20, 8, 8))
    made.ingest(new)
    made.fast("camera", new.header.stamp_ns)


def _shown(told: Told) -> dict[str, tuple[str, str]]:
    """Name -> (track id, request) of the last tracks event."""
    last = [event for event in told if isinstance(event, TracksEvent)][-1]
    return {i.name: (i.track_id, i.request_id) for i in last.instances if i.state != TrackState.REMOVED}


def test_a_thing_that_is_tracked_keeps_its_id_and_belongs_to_the_newer_request() -> None:
    made, told = _engine()
    made.submit(Request("a", "the red box"))
    _think(made)
    _next(made, 4)
    before = _shown(told)
    made.submit(Request("b", "the red and the green box"))
    _think(made)
    _next(made, 5)
    after = _shown(told)
    assert after["red box"] == (before["red box"][0], "b")
    assert after["green box"][1] == "b"
    assert told.states("b")[-1] == "TRACKING"
    assert told.states("a")[-1] == "SUCCEEDED"
    assert made.active == ("b",)


def test_the_older_request_goes_on_with_what_is_left_to_it() -> None:
    made, told = _engine()
    made.submit(Request("a", "the red and the green box"))
    _think(made)
    made.submit(Request("b", "the red box"))
    _think(made)
    _next(made, 5)
    assert {name: request for name, (_, request) in _shown(told).items()} == {"red box": "b", "green box": "a"}
    assert set(made.active) == {"a", "b"}


def test_a_request_that_only_looks_takes_no_track_away() -> None:
    made, told = _engine()
    made.submit(Request("a", "the red box"))
    _think(made)
    made.submit(Request("b", "the red box", track=False))
    _think(made)
    _next(made, 5)
    assert _shown(told)["red box"][1] == "a"
    assert told.states("b")[-1] == "SUCCEEDED"
    tracklets = [event for event in told if isinstance(event, TrackletsEvent)]
    assert tracklets[0].tracklets[0].track_id == tracklets[1].tracklets[0].track_id


def test_a_known_thing_needs_no_room_and_a_new_one_does() -> None:
    made, told = _engine(max_objects=2)
    made.submit(Request("a", "the red box"))
    _think(made)
    made.submit(Request("b", "the red and the green and the blue box"))
    for index in range(4, 8):
        made.ingest(frame(index, red=(4, 4, 10, 10), green=(30, 20, 8, 8), blue=(50, 30, 8, 8)))
    _think(made)
    answer = told.answers("b")[-1]
    assert len(answer.seg_track_ids) == len(answer.seg_offsets) == 2
    assert sum(len(stream.tracks) for stream in made._streams.values()) == 2


def test_stopping_the_newer_request_ends_what_it_took_over() -> None:
    made, told = _engine()
    made.submit(Request("a", "the red box"))
    _think(made)
    made.submit(Request("b", "the red box"))
    _think(made)
    made.stop("b")
    assert made.active == ()
    assert not made.tracking
    assert told.states("b")[-1] == "CANCELED"


def test_a_request_that_was_stopped_meanwhile_does_not_drop_anothers_track() -> None:
    made, told = _engine()
    made.submit(Request("a", "the red box"))
    _think(made)
    made.submit(Request("b", "the red box"))
    while made._requests.running is None or made._requests.running.request_id != "b":
        made.slow()
    running = made._requests.running
    outcome = None
    while outcome is None or type(outcome).__name__ == "SlowStep":
        outcome = running.advance(made._model, made._config)
    made.stop("b")
    made._answering.discard(running, outcome)
    _next(made, 6)
    assert _shown(told)["red box"][1] == "a"


def test_a_follow_up_reads_where_each_live_track_was_named() -> None:
    made, _ = _engine()
    made.submit(Request("a", "the red and the green box", conversation_id="c"))
    _think(made)
    made.submit(Request("b", "the green box", action=Action.FOLLOW_UP, conversation_id="c"))
    _think(made)
    (stream,) = made._streams.values()
    (turn,) = stream.session.requests[-1][2]  # type: ignore[union-attr]
    assert len(turn.keys) == len(turn.offsets) == 2
    assert [turn.answer[:offset].split()[-1] for offset in turn.offsets] == ["box", "box"]
