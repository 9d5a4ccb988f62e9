"""Events become the same messages for rclpy and for bags, and come back unchanged."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message

from villa.masks import RleMask, encode
from villa_ros.bags.typestore import villa_typestore
from villa_ros.conversions.events import (
    MESSAGE_OF_EVENT,
    MappingError,
    answer_from_message,
    command_message,
    duration_message,
    journal_line,
    nanoseconds,
    parse_journal_line,
    rclpy_types,
    request_from_message,
    rosbags_types,
    time_message,
    to_message,
    tracks_from_message,
)
from villa_ros.conversions.rclpy_arrays import image_message
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.events import (
    AnswerEvent,
    FinishReason,
    JournalEvent,
    StatusEvent,
    TrackedInstance,
    Tracklet,
    TrackletsEvent,
    TracksEvent,
    TrackState,
)
from villa_ros.pipeline.frame import FrameHeader
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState

HEADER = FrameHeader(1_700_000_000_123_456_789, "camera_optical_frame")


def _mask() -> RleMask:
    mask = np.zeros((48, 64), np.bool_)
    mask[10:20, 5:30] = True
    mask[12:14, 9] = False
    return encode(mask)


TRACKS = TracksEvent(
    HEADER,
    "camera",
    7,
    (
        TrackedInstance("a1-3", "red", 4, TrackState.TRACKED, "red mug", 0.5, 0.25, _mask()),
        TrackedInstance("a1-4", "red", 5, TrackState.OCCLUDED, "", 0.5, 0.0, RleMask.empty(48, 64)),
    ),
    0,
)
TRACKLETS = TrackletsEvent(
    "red",
    "camera",
    (HEADER, FrameHeader(HEADER.stamp_ns + 33, HEADER.frame_id)),
    48,
    64,
    2,
    (Tracklet("a1-3", "red mug", 0.5, (0, 1), (_mask(), RleMask.empty(48, 64))),),
)
ANSWER = AnswerEvent(
    HEADER, "red", "talk", "Die rote Tasse \N{HOT BEVERAGE}", "raw [SEG]", (14,), ("a1-3",), 3, True,
    FinishReason.STOP,
)  # fmt: skip
STATUS = StatusEvent("red", RequestState.REJECTED, ErrorCode.TEXT_TOO_LONG, "text has 9 characters")
JOURNAL = JournalEvent(5, "fast", "camera", HEADER.stamp_ns)
EVENTS = [TRACKS, TRACKLETS, ANSWER, STATUS, JOURNAL]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_both_kinds_of_message_hold_the_same(event):
    store = villa_typestore()
    name = MESSAGE_OF_EVENT[type(event)]
    live = to_message(event, rclpy_types(), stamp_ns=5, latency_ns=6)
    stored = to_message(event, rosbags_types(store), stamp_ns=5, latency_ns=6)
    assert deserialize_message(bytes(store.serialize_cdr(stored, name)), type(live)) == live
    read = store.deserialize_cdr(serialize_message(live), name)
    assert store.serialize_cdr(read, name) == store.serialize_cdr(stored, name)


def test_tracks_and_answers_come_back_unchanged():
    assert tracks_from_message(to_message(TRACKS, rclpy_types())) == TRACKS
    assert answer_from_message(to_message(ANSWER, rclpy_types())) == ANSWER


def test_status_numbers_are_those_of_the_message():
    from villa_msgs.msg import Answer, Command, RequestStatus, TrackedInstance

    for state in RequestState:
        assert getattr(RequestStatus, state.name) == state
    for code in ErrorCode:
        assert getattr(RequestStatus, f"ERROR_{code.name}") == code
    for action in Action:
        assert getattr(Command, action.name) == action
    for track in TrackState:
        assert getattr(TrackedInstance, track.name) == track
    for reason in FinishReason:
        assert getattr(Answer, reason.name) == reason


@pytest.mark.parametrize("nanos", [0, 1, 999_999_999, 10**9, 1_700_000_000_123_456_789, -1, -(10**9)])
def test_times_and_durations_are_exact(nanos):
    assert nanoseconds(duration_message(nanos, rclpy_types())) == nanos
    assert nanoseconds(time_message(nanos, rclpy_types())) == nanos


def test_request_survives_the_way_through_a_command():
    request = Request("id", "the red mug", Action.FOLLOW_UP, "left", 123, "talk", "en", 0.5, False, 1.5, 2.25)
    message = command_message(request, rclpy_types())
    assert request_from_message(message) == request


def test_command_leaves_room_for_defaults_and_unknown_actions():
    from villa_msgs.msg import Command

    request = request_from_message(Command(text="x", action=200), request_id="new", camera="left")
    assert (request.request_id, request.camera, request.action) == ("new", "left", Action.UNKNOWN)


def test_journal_line_carries_the_request_and_comes_back():
    request = Request("id", "the red mug", Action.SEGMENT, confidence=math.nan)
    event, carried = parse_journal_line(journal_line(JournalEvent(1, "submit", "", 0, "id"), request))
    assert event == JournalEvent(1, "submit", "", 0, "id")
    assert carried is not None
    assert carried.action is Action.SEGMENT
    assert math.isnan(carried.confidence)
    assert carried.text == request.text
    assert parse_journal_line(journal_line(JOURNAL)) == (JOURNAL, None)


def test_journals_first_entry_carries_the_settings_and_comes_back():
    first = JournalEvent(0, "ingest", "left", 7, config=PipelineConfig(cameras=("left", "right"), policy="queue"))
    assert parse_journal_line(journal_line(first)) == (first, None)


BAD_SETTINGS = '{"index": 0, "op": "ingest", "config": {"cameras": ["left"], "policy": "guess"}}'


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"index": 1}', '{"index": 1, "op": "x", "more": 2}', BAD_SETTINGS])
def test_line_that_is_no_journal_entry_is_named(line):
    with pytest.raises(MappingError, match="journal line"):
        parse_journal_line(line)


def test_sequences_are_arrays_so_that_messages_are_cheap():
    message = to_message(TRACKS, rclpy_types())
    runs = message.instances[0].mask.runs
    assert isinstance(runs, array)
    assert runs.typecode == "I"
    picture = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    image = image_message(picture[:, ::-1], HEADER, "rgb8")
    assert isinstance(image.data, array)
    assert np.array_equal(np.frombuffer(image.data, np.uint8).reshape(48, 64, 3), picture[:, ::-1])
    assert nanoseconds(image.header.stamp) == HEADER.stamp_ns
