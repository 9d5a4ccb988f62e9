"""Is a command fit to be carried out? Nothing here needs a model or a frame."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from villa_ros.pipeline.request import Action, ErrorCode, Request

if TYPE_CHECKING:
    from villa_ros.pipeline.config import PipelineConfig

# A text that is nothing but one of these stops everything: a person who says it must not wait for a model. All of them
# count whatever a command's locale says: who is frightened speaks their own language, and recognisers guess wrong.
STOP_WORDS_OF = {
    "en": (
        "stop", "stop it", "stop that", "stop now", "stop please", "please stop", "stop all", "stop everything",
        "stop tracking", "cancel", "cancel that", "cancel it", "cancel all", "halt", "abort", "freeze", "never mind",
        "nevermind", "forget it", "quit",
    ),
    "de": (
        "stopp", "halt", "halt an", "anhalten", "sofort anhalten", "abbrechen", "abbruch", "hör auf", "aufhören",
        "bitte anhalten", "bitte stopp",
    ),
    "fr": ("arrête", "arrête toi", "arrêtez", "arrêtez vous", "stoppe", "stoppez", "annule", "annulez", "halte"),
    "es": ("para", "pare", "detente", "deténgase", "alto", "cancela", "cancelar", "basta"),
    "it": ("ferma", "fermati", "fermo", "si fermi", "annulla", "basta", "alt"),
    "pt": ("pare", "para", "pára", "parar", "cancela", "cancelar", "chega"),
    "nl": ("stoppen", "halt", "hou op", "stop ermee", "annuleer", "annuleren"),
    "pl": ("stój", "zatrzymaj", "zatrzymaj się", "przerwij", "anuluj"),
    "ja": ("止まれ", "止まって", "止めて", "とまれ", "とまって", "やめて", "ストップ", "中止"),
    "zh": ("停", "停止", "停下", "停下来", "取消"),
    "ko": ("멈춰", "멈춰요", "정지", "그만", "취소"),
}  # fmt: skip
STOP_WORDS = frozenset(word for words in STOP_WORDS_OF.values() for word in words)
MAX_ID_CHARS = 128
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what DDS delivers for broken UTF-8

_NOT_WORD = re.compile(r"[\W_]+")

Refusal = tuple[ErrorCode, str]


def is_stop(text: str) -> bool:
    """Does the whole text mean "stop"? Case, punctuation and repetition do not matter."""
    if len(text) > MAX_ID_CHARS:
        return False
    words = _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    return words in STOP_WORDS or (bool(words) and set(words.split()) <= STOP_WORDS)


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
