"""What the pipeline tells the outside. The node turns these into messages, replay writes them to a bag."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Union

from villa_ros.pipeline.config import PipelineConfig

if TYPE_CHECKING:
    from villa.masks import RleMask
    from villa_ros.pipeline.frame import FrameHeader
    from villa_ros.pipeline.request import ErrorCode, RequestState


class TrackState(IntEnum):
    """The numbers of villa_msgs/TrackedInstance."""

    UNKNOWN = 0
    TENTATIVE = 1
    TRACKED = 2
    OCCLUDED = 3
    LOST = 4
    REMOVED = 5


class FinishReason(IntEnum):
    """Why the answer ended; the numbers of villa_msgs/Answer."""

    UNKNOWN = 0
    STOP = 1
    LENGTH = 2
    CANCELED = 3


@dataclass(frozen=True)
class TrackedInstance:
    """One object on one frame."""

    track_id: str
    request_id: str
    label: int  # 1..65534, its value in the label image
    state: TrackState
    name: str
    score: float
    mask_score: float
    mask: RleMask


@dataclass(frozen=True)
class TracksEvent:
    """One processed frame while a request is active; the last of a request carries REMOVED."""

    header: FrameHeader  # the source frame's own, verbatim
    camera: str
    sequence: int
    instances: tuple[TrackedInstance, ...]
    arrival_ns: int  # the caller's clock when the frame came in; latency is measured from it


@dataclass(frozen=True)
class Tracklet:
    """One object over the clip: `frame_index` into the clip's headers, one mask for each."""

    track_id: str
    name: str
    score: float
    frame_index: tuple[int, ...]
    masks: tuple[RleMask, ...]


@dataclass(frozen=True)
class TrackletsEvent:
    """The tracklets of an answered request over the clip the model looked at."""

    request_id: str
    camera: str
    headers: tuple[FrameHeader, ...]
    height: int
    width: int
    frames_dropped: int
    tracklets: tuple[Tracklet, ...]


@dataclass(frozen=True)
class AnswerEvent:
    """The answer in words; `seg_offsets` are code points into `text`, one for each of `seg_track_ids`."""

    header: FrameHeader
    request_id: str
    conversation_id: str
    text: str
    raw_text: str
    seg_offsets: tuple[int, ...]
    seg_track_ids: tuple[str, ...]
    sequence: int
    is_final: bool
    finish_reason: FinishReason


@dataclass(frozen=True)
class StatusEvent:
    """A request's state changed."""

    request_id: str
    state: RequestState
    error_code: ErrorCode
    message: str


@dataclass(frozen=True)
class JournalEvent:
    """One operation in the order the worker did it: what `villa replay --like` repeats.

    `op` is one of "ingest", "jump", "submit", "stop", "expire", "give_up", "reset", "configure", "again", "fast",
    "slow"; `stamp_ns` names the frame of ingest and fast, and is how far the clock jumped or how long a model took;
    `request_id` is the request of submit, stop (empty: all), expire and again. The first operation, and "configure",
    bear the settings from then on.
    """

    index: int
    op: str
    camera: str = ""
    stamp_ns: int = 0
    request_id: str = ""
    config: PipelineConfig | None = None


Event = Union[  # noqa: UP007 - evaluated at run time
    TracksEvent, TrackletsEvent, AnswerEvent, StatusEvent, JournalEvent
]
