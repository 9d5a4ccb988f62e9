"""Where a console hears from and speaks to: a live node over ROS, or a recording that is replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from villa_ros.pipeline.request import Request


class NotSentError(RuntimeError):
    """A command could not be handed over; the message says why, and what to do."""


class Source(Protocol):
    """Tells a `Heard` what it hears, from a thread of its own, between `start` and `close`.

    Attributes:
        name: Of the node, for people.
        repeats: Whether `again` does anything.
    """

    name: str
    repeats: bool

    def start(self) -> None:
        """Begin to listen."""

    def close(self) -> None:
        """Listen no more."""

    def ask(self, request: Request) -> None:
        """Hand a request over.

        Raises:
            NotSentError: nobody takes it.
        """

    def stop(self, request_id: str) -> str:
        """End a request, or all with an empty id; returns the id under which it is heard (`NodeState.stopped`).

        Raises:
            NotSentError: nobody takes it.
        """

    def confirm(self, *, yes: bool) -> None:
        """Answer the question that is open (`Heard.question`).

        Raises:
            NotSentError: nobody asked, or whoever did does not listen any more.
        """

    def again(self) -> None:
        """Play the recording from its beginning."""
