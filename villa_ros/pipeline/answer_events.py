"""What is told when a request is answered: the words, growing and whole, and the tracklets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from villa_ros.pipeline.events import AnswerEvent, FinishReason, Tracklet, TrackletsEvent

if TYPE_CHECKING:
    from villa.interface import RequestResult
    from villa_ros.pipeline.camera_state import ActiveRequest
    from villa_ros.pipeline.clip_buffer import ClipBuffer
    from villa_ros.pipeline.frame import FrameHeader
    from villa_ros.pipeline.model_calls import Answered, SlowPass
    from villa_ros.pipeline.tracks import Track

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


def told_so_far(record: ActiveRequest, header: FrameHeader, text: str) -> AnswerEvent:
    """The answer while it grows."""
    conversation = record.request.conversation_id
    unknown = FinishReason.UNKNOWN
    return AnswerEvent(header, record.request_id, conversation, text, text, (), (), 0, False, unknown)


def told_in_full(
    record: ActiveRequest, header: FrameHeader, result: RequestResult, tracks: Mapping[int, Track]
) -> AnswerEvent:
    """The whole answer; `tracks` by the number of their object, the others had no room."""
    return replace(
        told_so_far(record, header, result.text),
        raw_text=result.raw_text,
        seg_offsets=tuple(result.seg_offsets[index] for index in tracks),
        seg_track_ids=tuple(track.track_id for track in tracks.values()),
        is_final=True,
        finish_reason=_FINISH.get(result.finish_reason, FinishReason.UNKNOWN),
    )


def tracklets_of(done: SlowPass, answered: Answered, tracks: Mapping[int, Track], ring: ClipBuffer) -> TrackletsEvent:
    """The objects over the frames that the model used; frames of that time that it did not use are counted."""
    used = [done.entries[index].frame for index in answered.result.clip_index]
    first_ns, last_ns = used[0].header.time_ns, used[-1].header.time_ns
    offered = sum(first_ns <= entry.stamp_ns <= last_ns for entry in done.entries)
    came = max(offered, len(ring.between(first_ns - 1, last_ns + 1)))
    return TrackletsEvent(
        request_id=done.request_id,
        camera=done.camera,
        headers=tuple(frame.header for frame in used),
        height=used[-1].height,
        width=used[-1].width,
        frames_dropped=came - len(used),
        tracklets=tuple(
            Tracklet(track.track_id, track.name, track.relevance, tuple(found), tuple(found.values()))
            for track, found in ((track, answered.objects[index]) for index, track in tracks.items())
        ),
    )
