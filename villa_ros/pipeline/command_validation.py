"""Is a command fit to be carried out? Nothing here needs a model or a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from villa_ros.pipeline.request import Action, ErrorCode, Request
from villa_ros.pipeline.stop_words import is_stop

if TYPE_CHECKING:
    from villa_ros.pipeline.config import PipelineConfig

MAX_ID_CHARS = 128
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what DDS delivers for broken UTF-8

Refusal = tuple[ErrorCode, str]


def meaning(request: Request) -> Action:
    """The command's action, with spoken stop words taken for STOP_ALL."""
    spoken = request.action in (Action.SEGMENT, Action.FOLLOW_UP)
    return Action.STOP_ALL if spoken and is_stop(request.text) else request.action


def refusal(request: Request, config: PipelineConfig) -> Refusal | None:
    """Why a SEGMENT or FOLLOW_UP request cannot be accepted, or None when nothing speaks against it."""
    text = request.text
    if request.action not in (Action.SEGMENT, Action.FOLLOW_UP):
        wanted = ", ".join(f"{action.name} ({int(action)})" for action in Action if action)
        return ErrorCode.UNKNOWN_ACTION, f"action is {int(request.action)}, wanted one of {wanted}"
    if len(text) > config.max_command_chars:
        return (
            ErrorCode.TEXT_TOO_LONG,
            f"text has {len(text)} characters, wanted {config.max_command_chars} or fewer: "
            "shorten it or raise max_command_chars",
        )
    if REPLACEMENT in text or any("\ud800" <= character <= "\udfff" for character in text):
        return (
            ErrorCode.TEXT_UNDECODABLE,
            "text holds U+FFFD or a lone surrogate, the mark of bytes that are no UTF-8: send UTF-8",
        )
    if not text.strip():
        return ErrorCode.EMPTY_TEXT, 'text is empty, wanted a request such as "the red mug"'
    for name, value in (("request_id", request.request_id), ("conversation_id", request.conversation_id)):
        if len(value) > MAX_ID_CHARS:
            return (
                ErrorCode.TEXT_TOO_LONG,
                f"{name} has {len(value)} characters, wanted {MAX_ID_CHARS} or fewer",
            )
    if request.camera and request.camera not in config.cameras:
        return (
            ErrorCode.UNKNOWN_CAMERA,
            f"camera is {request.camera[:MAX_ID_CHARS]!r}, wanted one of {', '.join(config.cameras)}",
        )
    return None
