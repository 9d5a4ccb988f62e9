"""What a console makes of what it hears: masks on their own pictures, requests, health; all of it bounded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from told import Clock, instance, picture, tracks

from villa_ros.pipeline.events import AnswerEvent, FinishReason, StatusEvent, TrackState
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.viewers.camera_feed import KEPT_BYTES, KEPT_PICTURES
from villa_ros.viewers.node_health import SILENCE_S, Line
from villa_ros.viewers.node_state import MOST_CAMERAS, NodeState, Question
from villa_ros.viewers.request_log import KEPT_REQUESTS, LONGEST_TEXT, AskedRequest


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard(clock: Clock) -> NodeState:
    return NodeState(clock)


def shown(heard: NodeState, *, masks: bool = True) -> tuple[int, int | None]:
    """Which picture is shown, and which picture the masks on it are of."""
    view = heard.view("camera", masks=masks)
    assert view is not None
    tracks_ns = None if view.tracks is None else view.tracks.header.stamp_ns
    assert tracks_ns in (None, view.picture.stamp_ns)
    return (view.picture.stamp_ns, tracks_ns)


def stamp(index: int) -> int:
    return picture(index).stamp_ns


def status(request_id: str, state: RequestState, code: ErrorCode = ErrorCode.NONE, message: str = "") -> StatusEvent:
    return StatusEvent(request_id, state, code, message)


def answer(request_id: str, text: str, *, final: bool) -> AnswerEvent:
    reason = FinishReason.STOP if final else FinishReason.UNKNOWN
    return AnswerEvent(FrameHeader(0, ""), request_id, "", text, text, (len(text),), ("t-1",), 0, final, reason)


def entry(heard: NodeState, request_id: str) -> AskedRequest:
    found = heard.request(request_id)
    assert found is not None
    return found


def test_without_tracks_the_newest_picture_is_shown_at_once(heard: NodeState) -> None:
    assert heard.view("camera") is None
    heard.picture(picture(0))
    heard.picture(picture(1))
    assert shown(heard) == (stamp(1), None)


def test_while_tracks_come_a_picture_waits_for_its_own(heard: NodeState) -> None:
    for index in range(3):
        heard.picture(picture(index))
    heard.tracks(tracks(1, instance()))
    heard.picture(picture(3))
    assert shown(heard) == (stamp(1), stamp(1))
    heard.tracks(tracks(3, instance()))
    assert shown(heard) == (stamp(3), stamp(3))


def test_tracks_that_come_before_their_picture_are_kept_for_it(heard: NodeState) -> None:
    heard.picture(picture(0))
    heard.tracks(tracks(1, instance()))
    assert shown(heard) == (stamp(0), None)
    heard.picture(picture(1))
    assert shown(heard) == (stamp(1), stamp(1))


def test_tracks_of_a_picture_that_never_came_are_shown_on_no_other(heard: NodeState) -> None:
    heard.picture(picture(0))
    heard.tracks(tracks(5, instance()))
    heard.picture(picture(6))
    assert shown(heard) == (stamp(6), None)


def test_tracks_that_were_overtaken_do_not_turn_time_back(heard: NodeState) -> None:
    for index in range(3):
        heard.picture(picture(index))
    heard.tracks(tracks(2, instance()))
    heard.tracks(tracks(1, instance()))
    assert shown(heard) == (stamp(2), stamp(2))


def test_who_wants_no_masks_waits_for_none(heard: NodeState) -> None:
    for index in range(3):
        heard.picture(picture(index))
    heard.tracks(tracks(1, instance()))
    assert shown(heard, masks=False) == (stamp(2), None)


def test_when_no_tracks_come_any_more_pictures_go_on_without(heard: NodeState, clock: Clock) -> None:
    heard.picture(picture(0))
    heard.tracks(tracks(0, instance()))
    clock.now_s += 0.9
    heard.picture(picture(9))
    assert shown(heard) == (stamp(0), stamp(0))
    clock.now_s += 0.2
    assert shown(heard) == (stamp(9), None)


def test_the_last_picture_of_a_camera_that_is_gone_keeps_its_masks(heard: NodeState, clock: Clock) -> None:
    heard.picture(picture(0))
    heard.tracks(tracks(0, instance()))
    clock.now_s += 60
    assert shown(heard) == (stamp(0), stamp(0))


def test_a_slow_model_is_waited_for_longer(heard: NodeState, clock: Clock) -> None:
    for index in (0, 15):
        heard.picture(picture(index))
        heard.tracks(tracks(index, instance()))
        clock.now_s += 1.5
    heard.picture(picture(30))
    assert shown(heard) == (stamp(15), stamp(15))


def test_the_last_tracks_of_a_request_free_the_pictures_at_once(heard: NodeState) -> None:
    heard.picture(picture(0))
    heard.tracks(tracks(0, instance()))
    heard.picture(picture(1))
    heard.tracks(tracks(1, instance(state=TrackState.REMOVED)))
    heard.picture(picture(2))
    assert shown(heard) == (stamp(2), None)


def test_masks_of_a_driver_that_stamps_nothing_are_shown_on_the_picture_the_node_took(heard: NodeState) -> None:
    first, second = picture(0), picture(0)
    heard.picture(first)
    heard.picture(second)
    heard.tracks(tracks(0, instance()))
    view = heard.view("camera")
    assert view is not None
    assert view.picture is first


def test_a_recording_that_starts_over_shows_its_pictures_and_masks(heard: NodeState) -> None:
    heard.picture(picture(50))
    heard.tracks(tracks(50, instance()))
    heard.picture(picture(1))
    assert shown(heard) == (stamp(1), None)
    heard.tracks(tracks(1, instance()))
    assert shown(heard) == (stamp(1), stamp(1))


def test_pictures_are_bounded_in_number_and_in_bytes(heard: NodeState) -> None:
    for index in range(KEPT_PICTURES + 10):
        heard.picture(picture(index))
    heard.tracks(tracks(9, instance()))
    assert shown(heard)[1] is None
    heard.tracks(tracks(10, instance()))
    assert shown(heard)[1] == stamp(10)
    for index in range(100, 104):
        heard.picture(picture(index, nbytes=KEPT_BYTES // 2))
    heard.tracks(tracks(101, instance()))
    assert shown(heard)[1] == stamp(10)
    heard.tracks(tracks(102, instance()))
    assert shown(heard)[1] == stamp(102)


def test_a_flood_of_cameras_is_bounded(heard: NodeState) -> None:
    for number in range(3 * MOST_CAMERAS):
        heard.picture(picture(0, camera=f"camera{number}"))
    assert len(heard.cameras) == MOST_CAMERAS


def test_a_camera_that_sends_nothing_is_told_from_one_that_does(heard: NodeState, clock: Clock) -> None:
    heard.camera("never", "/never/image")
    for index in range(11):
        clock.now_s += 0.1
        heard.picture(picture(index))
    states = {camera.name: camera for camera in heard.health().cameras}
    assert states["camera"].alive
    assert states["camera"].rate_hz == pytest.approx(10.0)
    assert not states["never"].alive
    assert states["never"].silent_s is None
    clock.now_s += 2.5
    assert not heard.health().cameras[1].alive
    assert heard.health().cameras[1].silent_s == pytest.approx(2.5)


def test_a_request_goes_from_its_words_to_its_answer(heard: NodeState, clock: Clock) -> None:
    heard.command(Request("one", "the red box", camera="camera"))
    assert entry(heard, "one").state is RequestState.UNKNOWN
    heard.status(status("one", RequestState.DECODING))
    heard.answer(answer("one", "the", final=False))
    heard.answer(answer("one", "the red box", final=True))
    heard.answer(answer("one", "the", final=False))  # overtaken
    clock.now_s += 3
    heard.status(status("one", RequestState.SUCCEEDED))
    done = entry(heard, "one")
    assert (done.text, done.answer, done.answered, done.named) == ("the red box", "the red box", True, ((11, "t-1"),))
    assert done.ended_s is not None
    assert done.ended_s - done.asked_s == pytest.approx(3)


def test_only_what_changed_is_told_anew(heard: NodeState) -> None:
    heard.status(status("one", RequestState.QUEUED))
    heard.status(status("two", RequestState.QUEUED))
    revision, told = heard.requests()
    assert [one.request_id for one in told] == ["one", "two"]
    assert heard.requests(revision) == (revision, [])
    heard.status(status("one", RequestState.TRACKING))
    assert [one.request_id for one in heard.requests(revision)[1]] == ["one"]


def test_a_console_that_comes_late_learns_of_requests_by_their_tracks(heard: NodeState) -> None:
    heard.picture(picture(0))
    heard.tracks(tracks(0, instance(request_id="before")))
    assert entry(heard, "before").state is RequestState.TRACKING


def test_a_stop_of_everything_is_no_request(heard: NodeState) -> None:
    heard.command(Request("halt", "", Action.STOP_ALL))
    heard.status(status("halt", RequestState.QUEUED))
    heard.status(status("halt", RequestState.SUCCEEDED))
    assert heard.requests()[1] == []


def test_a_stop_of_one_request_leaves_its_states_to_be_heard(heard: NodeState) -> None:
    heard.command(Request("one", "the red box"))
    heard.command(Request("one", "", Action.STOP))
    heard.status(status("one", RequestState.CANCELED))
    assert entry(heard, "one").state is RequestState.CANCELED


def test_requests_and_texts_are_bounded_and_what_is_under_way_stays(heard: NodeState) -> None:
    heard.command(Request("under way", "x" * 100_000))
    for number in range(3 * KEPT_REQUESTS):
        heard.status(status(f"r{number}", RequestState.REJECTED))
    _, told = heard.requests()
    assert len(told) == KEPT_REQUESTS
    assert len(entry(heard, "under way").text) == LONGEST_TEXT


def test_when_the_node_goes_its_requests_are_said_to_be_lost_until_it_is_heard_again(
    heard: NodeState, clock: Clock
) -> None:
    heard.diagnosed([Line("lifecycle", "ok", "active", {"state": "active"})])
    heard.status(status("done", RequestState.SUCCEEDED))
    heard.status(status("one", RequestState.TRACKING))
    assert heard.health().node_alive
    clock.now_s += SILENCE_S + 0.1
    assert not heard.health().node_alive
    assert entry(heard, "one").lost
    assert not entry(heard, "done").lost
    heard.tracks(tracks(0, instance(request_id="one")))
    assert not entry(heard, "one").lost


def test_the_nodes_own_diagnostics_name_its_cameras(heard: NodeState) -> None:
    heard.diagnosed([Line("camera wrist", "warn", "", {"topic": "/wrist/image"}), Line("worker", "ok", "")])
    assert [(camera.name, camera.topic) for camera in heard.health().cameras] == [("wrist", "/wrist/image")]


def test_endless_diagnostics_are_cut(heard: NodeState) -> None:
    heard.diagnosed([Line("n" * 9000, "ok", "m" * 9000, {f"key{n}": "v" * 9000 for n in range(500)})] * 500)
    told = sum(len(str(line)) for line in heard.health().lines)
    assert told < 2_000_000


def test_who_listens_is_told_until_the_end(heard: NodeState) -> None:
    times = []
    end = heard.listen(lambda: times.append(1))
    heard.picture(picture(0))
    heard.status(status("one", RequestState.QUEUED))
    end()
    heard.picture(picture(1))
    assert len(times) == 2


def test_scores_that_are_no_numbers_are_left_out(heard: NodeState) -> None:
    from dataclasses import replace

    from villa_ros.viewers.web.protocol import picture_message

    heard.picture(picture(0))
    heard.tracks(tracks(0, replace(instance(), score=math.nan)))
    view = heard.view("camera")
    assert view is not None
    message = picture_message(view)
    length = int.from_bytes(message[:4], "little")
    assert length % 4 == 0
    assert b'"score":null' in message[4 : 4 + length]
    assert b"NaN" not in message[4 : 4 + length]
    runs = np.frombuffer(message, "<u4", count=instance().mask.runs.size, offset=4 + length)
    assert runs.tolist() == instance().mask.runs.tolist()


def test_a_question_is_open_until_its_request_is_made_or_it_is_closed(heard: NodeState) -> None:
    heard.asks("speech-1", "did you mean the mug?")
    heard.command(Request("another", "the ball"))
    heard.asks_no_more("another")
    assert heard.question == Question("speech-1", "did you mean the mug?")
    heard.command(Request("speech-1", "the mug"))
    assert heard.question is None
    heard.asks("speech-2", "did you mean the ball?")
    heard.asks_no_more("speech-2")
    assert heard.question is None
