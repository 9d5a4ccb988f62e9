"""What was asked and answered before, for follow-up requests."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container
from dataclasses import dataclass, replace

from villa.interface import Turn


@dataclass(frozen=True)
class _Told:
    camera: str
    turn: Turn


class Conversations:
    """The last turns of the last conversations, both bounded."""

    def __init__(self, conversations: int, turns: int) -> None:
        self._limit = conversations
        self._turns = turns
        self._known: OrderedDict[str, deque[_Told]] = OrderedDict()

    def history(self, conversation_id: str | None, camera: str, live: Container[int]) -> tuple[Turn, ...]:
        """Earlier turns, oldest first (None: none); keys stay only where they name a live track of this camera."""
        told = () if conversation_id is None else self._known.get(conversation_id, ())
        return tuple(_live(entry.turn, live if entry.camera == camera else ()) for entry in told)

    def add(self, conversation_id: str, camera: str, turn: Turn, follow_up: bool) -> None:
        """Remember a turn; one that follows up on nothing begins its conversation anew."""
        told = self._known.pop(conversation_id, None)
        if told is None or not follow_up:
            told = deque(maxlen=self._turns)
        told.append(_Told(camera, turn))
        self._known[conversation_id] = told
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget_keys(self, camera: str) -> None:
        """The camera's session is gone, and with it what its keys meant."""
        for told in self._known.values():
            for index, entry in enumerate(told):
                if entry.camera == camera:
                    told[index] = replace(entry, turn=_live(entry.turn, ()))

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


def _live(turn: Turn, live: Container[int]) -> Turn:
    """The turn with the keys of live tracks only, each with its place in the answer."""
    places = turn.offsets if len(turn.offsets) == len(turn.keys) else (len(turn.answer),) * len(turn.keys)
    kept = [(key, place) for key, place in zip(turn.keys, places, strict=True) if key in live]
    return replace(turn, keys=tuple(key for key, _ in kept), offsets=tuple(place for _, place in kept))
