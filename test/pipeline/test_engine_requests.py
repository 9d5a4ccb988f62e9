"""Requests and policies, on an engine without a thread."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from fakes import BlobModel, Told, carries, frame, painted

from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.engine import Engine
from villa_ros.pipeline.events import FinishReason, StatusEvent, TrackState
from villa_ros.pipeline.image_view import ImageError
from villa_ros.pipeline.request import Action, ErrorCode, Request, RequestState
from villa_ros.pipeline.request_states import TRANSITIONS

FULL_LIFE = ["QUEUED", "BUFFERING", "DECODING", "SEGMENTING", "TRACKING"]


def engine(model: BlobModel | None = None, frames: int = 4, **config: Any) -> tuple[Engine, Told]:
    told = Told()
    made = Engine(model or BlobModel(), PipelineConfig(**config), told, "n")
    for index in range(frames):
        made.ingest(frame(index, red=(4, 4, 10, 10), green=(30, 20, 8, 8)))
    return made, told


def think(made: Engine, steps: int = 1000) -> None:
    for _ in range(steps):
        if not made.slow():
            return


def assert_legal(told: Told) -> None:
    """Every request's states follow the table."""
    state: dict[str, RequestState] = {}
    for event in told:
        if isinstance(event, StatusEvent):
            before = state.get(event.request_id, RequestState.UNKNOWN)
            assert event.state in TRANSITIONS[before], (event.request_id, before, event.state)
            state[event.request_id] = event.state


def test_a_request_passes_through_every_stage_once_and_tracks() -> None:
    made, told = engine()
    assert made.submit(Request("r", "the red box")) == "r"
    think(made)
    assert told.states("r") == FULL_LIFE
    assert made.active == ("r",)
    assert made.tracking


def test_answer_tracklets_and_first_masks_are_out_before_tracking_is_told() -> None:
    made, told = engine()
    made.submit(Request("r", "the red and the green box"))
    think(made)
    kinds = [type(event).__name__ for event in told.without_journal()]
    assert kinds[-4:] == ["AnswerEvent", "TrackletsEvent", "TracksEvent", "StatusEvent"]
    answer = told.answers("r")[-1]
    assert answer.is_final
    assert answer.finish_reason == FinishReason.STOP
    assert answer.text[: answer.seg_offsets[0]] == "the red box"
    assert [instance.track_id for instance in told.tracks()[0].instances] == list(answer.seg_track_ids)
    assert [tracklet.track_id for tracklet in told.tracklets()[0].tracklets] == list(answer.seg_track_ids)
    assert [e.sequence for e in told.answers("r")] == list(range(len(told.answers("r"))))
    assert [e.is_final for e in told.answers("r")][:-1] == [False] * (len(told.answers("r")) - 1)


def test_without_tracking_a_request_succeeds_with_its_answer_and_leaves_nothing_behind() -> None:
    model = BlobModel()
    made, told = engine(model)
    made.submit(Request("r", "red", track=False))
    think(made)
    assert told.states("r") == ["QUEUED", "BUFFERING", "DECODING", "SEGMENTING", "SUCCEEDED"]
    assert told.tracklets()[0].tracklets[0].masks[-1].area == 100
    assert told.tracks()[-1].instances[0].state == TrackState.REMOVED
    assert not made.tracking
    assert model.sessions[0].keys == ()


def test_not_there_is_an_answer_and_no_error() -> None:
    made, told = engine()
    made.submit(Request("r", "the blue box"))
    think(made)
    assert told.states("r") == ["QUEUED", "BUFFERING", "DECODING", "SEGMENTING", "NO_TARGET"]
    assert told.last("r").error_code == ErrorCode.NONE
    assert told.answers("r")[-1].seg_track_ids == ()
    assert told.tracks() == []
    assert told.tracklets() == []


def test_preempt_supersedes_when_the_new_request_is_accepted_not_when_it_is_answered() -> None:
    model = BlobModel()
    made, told = engine(model)
    made.submit(Request("old", "red"))
    think(made)
    made.submit(Request("new", "green"))
    assert told.states("old")[-1] == "SUPERSEDED"
    assert "'new'" in told.last("old").message
    assert [e for e in told.tracks() if carries(e, "old")][-1].instances[0].state == TrackState.REMOVED
    think(made)
    assert told.states("new") == FULL_LIFE
    assert list(model.sessions[0].colours.values()) == [1]
    assert_legal(told)


def test_preempt_in_the_middle_of_a_slow_pass_closes_its_answer() -> None:
    made, told = engine()
    made.submit(Request("old", "red and green"))
    while not told.answers("old"):
        made.slow()
    made.submit(Request("new", "green"))
    closing = told.answers("old")[-1]
    assert closing.is_final
    assert closing.finish_reason == FinishReason.CANCELED
    think(made)
    assert told.states("new") == FULL_LIFE
    assert told.states("old")[-1] == "SUPERSEDED"


def test_a_refused_request_supersedes_nothing() -> None:
    made, told = engine()
    made.submit(Request("old", "red"))
    think(made)
    made.submit(Request("new", ""))
    assert told.states("new") == ["REJECTED"]
    assert made.active == ("old",)


def test_preempt_leaves_requests_of_other_cameras_alone() -> None:
    made, told = engine(cameras=("camera", "wrist"))
    made.ingest(frame(0, camera="wrist", red=(4, 4, 10, 10)))
    made.submit(Request("a", "red"))
    made.submit(Request("b", "red", camera="wrist"))
    think(made)
    assert made.active == ("a", "b")
    assert {event.camera for event in told.tracks()} == {"camera", "wrist"}


def test_queue_answers_one_after_the_other_and_tracks_all() -> None:
    made, told = engine(policy="queue")
    made.submit(Request("a", "red"))
    made.submit(Request("b", "green"))
    assert told.states("b") == ["QUEUED"]
    think(made)
    made.ingest(frame(9, red=(4, 4, 10, 10), green=(30, 20, 8, 8)))
    assert made.fast("camera", frame(9).header.stamp_ns)
    assert [i.request_id for i in told.tracks()[-1].instances] == ["a", "b"]
    order = [e.request_id for e in told if isinstance(e, StatusEvent) and e.state == RequestState.TRACKING]
    assert order == ["a", "b"]


def test_a_full_queue_refuses_and_says_what_to_do() -> None:
    made, told = engine(policy="queue", queue_limit=2)
    for name in ("a", "b", "c"):
        made.submit(Request(name, "red"))
    assert told.last("c").error_code == ErrorCode.BUSY
    assert "queue_limit" in told.last("c").message
    assert made.active == ("a", "b")


def test_stopping_one_of_two_tracking_requests_leaves_the_other_its_mask() -> None:
    made, told = engine(policy="queue")
    made.submit(Request("a", "red"))
    made.submit(Request("b", "green"))
    think(made)
    made.ingest(frame(9, red=(4, 4, 10, 10), green=(30, 20, 8, 8)))
    made.fast("camera", frame(9).header.stamp_ns)
    assert made.stop("a") == ("a",)
    by_request = {instance.request_id: instance for instance in told.tracks()[-1].instances}
    assert by_request["a"].state == TrackState.REMOVED
    assert by_request["a"].mask.area == 0
    assert by_request["b"].mask.area == 64
    assert made.active == ("b",)


def test_reject_refuses_while_a_request_of_that_camera_is_active_and_names_it() -> None:
    made, told = engine(policy="reject")
    made.submit(Request("a", "red"))
    think(made)
    made.submit(Request("b", "green"))
    assert told.last("b").error_code == ErrorCode.BUSY
    assert "'a'" in told.last("b").message
    made.stop("a")
    made.submit(Request("c", "green"))
    think(made)
    assert told.states("c") == FULL_LIFE


def test_an_id_that_was_used_is_refused_under_another_so_that_the_first_is_not_mistaken_for_ended() -> None:
    made, told = engine()
    made.submit(Request("r", "red"))
    think(made)
    reported = made.submit(Request("r", "green"))
    assert reported != "r"
    assert told.last(reported).error_code == ErrorCode.DUPLICATE_ID
    assert "'r'" in told.last(reported).message
    assert told.states("r")[-1] == "TRACKING"
    made.stop("r")
    again = made.submit(Request("r", "green"))
    assert again not in ("r", reported)
    assert told.states("r")[-1] == "CANCELED"


def test_repeating_an_id_over_and_over_does_not_make_it_forgotten() -> None:
    made, told = engine(history_requests=5)
    made.submit(Request("r", "red"))
    made.stop("r")
    refused = {made.submit(Request("r", "red")) for _ in range(20)}
    assert len(refused) == 20
    assert {told.last(name).error_code for name in refused} == {ErrorCode.DUPLICATE_ID}


def test_a_request_without_an_id_gets_one_of_its_own() -> None:
    made, told = engine()
    first, second = made.submit(Request("", "red")), made.submit(Request("", "green"))
    assert first != second
    assert told.states(first)[0] == "QUEUED"


def test_stop_words_stop_everything_and_never_reach_the_model() -> None:
    model = BlobModel()
    made, told = engine(model)
    made.submit(Request("r", "red"))
    think(made)
    made.submit(Request("s", "Stop!"))
    think(made)
    assert told.states("r")[-1] == "CANCELED"
    assert told.states("s") == ["QUEUED", "SUCCEEDED"]
    assert [text for text, *_ in model.sessions[0].requests] == ["red"]
    assert_legal(told)


class Choosy(BlobModel):
    """Reads one language."""

    def objection(self, text: str) -> str:
        return "say it in English" if "mug" not in text else ""


def test_what_the_model_cannot_read_is_rejected_and_supersedes_nothing() -> None:
    told = Told()
    made = Engine(Choosy(), PipelineConfig(), told, "n")
    made.ingest(frame(0))
    made.submit(Request("r", "the mug"))
    made.submit(Request("s", "赤いマグ"))
    assert told.states("s") == ["REJECTED"]
    assert told.last("s").error_code == ErrorCode.TEXT_NOT_READ
    assert told.last("s").message == "say it in English"
    assert made.active == ("r",)
    made.submit(Request("t", "止まれ"))  # to stop is said in every language
    assert told.states("r")[-1] == "CANCELED"
    assert_legal(told)


def test_stop_commands_end_one_all_or_name_an_unknown_one() -> None:
    made, told = engine(policy="queue")
    for name in ("a", "b", "c"):
        made.submit(Request(name, "red"))
    made.submit(Request("b", "", Action.STOP))
    assert made.active == ("a", "c")
    made.submit(Request("b", "", Action.STOP))
    made.submit(Request("nobody", "", Action.STOP))
    assert told.last("nobody").error_code == ErrorCode.UNKNOWN_REQUEST
    made.submit(Request("", "", Action.STOP_ALL))
    assert made.active == ()
    assert [told.states(name)[-1] for name in "abc"] == ["CANCELED"] * 3
    assert_legal(told)


def test_after_a_stop_no_event_carries_the_request() -> None:
    made, told = engine()
    made.submit(Request("r", "red"))
    think(made)
    made.stop("r")
    end = len(told)
    assert isinstance(told[-1], StatusEvent)
    assert told[-1].state == RequestState.CANCELED
    for index in range(5, 9):
        made.ingest(frame(index))
        assert not made.fast("camera", frame(index).header.stamp_ns)
        made.slow()
    assert not any(carries(event, "r") for event in told[end:])


def test_stop_of_a_finished_or_unknown_request_says_nothing() -> None:
    made, told = engine()
    made.submit(Request("r", "red"))
    made.stop("r")
    before = len(told.without_journal())
    assert made.stop("r") == ()
    assert made.stop("never heard of") == ()
    assert len(told.without_journal()) == before


def test_reset_forgets_frames_tracks_and_conversations_but_no_ids() -> None:
    model = BlobModel()
    made, told = engine(model)
    made.submit(Request("r", "red", conversation_id="c"))
    think(made)
    made.submit(Request("x", "", Action.RESET))
    assert told.states("r")[-1] == "CANCELED"
    assert told.states("x")[-1] == "SUCCEEDED"
    made.submit(Request("f", "green", Action.FOLLOW_UP, conversation_id="c"))
    think(made)
    assert told.states("f") == ["QUEUED", "BUFFERING"]
    made.ingest(frame(0, green=(4, 4, 10, 10)))
    think(made)
    assert told.states("f")[-1] == "TRACKING"
    assert model.sessions[-1].requests == [("green", 1, ())]
    assert told.answers("f")[-1].seg_track_ids == ("n-2",)
    assert told.last(made.submit(Request("r", "red"))).error_code == ErrorCode.DUPLICATE_ID


def test_a_request_before_any_frame_waits_and_starts_with_the_first() -> None:
    made, told = engine(frames=0)
    made.submit(Request("r", "red"))
    assert not made.slow()
    assert told.states("r") == ["QUEUED", "BUFFERING"]
    assert made.starved("r")
    made.ingest(frame(0))
    think(made)
    assert told.states("r") == FULL_LIFE


def test_a_request_whose_camera_stays_dark_does_not_hold_up_another_camera() -> None:
    made, told = engine(cameras=("camera", "wrist"), policy="queue")
    made.submit(Request("dark", "red", camera="wrist"))
    made.submit(Request("lit", "red"))
    think(made)
    assert told.states("dark") == ["QUEUED", "BUFFERING"]
    assert told.states("lit")[-1] == "TRACKING"


@pytest.mark.parametrize(
    ("frames", "steps", "final", "code"),
    [
        (0, 0, "FAILED", ErrorCode.NO_FRAMES),
        (4, 2, "FAILED", ErrorCode.TIMEOUT),
        (4, 99, "SUCCEEDED", ErrorCode.NONE),
    ],
)
def test_time_over_means_what_the_state_makes_of_it(frames: int, steps: int, final: str, code: ErrorCode) -> None:
    made, told = engine(frames=frames)
    made.submit(Request("r", "red", timeout_s=1.0))
    think(made, steps)
    made.expire("r")
    assert told.states("r")[-1] == final
    assert told.last("r").error_code == code
    made.expire("r")
    assert_legal(told)


def test_the_model_sees_at_most_the_candidates_and_the_newest_frame_last() -> None:
    model = BlobModel()
    made, told = engine(model, frames=60, candidates=5, clip_duration_s=100.0)
    made.submit(Request("r", "red"))
    think(made)
    assert model.sessions[0].requests[0][1] == 5
    assert told.tracklets()[0].headers[-1] == frame(59).header
    assert told.tracklets()[0].frames_dropped == 55


def test_a_requests_own_clip_duration_counts_and_nonsense_means_the_default() -> None:
    for asked, seen in ((0.2, 3), (0.0, 11), (float("nan"), 11), (-1.0, 11)):
        model = BlobModel()
        made, _ = engine(model, frames=40, clip_duration_s=1.0)
        made.submit(Request("r", "red", clip_duration_s=asked))
        think(made)
        assert model.sessions[0].requests[0][1] == seen


def test_a_follow_up_is_given_the_conversations_last_turns_and_the_tracks_still_there() -> None:
    model = BlobModel()
    made, _ = engine(model, history_turns=2)
    texts = ["red", "green", "the red one again"]
    for number, text in enumerate(texts):
        action = Action.FOLLOW_UP if number else Action.SEGMENT
        made.submit(Request(f"r{number}", text, action, conversation_id="c"))
        think(made)
    made.submit(Request("r3", "green", Action.FOLLOW_UP, conversation_id="c"))
    think(made)
    histories = [history for _, _, history in model.sessions[0].requests]
    assert [[turn.request for turn in history] for history in histories] == [
        [],
        ["red"],
        ["red", "green"],
        ["green", "the red one again"],
    ]
    assert [turn.answer for turn in histories[1]] == ["the red box"]
    assert [turn.keys for turn in histories[2]] == [(), (1,)]  # the older track went when its successor was answered
    assert model.sessions[0].keys == (3,)


def test_a_new_request_starts_a_conversation_anew_and_others_hear_nothing_of_it() -> None:
    model = BlobModel()
    made, _ = engine(model)
    made.submit(Request("a", "red", conversation_id="c"))
    think(made)
    made.submit(Request("b", "green", conversation_id="c"))
    think(made)
    for name, conversation in (("d", "c"), ("e", "other")):
        made.submit(Request(name, "red", Action.FOLLOW_UP, conversation_id=conversation))
        think(made)
    histories = [[turn.request for turn in history] for _, _, history in model.sessions[0].requests]
    assert histories == [[], [], ["green"], []]


def test_an_exception_in_the_slow_pass_fails_that_request_and_nothing_else() -> None:
    model = BlobModel(slow=ZeroDivisionError("a bad layer"))
    made, told = engine(model, policy="queue")
    model.faults.slow = None
    made.submit(Request("a", "red"))
    think(made)
    model.faults.slow = ZeroDivisionError("a bad layer")
    made.submit(Request("b", "green"))
    think(made)
    assert told.last("b").error_code == ErrorCode.MODEL_FAILED
    assert "ZeroDivisionError: a bad layer" in told.last("b").message
    assert made.active == ("a",)
    model.faults.slow = None
    made.submit(Request("c", "green"))
    think(made)
    assert told.states("c") == FULL_LIFE
    assert_legal(told)


def test_running_out_of_memory_has_its_own_code() -> None:
    made, told = engine(BlobModel(slow=MemoryError("no room")))
    made.submit(Request("r", "red"))
    think(made)
    assert told.last("r").error_code == ErrorCode.OUT_OF_MEMORY


def test_an_exception_in_the_fast_pass_fails_what_it_tracked_and_the_next_request_works() -> None:
    model = BlobModel()
    made, told = engine(model)
    made.submit(Request("a", "red"))
    think(made)
    model.faults.fast = RuntimeError("device lost")
    made.ingest(frame(9))
    assert not made.fast("camera", frame(9).header.stamp_ns)
    assert told.last("a").error_code == ErrorCode.MODEL_FAILED
    assert told.tracks()[-1].instances[0].state == TrackState.REMOVED
    model.faults.fast = None
    made.submit(Request("b", "red"))
    think(made)
    made.ingest(frame(10))
    assert made.fast("camera", frame(10).header.stamp_ns)
    assert len(model.sessions) == 2


def test_a_session_that_cannot_forget_is_replaced() -> None:
    model = BlobModel(drop=RuntimeError("stuck"))
    made, told = engine(model)
    made.submit(Request("a", "red"))
    think(made)
    made.stop("a")
    made.slow()
    model.faults.drop = None
    made.submit(Request("b", "red"))
    think(made)
    assert told.states("b") == FULL_LIFE
    assert len(model.sessions) == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda result: None, "returned NoneType"),
        (lambda result: _with(result, clip_index=(0, 1)), "the newest last"),
        (lambda result: _with(result, seg_offsets=()), "1 objects have 0 seg_offsets"),
        (lambda result: _with(result, objects=result.objects * 2, seg_offsets=(1, 1)), "wanted each once"),
    ],
)
def test_a_result_that_breaks_the_models_contract_fails_the_request_by_name(wrong: Any, words: str) -> None:
    made, told = engine(BlobModel(result=wrong))
    made.submit(Request("r", "red"))
    think(made)
    assert told.last("r").error_code == ErrorCode.MODEL_FAILED
    assert words in told.last("r").message
    assert not made.tracking


def _with(result: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(result, **changes)


def test_a_frame_that_does_not_decode_is_left_out_of_the_clip() -> None:
    model = BlobModel()
    made, told = engine(model, frames=3)

    def broken() -> Any:
        raise ImageError("undecodable", "damaged")

    made.ingest(frame(3, broken))
    made.ingest(frame(4, red=(4, 4, 10, 10)))
    made.submit(Request("r", "red"))
    think(made)
    assert told.states("r") == FULL_LIFE
    assert [size for _, size, _ in model.sessions[0].requests] == [5, 4]
    assert frame(3).header not in told.tracklets()[0].headers


def test_a_clip_of_nothing_but_damaged_frames_fails_for_want_of_frames() -> None:
    def broken() -> Any:
        raise ImageError("undecodable", "damaged")

    made, told = engine(frames=0)
    for index in range(3):
        made.ingest(frame(index, broken))
    made.submit(Request("r", "red"))
    think(made)
    assert told.last("r").error_code == ErrorCode.NO_FRAMES
    assert not made.busy


def test_objects_beyond_the_bound_are_left_out_and_it_is_said() -> None:
    made, told = engine(max_objects=1)
    made.submit(Request("r", "red and green"))
    think(made)
    assert len(told.answers("r")[-1].seg_track_ids) == 1
    assert len(told.answers("r")[-1].seg_offsets) == 1
    assert "1 more" in told.last("r").message


def test_a_flood_of_commands_leaves_nothing_behind() -> None:
    made, told = engine(history_requests=50)
    for number in range(10_000):
        made.submit(Request(f"r{number}", "red"))
        if number % 7 == 0:
            made.slow()
        if len(told) > 200:
            assert_one_final_state_each(told)
            told.clear()
    assert made.active == ("r9999",)
    assert len(made._requests._used_ids) <= 51
    assert len(made._requests.retired) <= 1
    assert sum(len(stream.to_drop) for stream in made._streams.values()) <= 1


def assert_one_final_state_each(told: Told) -> None:
    for _, events in itertools.groupby(
        sorted((e for e in told if isinstance(e, StatusEvent)), key=lambda e: e.request_id),
        key=lambda e: e.request_id,
    ):
        assert sum(event.state.final for event in events) <= 1


def test_a_sink_that_calls_back_sees_its_effects_after_the_events_on_their_way() -> None:
    told = Told()
    inside: list[bool] = []

    def sink(event: Any) -> None:
        assert not inside, "the sink was entered again before it returned"
        told(event)
        inside.append(True)
        if isinstance(event, StatusEvent) and event.state == RequestState.DECODING:
            made.stop(event.request_id)
        inside.clear()

    made = Engine(BlobModel(), PipelineConfig(), sink, "n")
    made.ingest(frame(0, painted(red=(1, 1, 9, 9))))
    made.submit(Request("r", "red"))
    think(made)
    assert told.states("r") == ["QUEUED", "BUFFERING", "DECODING", "CANCELED"]
    assert not made.busy


def test_keys_of_a_session_that_broke_are_not_given_to_a_follow_up() -> None:
    model = BlobModel()
    made, _ = engine(model, policy="queue")
    made.submit(Request("a", "red", conversation_id="c"))
    think(made)
    model.faults.fast = RuntimeError("device lost")
    made.ingest(frame(9))
    made.fast("camera", frame(9).header.stamp_ns)
    model.faults.fast = None
    made.submit(Request("b", "red", conversation_id="other"))
    think(made)
    assert model.sessions[1].keys == (0,)  # a new session counts anew
    made.submit(Request("f", "red", Action.FOLLOW_UP, conversation_id="c"))
    think(made)
    assert [(turn.request, turn.keys) for turn in model.sessions[1].requests[-1][2]] == [("red", ())]
