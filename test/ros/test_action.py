"""The action: a goal succeeds when its answer is out, aborts when superseded or refused, cancels on request."""

from __future__ import annotations

import pytest
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from ros_graph import Peer

from villa_msgs.action import SegmentVideo
from villa_msgs.msg import Command, RequestStatus


class Client:
    """Sends goals and keeps the camera running until they end."""

    def __init__(self, peer: Peer, camera) -> None:
        self._peer, self._camera = peer, camera
        self._client = ActionClient(peer.node, SegmentVideo, "/villa_node/segment_video")
        peer.until(self._client.server_is_ready, "the action server")
        self.feedback: list[SegmentVideo.Feedback] = []

    def send(self, text: str, **fields):
        fields.setdefault("action", Command.SEGMENT)
        goal = SegmentVideo.Goal(command=Command(text=text, **fields))
        sent = self._client.send_goal_async(goal, lambda message: self.feedback.append(message.feedback))
        self._peer.until(sent.done, "the goal to be taken")
        return sent.result()

    def end(self, handle):
        result = handle.get_result_async()
        self._peer.until(result.done, "the goal to end", self._camera.shoot)
        return result.result().status, result.result().result


@pytest.fixture
def client(start_node, peer, camera, lifecycle) -> Client:
    start_node(device="slow")
    peer.until(lambda: lifecycle.state() == "active", "the node to activate itself")
    return Client(peer, camera)


def test_goal_succeeds_with_the_answer_while_tracking_goes_on(client, operator, peer, camera):
    told = peer.listen(SegmentVideo.Impl.FeedbackMessage, "/villa_node/segment_video/_action/feedback")
    peer.meet("/villa_node")
    handle = client.send("the red square", request_id="goal", track=True)
    status, result = client.end(handle)
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.outcome == SegmentVideo.Result.OUTCOME_SUCCEEDED
    assert "red" in result.answer
    assert len(result.track_ids) == 1
    heard = len(operator.tracks_of("goal"))
    peer.until(lambda: len(operator.tracks_of("goal")) > heard + 2, "tracks after the goal", camera.shoot)
    decoding = SegmentVideo.Feedback.STAGE_DECODING
    peer.until(lambda: any(one.feedback.stage >= decoding for one in told), "feedback")
    stages = [one.feedback.stage for one in told]
    assert stages == sorted(stages)
    assert all(list(one.goal_id.uuid) == list(handle.goal_id.uuid) for one in told)


def test_feedback_reaches_an_action_client(client, peer):
    # A client forgets feedback that comes with the result, and none can ask whether the server knows it.
    peer.until(lambda: client.feedback, "any feedback", lambda: client.end(client.send("the banana")))


def test_what_is_not_there_is_a_success_without_tracks(client):
    status, result = client.end(client.send("the banana"))
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert result.outcome == SegmentVideo.Result.OUTCOME_NO_TARGET
    assert not result.track_ids


def test_refused_request_aborts_its_goal_with_the_reason(client):
    status, result = client.end(client.send(""))
    assert status == GoalStatus.STATUS_ABORTED
    assert result.outcome == SegmentVideo.Result.OUTCOME_REJECTED
    assert result.error_code == RequestStatus.ERROR_EMPTY_TEXT


def test_repeated_request_id_aborts_the_second_goal(client):
    client.end(client.send("the red square", request_id="goal"))
    status, result = client.end(client.send("the red square", request_id="goal"))
    assert status == GoalStatus.STATUS_ABORTED
    assert result.error_code == RequestStatus.ERROR_DUPLICATE_ID


def test_superseded_goal_is_aborted_not_cancelled(client):
    # no image yet: the first goal waits for one when the second comes
    first = client.send("the red square")
    second = client.send("the blue square")
    status, result = client.end(first)
    assert status == GoalStatus.STATUS_ABORTED
    assert result.outcome == SegmentVideo.Result.OUTCOME_SUPERSEDED
    assert client.end(second)[0] == GoalStatus.STATUS_SUCCEEDED


def test_cancelled_goal_ends_cancelled_and_its_request_too(client, operator, peer):
    handle = client.send("the red square", request_id="goal")  # waits for a first image
    peer.until(lambda: operator.states("goal"), "the request to be queued")
    cancel = handle.cancel_goal_async()
    peer.until(cancel.done, "the cancellation")
    status, result = client.end(handle)
    assert status == GoalStatus.STATUS_CANCELED
    assert result.outcome == SegmentVideo.Result.OUTCOME_CANCELED
    operator.reach("goal", RequestStatus.CANCELED)  # the result may overtake the status
    assert operator.states("goal")[-1] == RequestStatus.CANCELED


def test_goal_that_asks_to_stop_is_refused(client):
    assert not client.send("", action=Command.STOP_ALL).accepted
