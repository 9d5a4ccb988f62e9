"""The action ~/segment_video: a goal is one request; it ends when the answer and its tracklets are out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future

from villa_msgs.action import SegmentVideo
from villa_msgs.msg import Command
from villa_ros.pipeline.events import AnswerEvent, Event, StatusEvent
from villa_ros.pipeline.request import ErrorCode, RequestState
from villa_ros.runtime import qos

if TYPE_CHECKING:
    from rclpy.lifecycle import LifecycleNode

    from villa_ros.node.activity import Activity

_REQUESTS = (Command.UNKNOWN, Command.SEGMENT, Command.FOLLOW_UP)  # UNKNOWN is refused later, by name


@dataclass(eq=False)
class _Pending:
    """A goal between its acceptance and its result. Events come from the worker's thread."""

    goal: Any
    done: Future[StatusEvent] = field(default_factory=Future)
    stage: RequestState = RequestState.UNKNOWN
    answer: str = ""
    track_ids: tuple[str, ...] = ()


class SegmentAction:
    """Turns goals into requests and what becomes of them into feedback and results.

    `activity` gives what takes requests; goals are refused while there is none.
    """

    def __init__(
        self,
        node: LifecycleNode,
        activity: Callable[[], Activity | None],
        result_timeout_s: int,
    ) -> None:
        self._node = node
        self._activity = activity
        self._pending: dict[str, _Pending] = {}
        self._unanswered: dict[str, None] = {}  # requests without an answer, oldest first
        self._server = ActionServer(
            node,
            SegmentVideo,
            "~/segment_video",
            self._execute,
            goal_callback=self._accept,
            cancel_callback=self._cancel,
            goal_service_qos_profile=qos.services(),
            result_service_qos_profile=qos.services(),
            cancel_service_qos_profile=qos.services(),
            feedback_pub_qos_profile=qos.results(),
            result_timeout=result_timeout_s,  # some distributions keep results for a quarter of an hour
        )

    def _accept(self, goal: Any) -> GoalResponse:
        if self._activity() is None:
            self._node.get_logger().warning("refused a goal: the node is not active")
            return GoalResponse.REJECT
        if goal.command.action not in _REQUESTS:
            self._node.get_logger().warning(
                f"refused a goal with action {goal.command.action}: publish stops and resets on ~/stop"
            )
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _cancel(self, goal: Any) -> CancelResponse:
        activity = self._activity()
        for request_id, pending in list(self._pending.items()):
            if pending.goal.goal_id == goal.goal_id and activity is not None:
                activity.worker.stop(request_id)
        return CancelResponse.ACCEPT

    async def _execute(self, goal: Any) -> Any:
        activity = self._activity()
        pending = _Pending(goal)
        if goal.is_cancel_requested or activity is None:
            message = "ended before it began"
            named = goal.request.command.request_id
            return self._result(pending, StatusEvent(named, RequestState.CANCELED, ErrorCode.NONE, message))
        request = activity.request(goal.request.command)
        mine = self._pending.setdefault(request.request_id, pending) is pending
        try:
            if activity.submit(request) != request.request_id:  # reported under an id of its own
                message = f"request id {request.request_id!r} was used before: send a new one, or none"
                return self._result(
                    pending,
                    StatusEvent(request.request_id, RequestState.REJECTED, ErrorCode.DUPLICATE_ID, message),
                )
            return self._result(pending, await pending.done)
        finally:
            if mine:
                del self._pending[request.request_id]

    def _result(self, pending: _Pending, end: StatusEvent) -> Any:
        outcome = RequestState.SUCCEEDED if end.state is RequestState.TRACKING else end.state
        if outcome in (RequestState.SUCCEEDED, RequestState.NO_TARGET):
            pending.goal.succeed()
        elif outcome is RequestState.CANCELED and pending.goal.is_cancel_requested:
            pending.goal.canceled()
        else:
            pending.goal.abort()
        return SegmentVideo.Result(
            outcome=int(outcome),
            error_code=int(end.error_code),
            message=end.message,
            answer=pending.answer,
            track_ids=list(pending.track_ids),
        )

    def observe(self, event: Event) -> None:
        """Take note of an event, from whatever thread."""
        if isinstance(event, StatusEvent):
            if event.state is RequestState.QUEUED:
                self._unanswered[event.request_id] = None
            elif event.state >= RequestState.TRACKING:
                self._unanswered.pop(event.request_id, None)
        elif not isinstance(event, AnswerEvent):
            return
        pending = self._pending.get(event.request_id)
        if pending is None or pending.done.done():
            return
        if isinstance(event, AnswerEvent):
            pending.answer, pending.track_ids = event.text, event.seg_track_ids
        elif event.state >= RequestState.TRACKING:
            pending.done.set_result(event)
            return
        else:
            pending.stage = event.state
        self._tell(event.request_id, pending)

    def _tell(self, request_id: str, pending: _Pending) -> None:
        waiting = list(self._unanswered)
        pending.goal.publish_feedback(
            SegmentVideo.Feedback(
                stage=int(pending.stage),
                progress=pending.stage / RequestState.TRACKING,
                queue_position=waiting.index(request_id) if request_id in waiting else 0,
                partial_answer=pending.answer,
            )
        )
