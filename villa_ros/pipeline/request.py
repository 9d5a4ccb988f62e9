"""A request in plain words, whichever way it came (topic, text topic, action, speech, bag)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum


class Action(IntEnum):
    """What a command wants; the numbers of villa_msgs/Command."""

    UNKNOWN = 0
    SEGMENT = 1
    FOLLOW_UP = 2
    STOP = 3
    STOP_ALL = 4
    RESET = 5


class RequestState(IntEnum):
    """The numbers of villa_msgs/RequestStatus."""

    UNKNOWN = 0
    QUEUED = 1
    BUFFERING = 2
    DECODING = 3
    SEGMENTING = 4
    TRACKING = 5
    SUCCEEDED = 6
    NO_TARGET = 7
    REJECTED = 8
    CANCELED = 9
    SUPERSEDED = 10
    FAILED = 11

    @property
    def final(self) -> bool:
        """No status of this request may follow."""
        return self >= RequestState.SUCCEEDED


class ErrorCode(IntEnum):
    """Why a request was rejected or failed: 1xx input, 2xx camera or clip, 3xx model, 4xx resources."""

    NONE = 0
    EMPTY_TEXT = 101
    TEXT_TOO_LONG = 102
    TEXT_UNDECODABLE = 103
    UNKNOWN_ACTION = 104
    DUPLICATE_ID = 105
    UNKNOWN_REQUEST = 106
    TEXT_NOT_READ = 107
    UNKNOWN_CAMERA = 201
    NO_FRAMES = 202
    CLOCK_JUMPED = 203
    MODEL_FAILED = 301
    MODEL_NOT_READY = 302
    BUSY = 401
    OUT_OF_MEMORY = 402
    TIMEOUT = 403


@dataclass(frozen=True)
class Request:
    """One command. `stamp_ns` is the end of the utterance; durations are in seconds, 0 means the default."""

    request_id: str
    text: str
    action: Action = Action.SEGMENT
    camera: str = "camera"
    stamp_ns: int = 0
    conversation_id: str = ""
    locale: str = ""
    confidence: float = math.nan
    track: bool = True
    clip_duration_s: float = 0.0
    timeout_s: float = 0.0
