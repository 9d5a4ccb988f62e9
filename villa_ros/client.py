"""For nodes that ask: a request in words becomes a future with masks, and tracks become numpy arrays.

    client = ViLLaClient(node)
    future = client.segment("the red mug")           # never blocks
    future.add_done_callback(lambda done: print(done.result().tracklets[0].masks[-1].shape))

Everything happens in the callbacks of the node that is given; the executor that spins it does the work.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.task import Future

from villa.masks import Mask, decode
from villa_msgs.action import SegmentVideo
from villa_msgs.msg import Command, TrackedInstanceArray, TrackletArray
from villa_ros.conversions.events import mask_from_message, nanoseconds
from villa_ros.pipeline.events import TrackState
from villa_ros.pipeline.request import ErrorCode, RequestState
from villa_ros.runtime import qos
from villa_ros.runtime.acquaintance import Acquaintance

if TYPE_CHECKING:
    from rclpy.node import Node

_POLL_S = 0.05
_TRACKLETS_LATE_S = 5.0  # topics and actions keep no order among each other


class SegmentationError(RuntimeError):
    """A request was not answered. `state` and `code` say why."""

    def __init__(self, state: RequestState, code: ErrorCode, message: str) -> None:
        super().__init__(f"{state.name} ({code.name}): {message}")
        self.state = state
        self.code = code


@dataclass(frozen=True)
class TrackletMasks:
    """One object over the clip."""

    track_id: str
    name: str
    score: float
    stamps_ns: tuple[int, ...]  # of the frames that it is seen on
    masks: tuple[Mask, ...]  # [H, W] bool, one for each stamp


@dataclass(frozen=True)
class Segmented:
    """An answered request. No tracklets: nothing in view is meant."""

    request_id: str
    answer: str
    tracklets: tuple[TrackletMasks, ...]


@dataclass(frozen=True)
class TrackMask:
    """One object on one frame."""

    track_id: str
    request_id: str
    name: str
    label: int
    state: TrackState
    score: float
    mask: Mask  # [H, W] bool; all false where it is not seen


@dataclass(frozen=True)
class Tracks:
    """All tracked objects of one frame."""

    header: Any  # std_msgs/Header of the frame
    camera: str
    instances: tuple[TrackMask, ...]


@dataclass(eq=False)
class _Pending:
    future: Future[Segmented]
    command: Any
    give_up_s: float
    sent: bool = False
    goal: Any = None
    result: Any = None
    tracklets: Any = None


class ViLLaClient:
    """Asks one villa node about one of its cameras."""

    def __init__(self, node: Node, villa_node: str = "/villa_node", camera: str = "camera") -> None:
        self._node = node
        self._name = villa_node
        self._camera = camera
        self._pending: dict[str, _Pending] = {}
        self._action = ActionClient(
            node,
            SegmentVideo,
            f"{villa_node}/segment_video",
            goal_service_qos_profile=qos.services(),
            result_service_qos_profile=qos.services(),
            cancel_service_qos_profile=qos.services(),
            feedback_sub_qos_profile=qos.results(),
        )
        self._tracklets = node.create_subscription(
            TrackletArray, f"{villa_node}/{camera}/tracklets", self._on_tracklets, qos.results()
        )
        self._stops = node.create_publisher(Command, f"{villa_node}/stop", qos.commands())
        self._acquaintance = Acquaintance(node, villa_node)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # also while simulated time stands still
        self._timer = node.create_timer(_POLL_S, self._poll, clock=steady)

    def segment(
        self,
        text: str,
        *,
        track: bool = True,
        follow_up: bool = False,
        conversation_id: str = "",
        timeout_s: float = 0.0,
        clip_duration_s: float = 0.0,
        patience_s: float = 10.0,
    ) -> Future[Segmented]:
        """Ask for what `text` means. The future has a `Segmented`, or raises a `SegmentationError`.

        `track`: the node goes on tracking afterwards (see `subscribe`), for `timeout_s` seconds or, at 0, until it is
        stopped. `patience_s`: how long the node may be away before the request fails. `cancel()` of the future stops
        the request.
        """
        request_id = f"client-{uuid.uuid4().hex[:12]}"
        command = Command(
            action=Command.FOLLOW_UP if follow_up else Command.SEGMENT,
            request_id=request_id,
            conversation_id=conversation_id,
            text=text,
            confidence=float("nan"),
            camera=self._camera,
            track=track,
        )
        _set_duration(command.timeout, timeout_s)
        _set_duration(command.clip_duration, clip_duration_s)
        future: Future[Segmented] = Future()
        self._pending[request_id] = _Pending(future, command, time.monotonic() + patience_s)
        return future

    def stop(self, request_id: str = "") -> None:
        """End a request, or all of the node with an empty id."""
        action = Command.STOP if request_id else Command.STOP_ALL
        self._stops.publish(Command(action=action, request_id=request_id))

    def destroy(self) -> None:
        """Leave the graph; futures that are not done stay so."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._tracklets)
        self._node.destroy_publisher(self._stops)
        self._action.destroy()
        self._acquaintance.destroy()

    def _poll(self) -> None:
        now_s = time.monotonic()
        # Masks are told on a topic, which the node has only for cameras that it has.
        found = self._action.server_is_ready() and self._tracklets.get_publisher_count() > 0
        known = self._acquaintance.made()
        ready = found and known
        for request_id, pending in list(self._pending.items()):
            if pending.future.cancelled():
                if not pending.sent or pending.goal is not None:  # else it is on its way: the next time
                    del self._pending[request_id]
                if pending.goal is not None:
                    pending.goal.cancel_goal_async()
                    self.stop(request_id)  # the goal may have ended meanwhile, and tracking gone on
            elif not pending.sent and ready:
                pending.sent = True
                sent = self._action.send_goal_async(SegmentVideo.Goal(command=pending.command))
                sent.add_done_callback(lambda done, mine=pending: self._on_goal(mine, done.result()))
            elif not pending.sent and now_s > pending.give_up_s:
                message = f"no villa node {self._name!r} with a camera {self._camera!r}: is it running and active?"
                self._fail(pending, RequestState.REJECTED, ErrorCode.MODEL_NOT_READY, message)
            elif pending.sent and pending.goal is None and now_s > pending.give_up_s:
                message = "the node did not answer the goal: is the network lossy? Ask again"
                self._fail(pending, RequestState.FAILED, ErrorCode.TIMEOUT, message)
            elif pending.result is not None and now_s > pending.give_up_s:
                message = "the answer came and its tracklets did not: are they remapped, or is the network lossy?"
                self._fail(pending, RequestState.FAILED, ErrorCode.TIMEOUT, message)

    def _on_goal(self, pending: _Pending, goal: Any) -> None:
        if not goal.accepted:
            message = "the node refused the goal: is it active?"
            self._fail(pending, RequestState.REJECTED, ErrorCode.MODEL_NOT_READY, message)
            return
        pending.goal = goal
        goal.get_result_async().add_done_callback(lambda done: self._on_result(pending, done.result().result))

    def _on_result(self, pending: _Pending, result: Any) -> None:
        state = RequestState(result.outcome)
        if state not in (RequestState.SUCCEEDED, RequestState.NO_TARGET):
            self._fail(pending, state, ErrorCode(result.error_code), result.message)
            return
        pending.result = result
        pending.give_up_s = time.monotonic() + _TRACKLETS_LATE_S
        self._finish(pending)

    def _on_tracklets(self, message: Any) -> None:
        pending = self._pending.get(message.request_id)
        if pending is not None:
            pending.tracklets = message
            self._finish(pending)

    def _finish(self, pending: _Pending) -> None:
        if pending.result is None or (pending.result.track_ids and pending.tracklets is None):
            return
        request_id = pending.command.request_id
        tracklets = () if pending.tracklets is None else tracklets_of(pending.tracklets)
        if self._pending.pop(request_id, None) is None:
            return
        if pending.future.cancelled():
            self.stop(request_id)
        else:
            pending.future.set_result(Segmented(request_id, pending.result.answer, tracklets))

    def _fail(self, pending: _Pending, state: RequestState, code: ErrorCode, message: str) -> None:
        if self._pending.pop(pending.command.request_id, None) is not None and not pending.future.cancelled():
            pending.future.set_exception(SegmentationError(state, code, message))


def subscribe(
    node: Node, callback: Callable[[Tracks], None], villa_node: str = "/villa_node", camera: str = "camera"
) -> Any:
    """Call `callback` with the tracks of every processed frame; returns the subscription."""
    topic = f"{villa_node}/{camera}/tracks"
    return node.create_subscription(
        TrackedInstanceArray, topic, lambda message: callback(tracks_of(message)), qos.tracks(reliable=False)
    )


def tracks_of(message: Any) -> Tracks:
    """villa_msgs/TrackedInstanceArray -> masks as arrays.

    Raises:
        villa.masks.MaskError: a mask contradicts itself.
        villa_ros.conversions.events.MappingError: a mask is not run-length coded.
    """
    return Tracks(
        message.header,
        message.camera,
        tuple(
            TrackMask(
                one.track_id,
                one.request_id,
                one.name,
                one.label,
                TrackState(one.state),
                one.score,
                decode(mask_from_message(one.mask)),
            )
            for one in message.instances
        ),
    )


def tracklets_of(message: Any) -> tuple[TrackletMasks, ...]:
    """villa_msgs/TrackletArray -> masks as arrays; raises as `tracks_of`."""
    stamps_ns = [nanoseconds(stamp) for stamp in message.clip.stamps]
    return tuple(
        TrackletMasks(
            one.track_id,
            one.name,
            one.score,
            tuple(stamps_ns[index] for index in one.frame_index),
            tuple(decode(mask_from_message(mask)) for mask in one.masks),
        )
        for one in message.tracklets
    )


def _set_duration(field: Any, seconds: float) -> None:
    field.sec, field.nanosec = divmod(round(seconds * 1e9), 10**9)
