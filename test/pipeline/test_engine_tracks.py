"""Tracks, masks and frames, on an engine without a thread."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import BlobModel, Told, carries, frame, painted

from villa.masks import RleMask, decode
from villa_ros.pipeline.clip_buffer import Ingested
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import TrackState
from villa_ros.pipeline.image_view import ImageError
from villa_ros.pipeline.request import ErrorCode, Request, RequestState
from villa_ros.pipeline.tracks import LAST_LABEL, Names

RED = {"red": (4, 4, 10, 10)}


class Run:
    """A red box is tracked; frames are shown one by one."""

    def __init__(self, model: BlobModel | None = None, text: str = "red", **config: Any) -> None:
        self.model = model or BlobModel()
        self.told = Told()
        self.engine = Engine(self.model, PipelineConfig(**config), self.told, "n")
        self.index = 0
        self.engine.ingest(frame(0, red=(4, 4, 10, 10), green=(30, 20, 8, 8)))
        self.engine.submit(Request("r", text))
        self.think()

    def think(self) -> None:
        while self.engine.slow():
            pass

    def show(self, **boxes: tuple[int, int, int, int]) -> bool:
        self.index += 1
        picture = painted(**boxes)
        self.engine.ingest(frame(self.index, picture))
        return self.engine.fast("camera", frame(self.index).header.stamp_ns)

    @property
    def state(self) -> str:
        return self.told.tracks()[-1].instances[0].state.name


def test_a_track_is_tentative_until_it_was_seen_often_enough() -> None:
    run = Run(confirm_frames=3)
    states = [run.state]
    for _ in range(3):
        run.show(**RED)
        states.append(run.state)
    assert states == ["TENTATIVE", "TENTATIVE", "TRACKED", "TRACKED"]


def test_an_occluded_object_has_an_empty_mask_never_the_last_one() -> None:
    run = Run()
    run.show(**RED)
    run.show()
    instance = run.told.tracks()[-1].instances[0]
    assert instance.state == TrackState.OCCLUDED
    assert instance.mask == RleMask.empty(48, 64)
    assert instance.mask_score == 0.0


def test_an_object_out_of_sight_is_lost_and_comes_back_under_its_id() -> None:
    run = Run(lost_after_frames=3)
    run.show(**RED)
    states = []
    for boxes in ({}, {}, {}, {}, RED):
        run.show(**boxes)
        states.append(run.state)
    assert states == ["OCCLUDED", "OCCLUDED", "LOST", "LOST", "TRACKED"]
    assert {instance.track_id for event in run.told.tracks() for instance in event.instances} == {"n-1"}


def test_an_object_gone_for_good_is_removed_and_the_request_has_succeeded() -> None:
    run = Run(lost_after_frames=2, remove_after_frames=4)
    for _ in range(4):
        assert run.show()
    assert run.state == "REMOVED"
    assert run.told.states("r")[-1] == "SUCCEEDED"
    assert sum(i.state == TrackState.REMOVED for e in run.told.tracks() for i in e.instances) == 1
    assert not run.show(**RED)
    run.think()
    assert run.model.sessions[0].keys == ()


def test_one_object_removed_leaves_the_other_tracked() -> None:
    run = Run(text="red and green", lost_after_frames=1, remove_after_frames=2)
    for _ in range(3):
        run.show(green=(30, 20, 8, 8))
    assert [i.state.name for i in run.told.tracks()[-1].instances] == ["TRACKED"]
    assert run.told.states("r")[-1] == "TRACKING"


def test_an_unsure_object_counts_as_not_visible_whatever_its_mask() -> None:
    run = Run(present_threshold=0.96)  # the model says 0.95
    run.show(**RED)
    assert run.state == "OCCLUDED"
    assert run.told.tracks()[-1].instances[0].mask.area == 0


def test_masks_have_the_size_and_place_of_the_source_image() -> None:
    run = Run()
    for height, width in ((48, 64), (96, 160), (30, 20)):
        run.index += 1
        picture = painted(height, width, red=(2, 3, 12, 8))
        run.engine.ingest(frame(run.index, picture))
        run.engine.fast("camera", frame(run.index).header.stamp_ns)
        mask = decode(run.told.tracks()[-1].instances[0].mask)
        assert mask.shape == (height, width)
        truth = picture[..., 0] > 0
        assert np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth) > 0.75


def test_every_frames_event_carries_that_frames_own_header() -> None:
    run = Run()
    for _ in range(5):
        run.show(**RED)
    assert [event.header for event in run.told.tracks()] == [frame(index).header for index in range(6)]
    assert [event.sequence for event in run.told.tracks()] == [1, 2, 3, 4, 5, 6]


def test_a_fast_pass_on_a_frame_that_is_gone_old_or_not_wanted_does_nothing() -> None:
    run = Run(clip_frames=2)
    run.show(**RED)
    before = len(run.told)
    assert not run.engine.fast("camera", frame(1).header.stamp_ns)  # done already
    assert not run.engine.fast("camera", frame(0).header.stamp_ns)  # older
    assert not run.engine.fast("camera", 12345)  # never there
    assert not run.engine.fast("nobody", frame(1).header.stamp_ns)
    run.engine.stop()
    assert not run.show(**RED)  # nothing tracked
    assert not any(carries(event, "r") for event in run.told[before + 3 :] if event not in run.told.tracks())


def test_a_frame_is_encoded_once_even_if_a_request_looks_at_it_later() -> None:
    run = Run()
    for _ in range(3):
        run.show(**RED)
    encoded = run.model.encoded
    run.engine.submit(Request("s", "green", clip_duration_s=0.15))
    run.think()
    assert run.model.encoded == encoded


def test_a_slow_pass_that_returns_late_steps_through_a_few_frames_and_goes_on_with_the_newest() -> None:
    model = BlobModel()
    told = Told()
    engine = Engine(model, PipelineConfig(catch_up_frames=3), told, "n")
    engine.ingest(frame(0))
    engine.submit(Request("r", "red"))
    for _ in range(2):
        engine.slow()
    for index in range(1, 31):
        engine.ingest(frame(index))
    newest = frame(30).header.stamp_ns
    while not engine.tracking:
        engine.slow()
    assert not engine.fast("camera", newest)  # an identity must not jump over the gap
    while engine.slow():
        pass
    assert engine.fast("camera", newest)
    stamps = [round((stamp - 1.0) * 10) for stamp in model.sessions[0].stamps]
    assert stamps == [1, 15, 29, 30]
    assert [event.header.stamp_ns for event in told.tracks()][1:] == [frame(i).header.stamp_ns for i in stamps]


def test_without_catching_up_the_newest_frame_is_next() -> None:
    model = BlobModel()
    engine = Engine(model, PipelineConfig(catch_up_frames=0), Told(), "n")
    engine.ingest(frame(0))
    engine.submit(Request("r", "red"))
    engine.slow()
    for index in range(1, 9):
        engine.ingest(frame(index))
    while engine.slow():
        pass
    assert engine.fast("camera", frame(8).header.stamp_ns)
    assert len(model.sessions[0].stamps) == 1


def test_a_clock_that_jumps_back_ends_what_is_tracked_with_the_reason() -> None:
    run = Run()
    run.index = 50
    run.show(**RED)
    picture = painted(**RED)
    assert run.engine.ingest(frame(11, picture)) is Ingested.CLOCK_JUMP
    assert run.told.tracks()[-1].instances[0].state is TrackState.REMOVED
    end = run.told.last("r")
    assert (end.state.name, end.error_code) == ("FAILED", ErrorCode.CLOCK_JUMPED)
    assert "back by 4.0 s" in end.message
    assert run.engine.ingest(frame(11, picture)) is Ingested.DUPLICATE_STAMP
    assert run.engine.ingest(frame(1, camera="nobody")) is Ingested.UNKNOWN_CAMERA
    run.engine.submit(Request("s", "red"))
    run.think()
    assert run.engine.state_of("s") is RequestState.TRACKING
    assert len(run.model.sessions) == 2  # memories of the time before are gone


def test_a_clock_that_jumps_ahead_ends_what_is_tracked_with_the_reason() -> None:
    run = Run()
    run.show(**RED)
    run.engine.jump("camera", 30_000_000_000)
    end = run.told.last("r")
    assert (end.state.name, end.error_code) == ("FAILED", ErrorCode.CLOCK_JUMPED)
    assert "ahead by 30.0 s" in end.message
    assert run.engine.ingest(frame(400, painted(**RED))) is Ingested.KEPT


def test_a_request_in_the_middle_of_a_pass_ends_when_the_clock_jumps_and_a_waiting_one_does_not() -> None:
    told = Told()
    engine = Engine(BlobModel(), PipelineConfig(policy="queue"), told, "n")
    engine.ingest(frame(50))
    for name in ("first", "second"):
        engine.submit(Request(name, "red"))
    engine.slow()
    engine.ingest(frame(2))
    assert told.last("first").error_code is ErrorCode.CLOCK_JUMPED
    while engine.slow():
        pass
    assert engine.state_of("second") is RequestState.TRACKING


def test_an_image_overtaken_on_its_way_is_left_out_and_nothing_ends() -> None:
    run = Run()
    run.index = 9
    run.show(**RED)
    assert run.engine.ingest(frame(8, painted(**RED))) is Ingested.OUT_OF_ORDER
    assert run.show(**RED)
    assert run.told.tracks()[-1].instances[0].track_id == "n-1"


def test_looking_again_finds_what_came_and_keeps_what_is_tracked() -> None:
    run = Run(BlobModel(links=True), "red and green")
    both = {"red": (4, 4, 10, 10), "green": (30, 20, 8, 8)}
    assert len(run.told.tracks()[-1].instances) == 2
    run = Run(BlobModel(links=True), "red and blue")
    for _ in range(20):
        run.show(**both, blue=(50, 30, 8, 8))
    assert len(run.told.tracks()[-1].instances) == 1
    told = len(run.told.without_journal())
    assert run.engine.look_again("r")
    run.think()
    assert len(run.told.without_journal()) == told  # silent
    run.show(**both, blue=(50, 30, 8, 8))
    instances = run.told.tracks()[-1].instances
    assert [(entry.track_id, entry.name) for entry in instances] == [("n-1", "red box"), ("n-2", "blue box")]
    assert run.told.states("r")[-1] == "TRACKING"


def test_looking_again_waits_for_others_and_takes_nothing_from_them() -> None:
    run = Run(BlobModel(links=True), "red and blue", policy="queue")
    run.show(**RED, blue=(50, 30, 8, 8))
    run.engine.submit(Request("s", "blue"))
    assert not run.engine.look_again("r")  # another one waits
    run.think()
    assert run.engine.look_again("r")
    run.think()
    run.show(**RED, blue=(50, 30, 8, 8))
    owners = {entry.name: entry.request_id for entry in run.told.tracks()[-1].instances}
    assert owners == {"red box": "r", "blue box": "s"}
    assert not run.engine.look_again("nobody")


def test_settings_that_change_hold_from_the_next_frame_on() -> None:
    run = Run(lost_after_frames=5)
    run.show()
    assert run.state == "OCCLUDED"
    run.engine.configure(replace(PipelineConfig(), lost_after_frames=2))
    run.show()
    assert run.state == "LOST"
    (entry,) = [entry for entry in run.told.journal() if entry.op == "configure"]
    assert entry.config is not None
    assert entry.config.lost_after_frames == 2


def test_a_damaged_frame_is_skipped_and_fails_no_request() -> None:
    def broken() -> Any:
        raise ImageError("undecodable", "damaged")

    run = Run()
    run.engine.ingest(frame(1, broken))
    assert not run.engine.fast("camera", frame(1).header.stamp_ns)
    run.index = 1
    assert run.show(**RED)
    assert run.engine.active == ("r",)


@pytest.mark.parametrize("bad", [np.full((4, 4), np.nan, np.float32), np.zeros((4, 4, 1), np.float32)])
def test_masks_that_are_no_masks_fail_the_request_by_name(bad: Any) -> None:
    run = Run()
    session = run.model.sessions[0]
    session.step = lambda features, stamp_s: [_output(key, bad) for key in session.keys]  # type: ignore[method-assign]
    run.show(**RED)
    assert run.told.last("r").error_code == ErrorCode.MODEL_FAILED
    assert "mask logits" in run.told.last("r").message


def _output(key: int, logits: Any) -> Any:
    from villa.interface import TrackOutput

    return TrackOutput(key, logits, 1.0, 1.0)


def test_labels_come_round_without_meeting_a_live_one() -> None:
    names = Names("n")
    taken = {names.label(set()), names.label(set())}
    assert taken == {1, 2}
    last = 0
    for _ in range(LAST_LABEL - 2):
        last = names.label(taken)
    assert last == LAST_LABEL
    assert names.label(taken) == 3
    with pytest.raises(OverflowError, match="65534"):
        names.label(set(range(1, LAST_LABEL + 1)))


def test_labels_of_live_tracks_differ_and_are_not_given_again_soon() -> None:
    run = Run(text="red and green")
    first = {instance.label for instance in run.told.tracks()[-1].instances}
    assert len(first) == 2
    run.engine.submit(Request("s", "red and green"))
    run.think()
    assert not first & {instance.label for instance in run.told.tracks()[-1].instances}


def test_ids_are_never_given_twice_by_one_engine() -> None:
    run = Run(text="red and green")
    for number in range(20):
        run.engine.submit(Request(f"s{number}", "red and green"))
        run.think()
    given = [track_id for answer in run.told.answers() if answer.is_final for track_id in answer.seg_track_ids]
    assert len(given) == len(set(given)) == 42


def test_an_endless_stream_with_requests_leaves_memory_flat() -> None:
    model = BlobModel()
    config = PipelineConfig(clip_frames=8, candidates=4, history_requests=16)
    engine = Engine(model, config, lambda event: None, "n")

    def stream() -> Iterator[int]:
        for index in range(10**9):
            if index % 40 == 0:
                engine.submit(Request(f"r{index}", "red", conversation_id=f"c{index}"))
            engine.ingest(frame(index))
            while engine.slow():
                pass
            engine.fast("camera", frame(index).header.stamp_ns)
            for session in model.sessions:  # what the test double remembers is not the point
                session.stamps.clear()
                session.requests.clear()
            yield index

    frames = stream()

    def memory_after(count: int) -> int:
        for _ in range(count):
            next(frames)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = memory_after(1600)  # past 32 conversations and every other bound
        after = memory_after(800)
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # bytes; one leaked frame would be 9,216
