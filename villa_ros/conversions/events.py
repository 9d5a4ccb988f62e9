"""Pipeline events <-> messages, one mapping for rclpy's message classes and for those of a rosbags typestore.

Both kinds take every field by keyword; they differ in where a class is found and in what holds an integer
sequence (array.array against numpy), so those are what `MessageTypes` carries. Needs no ROS itself.
"""

from __future__ import annotations

import importlib
import json
import math
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from villa.files.plain_data import PlainDataError, from_json, shaped
from villa_ros.pipeline.events import (
    AnswerEvent,
    Event,
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
from villa_ros.pipeline.request import Action, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from villa.masks import RleMask

_NS_PER_S = 1_000_000_000
_MASK_RLE = 1  # villa_msgs/InstanceMask.RLE

MESSAGE_OF_EVENT: dict[type, str] = {
    TracksEvent: "villa_msgs/msg/TrackedInstanceArray",
    TrackletsEvent: "villa_msgs/msg/TrackletArray",
    AnswerEvent: "villa_msgs/msg/Answer",
    StatusEvent: "villa_msgs/msg/RequestStatus",
    JournalEvent: "std_msgs/msg/String",
}


class MappingError(ValueError):
    """A message or a journal line does not hold what its type promises."""


@dataclass(frozen=True)
class MessageTypes:
    """Where message classes come from and what their integer sequences are.

    `cls` finds a class by its full name ("villa_msgs/msg/Answer"); `uint32` and `uint8` turn a sequence of
    integers into the field value of `uint32[]` and `uint8[]`.
    """

    cls: Callable[[str], type[Any]]
    uint32: Callable[[Sequence[int] | NDArray[Any]], Any]
    uint8: Callable[[Sequence[int] | NDArray[Any]], Any]


@cache
def rclpy_types() -> MessageTypes:
    """The classes generated for rclpy; imports a message package when its first class is asked for."""

    @cache
    def find(name: str) -> type[Any]:
        package, _, kind = name.split("/")
        return getattr(importlib.import_module(f"{package}.msg"), kind)

    return MessageTypes(find, lambda v: _array("I", np.uint32, v), lambda v: _array("B", np.uint8, v))


def rosbags_types(typestore: Any) -> MessageTypes:
    """The classes of a rosbags typestore in which villa_msgs is registered."""
    return MessageTypes(
        typestore.types.__getitem__, lambda v: np.asarray(v, np.uint32), lambda v: np.asarray(v, np.uint8)
    )


def _array(code: str, dtype: Any, values: Sequence[int] | NDArray[Any]) -> array[int]:
    # frombytes is the only fast way into a message: assigning an ndarray copies it item by item in Python
    filled = array(code)
    filled.frombytes(np.ascontiguousarray(values, dtype).tobytes())
    return filled


def to_message(event: Event, types: MessageTypes, *, stamp_ns: int = 0, latency_ns: int = 0) -> Any:
    """Event -> message; `MESSAGE_OF_EVENT` names its type.

    Frame headers are copied verbatim. A status belongs to no frame, so `stamp_ns` is its stamp; `latency_ns`
    is the time from a frame's arrival to now and goes into TrackedInstanceArray only.

    Raises:
        MappingError: not one of the pipeline's events.
    """
    if isinstance(event, TracksEvent):
        return _tracks(event, types, latency_ns)
    if isinstance(event, TrackletsEvent):
        return _tracklets(event, types)
    if isinstance(event, AnswerEvent):
        return _answer(event, types)
    if isinstance(event, StatusEvent):
        return types.cls("villa_msgs/msg/RequestStatus")(
            header=header_message(FrameHeader(stamp_ns, ""), types),
            request_id=event.request_id,
            state=int(event.state),
            error_code=int(event.error_code),
            message=event.message,
        )
    if isinstance(event, JournalEvent):
        return types.cls("std_msgs/msg/String")(data=journal_line(event))
    names = ", ".join(kind.__name__ for kind in MESSAGE_OF_EVENT)
    raise MappingError(f"{type(event).__name__} is no pipeline event; wanted one of {names}")


def _tracks(event: TracksEvent, types: MessageTypes, latency_ns: int) -> Any:
    return types.cls("villa_msgs/msg/TrackedInstanceArray")(
        header=header_message(event.header, types),
        camera=event.camera,
        sequence=event.sequence,
        instances=[_instance(instance, types) for instance in event.instances],
        latency=duration_message(latency_ns, types),
    )


def _instance(instance: TrackedInstance, types: MessageTypes) -> Any:
    return types.cls("villa_msgs/msg/TrackedInstance")(
        track_id=instance.track_id,
        request_id=instance.request_id,
        label=instance.label,
        state=int(instance.state),
        name=instance.name,
        score=float(instance.score),
        mask_score=float(instance.mask_score),
        mask=mask_message(instance.mask, types),
    )


def _tracklets(event: TrackletsEvent, types: MessageTypes) -> Any:
    if not event.headers:
        raise MappingError(f"the tracklets of request {event.request_id} name no frame; wanted at least one")
    clip = types.cls("villa_msgs/msg/Clip")(
        header=header_message(event.headers[0], types),
        camera=event.camera,
        stamps=[time_message(header.stamp_ns, types) for header in event.headers],
        height=event.height,
        width=event.width,
        frames_dropped=event.frames_dropped,
    )
    return types.cls("villa_msgs/msg/TrackletArray")(
        header=header_message(event.headers[-1], types),
        request_id=event.request_id,
        clip=clip,
        tracklets=[_tracklet(tracklet, types) for tracklet in event.tracklets],
    )


def _tracklet(tracklet: Tracklet, types: MessageTypes) -> Any:
    return types.cls("villa_msgs/msg/Tracklet")(
        track_id=tracklet.track_id,
        name=tracklet.name,
        score=float(tracklet.score),
        frame_index=types.uint32(tracklet.frame_index),
        masks=[mask_message(mask, types) for mask in tracklet.masks],
    )


def _answer(event: AnswerEvent, types: MessageTypes) -> Any:
    return types.cls("villa_msgs/msg/Answer")(
        header=header_message(event.header, types),
        request_id=event.request_id,
        conversation_id=event.conversation_id,
        text=event.text,
        raw_text=event.raw_text,
        seg_offsets=types.uint32(event.seg_offsets),
        seg_track_ids=list(event.seg_track_ids),
        sequence=event.sequence,
        is_final=event.is_final,
        finish_reason=int(event.finish_reason),
    )


def mask_message(mask: RleMask, types: MessageTypes) -> Any:
    """RLE mask -> villa_msgs/InstanceMask."""
    roi = types.cls("sensor_msgs/msg/RegionOfInterest")(
        x_offset=mask.x, y_offset=mask.y, height=mask.box_height, width=mask.box_width, do_rectify=False
    )
    return types.cls("villa_msgs/msg/InstanceMask")(
        height=mask.height,
        width=mask.width,
        roi=roi,
        encoding=_MASK_RLE,
        runs=types.uint32(mask.runs),
        data=types.uint8(()),
        area=mask.area,
    )


def mask_from_message(message: Any) -> RleMask:
    """villa_msgs/InstanceMask -> RLE mask (the inverse of `mask_message`).

    Raises:
        MappingError: the mask is not run-length coded.
    """
    from villa.masks import RleMask

    if message.encoding != _MASK_RLE:
        raise MappingError(f"mask encoding {message.encoding}; wanted {_MASK_RLE} (RLE)")
    roi = message.roi
    runs = np.array(message.runs, np.uint32)
    return RleMask(message.height, message.width, roi.x_offset, roi.y_offset, roi.width, roi.height, runs, message.area)


def tracks_from_message(message: Any) -> TracksEvent:
    """villa_msgs/TrackedInstanceArray -> event; its arrival is unknown and 0."""
    instances = tuple(
        TrackedInstance(
            track_id=item.track_id,
            request_id=item.request_id,
            label=item.label,
            state=TrackState(item.state),
            name=item.name,
            score=item.score,
            mask_score=item.mask_score,
            mask=mask_from_message(item.mask),
        )
        for item in message.instances
    )
    return TracksEvent(header_from_message(message.header), message.camera, message.sequence, instances, 0)


def answer_from_message(message: Any) -> AnswerEvent:
    """villa_msgs/Answer -> event."""
    return AnswerEvent(
        header=header_from_message(message.header),
        request_id=message.request_id,
        conversation_id=message.conversation_id,
        text=message.text,
        raw_text=message.raw_text,
        seg_offsets=tuple(int(offset) for offset in message.seg_offsets),
        seg_track_ids=tuple(message.seg_track_ids),
        sequence=message.sequence,
        is_final=bool(message.is_final),
        finish_reason=FinishReason(message.finish_reason),
    )


def time_message(stamp_ns: int, types: MessageTypes) -> Any:
    """Nanoseconds -> builtin_interfaces/Time, exact."""
    sec, nanosec = divmod(stamp_ns, _NS_PER_S)
    return types.cls("builtin_interfaces/msg/Time")(sec=sec, nanosec=nanosec)


def duration_message(span_ns: int, types: MessageTypes) -> Any:
    """Nanoseconds -> builtin_interfaces/Duration, exact."""
    sec, nanosec = divmod(span_ns, _NS_PER_S)
    return types.cls("builtin_interfaces/msg/Duration")(sec=sec, nanosec=nanosec)


def nanoseconds(message: Any) -> int:
    """builtin_interfaces/Time or Duration -> nanoseconds, exact."""
    return int(message.sec) * _NS_PER_S + int(message.nanosec)


def header_message(header: FrameHeader, types: MessageTypes) -> Any:
    """Frame header -> std_msgs/Header."""
    return types.cls("std_msgs/msg/Header")(stamp=time_message(header.stamp_ns, types), frame_id=header.frame_id)


def header_from_message(message: Any) -> FrameHeader:
    """std_msgs/Header -> frame header."""
    return FrameHeader(nanoseconds(message.stamp), message.frame_id)


def request_from_message(message: Any, *, request_id: str = "", camera: str = "camera") -> Request:
    """villa_msgs/Command -> request; `request_id` and `camera` fill in what the command leaves empty.

    An action number that this version does not know becomes Action.UNKNOWN, which the pipeline rejects.
    """
    known = message.action in Action._value2member_map_
    return Request(
        request_id=message.request_id or request_id,
        text=message.text,
        action=Action(message.action) if known else Action.UNKNOWN,
        camera=message.camera or camera,
        stamp_ns=nanoseconds(message.header.stamp),
        conversation_id=message.conversation_id,
        locale=message.locale,
        confidence=float(message.confidence),
        track=bool(message.track),
        clip_duration_s=nanoseconds(message.clip_duration) / _NS_PER_S,
        timeout_s=nanoseconds(message.timeout) / _NS_PER_S,
    )


def command_message(request: Request, types: MessageTypes) -> Any:
    """Request -> villa_msgs/Command (the inverse of `request_from_message`, durations to the nanosecond)."""
    return types.cls("villa_msgs/msg/Command")(
        header=header_message(FrameHeader(request.stamp_ns, ""), types),
        action=int(request.action),
        request_id=request.request_id,
        conversation_id=request.conversation_id,
        text=request.text,
        locale=request.locale,
        confidence=float(request.confidence),
        camera=request.camera,
        track=request.track,
        clip_duration=duration_message(round(request.clip_duration_s * _NS_PER_S), types),
        timeout=duration_message(round(request.timeout_s * _NS_PER_S), types),
    )


def journal_line(event: JournalEvent, request: Request | None = None) -> str:
    """Journal event -> one line of JSON; a submit carries its request, so that the journal repeats alone."""
    fields: dict[str, Any] = asdict(event)
    if request is not None:
        fields["request"] = asdict(request)
        if math.isnan(request.confidence):
            fields["request"]["confidence"] = None  # JSON has no NaN
    return json.dumps(fields, allow_nan=False)


def parse_journal_line(line: str) -> tuple[JournalEvent, Request | None]:
    """One line of JSON -> journal event, with the request that a submit carries.

    Raises:
        MappingError: the line is not a journal entry.
    """
    try:
        fields = from_json(line)
        carried = fields.pop("request", None) if isinstance(fields, dict) else None
        event = shaped(fields, JournalEvent, exact=True)
        if carried is None:
            return event, None
        if isinstance(carried, dict) and carried.get("confidence", 0) is None:
            carried["confidence"] = math.nan
        return event, shaped(carried, Request, exact=True)
    except PlainDataError as error:
        raise MappingError(
            f"journal line {line[:120]!r} is no journal entry ({error}); record ~/journal again"
        ) from error
