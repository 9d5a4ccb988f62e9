"""One script of commands with what the node says to each, for every way in that commands have."""

from __future__ import annotations

from dataclasses import dataclass

from villa_ros.pipeline.events import StatusEvent
from villa_ros.pipeline.request import Action, Request

Told = tuple[str, str, str]  # request id, state, error code

ANSWERED = ("QUEUED", "BUFFERING", "DECODING", "SEGMENTING", "TRACKING")


@dataclass(frozen=True)
class Step:
    """A command, and the states that it leads to before the next one is given."""

    request: Request
    told: tuple[Told, ...]


def _states(request_id: str, *states: str) -> tuple[Told, ...]:
    return tuple((request_id, state, "NONE") for state in states)


def _step(request_id: str, text: str, *told: Told, action: Action = Action.SEGMENT, **more: str) -> Step:
    return Step(Request(request_id, text, action, **more), told)


SCRIPT = (
    _step("a", "the red box", *_states("a", *ANSWERED)),
    _step("b", "the blue box", *_states("b", "QUEUED"), *_states("a", "SUPERSEDED"), *_states("b", *ANSWERED[1:])),
    _step("b", "", *_states("b", "CANCELED"), action=Action.STOP),
    _step("b", "", action=Action.STOP),  # it has ended: nothing is left to say
    _step("nobody", "", ("nobody", "REJECTED", "UNKNOWN_REQUEST"), action=Action.STOP),
    _step("c", "the red box", *_states("c", *ANSWERED), conversation_id="talk"),
    _step(
        "d", "and the blue box", *_states("d", "QUEUED"), *_states("c", "SUPERSEDED"), *_states("d", *ANSWERED[1:]),
        action=Action.FOLLOW_UP, conversation_id="talk",
    ),
    _step("all", "", *_states("all", "QUEUED"), *_states("d", "CANCELED"), *_states("all", "SUCCEEDED"),
          action=Action.STOP_ALL),
    _step("long", "red " * 1000, ("long", "REJECTED", "TEXT_TOO_LONG")),
    _step("empty", " \n ", ("empty", "REJECTED", "EMPTY_TEXT")),
    _step("a", "the red box", ("a~1", "REJECTED", "DUPLICATE_ID")),
    _step("strange", "the red box", ("strange", "REJECTED", "UNKNOWN_ACTION"), action=Action.UNKNOWN),
    _step("elsewhere", "the red box", ("elsewhere", "REJECTED", "UNKNOWN_CAMERA"), camera="kitchen"),
    _step("e", "the red box", *_states("e", *ANSWERED)),
    _step("spoken", "Stop, stop!", *_states("spoken", "QUEUED"), *_states("e", "CANCELED"),
          *_states("spoken", "SUCCEEDED")),
    _step("f", "the red box", *_states("f", *ANSWERED)),
    _step("again", "", *_states("again", "QUEUED"), *_states("f", "CANCELED"), *_states("again", "SUCCEEDED"),
          action=Action.RESET),
    _step("g", "something green", *_states("g", "QUEUED", "BUFFERING", "DECODING", "SEGMENTING", "NO_TARGET")),
)  # fmt: skip
EXPECTED = [told for step in SCRIPT for told in step.told]


def told_of(event: StatusEvent) -> Told:
    """What a state says that does not depend on when it came."""
    return event.request_id, event.state.name, event.error_code.name
