"""What a request is before it is said: words, what they mean, the answer, and what they would mean on another frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from villa.data.language.naming import FrameWords, Thing
from villa.data.language.phrases import THINGS, Speaker, joined, number, plural, sentence

Again = Callable[[FrameWords], "Sequence[Thing] | None"]


@dataclass(frozen=True)
class Earlier:
    """A request before another one, about one thing."""

    request: str
    answer: str
    target: int  # mask id


@dataclass(frozen=True)
class Draft:
    """One request about a frame; `history` is what was asked before it."""

    kind: str
    text: str
    targets: Sequence[Thing]
    answer: str
    history: tuple[Earlier, ...] = ()
    # Who is meant on another frame, None where nobody could tell; without it: the same things whenever it is asked.
    again: Again | None = None
    # What the words speak of besides: the other ends of a relation, and those among which one was chosen.
    anchors: Sequence[Thing] = ()
    candidates: Sequence[Thing] = ()

    def holds_on(self, frame: FrameWords) -> bool:
        """Does the request mean the same things on another frame?"""
        if self.again is None:
            return True
        targets = self.again(frame)
        return targets is not None and {thing.id for thing in targets} == {thing.id for thing in self.targets}


Maker = Callable[[FrameWords, Speaker], "Draft | None"]


def listing(names: Sequence[str]) -> str:
    """Names -> "the red mug [SEG] and the blue mug [SEG]"."""
    return joined([f"the {name} [SEG]" for name in names])


def found(frame: FrameWords, things: Sequence[Thing]) -> str:
    """The answer that names things, from left to right."""
    return sentence(listing(frame.names(things)))


def counted(frame: FrameWords, things: Sequence[Thing], noun: str) -> str:
    """The answer to a request for one of several."""
    return f"There are {number(len(things))} {plural(noun)}: {listing(frame.names(things))}."


def any_thing(frame: FrameWords, speaker: Speaker) -> Thing | None:
    """Something that can be meant."""
    return frame.things[int(speaker.rng.integers(len(frame.things)))] if frame.things else None


def noun_of(thing: Thing, speaker: Speaker) -> str:
    """What somebody may call it."""
    names = thing.facts.names
    return names[0] if speaker.chance(0.55) else speaker.pick(names)


def noun_or_thing(thing: Thing, speaker: Speaker, share: float) -> str:
    """A noun for it, this often; else "thing", "object" or "item"."""
    return noun_of(thing, speaker) if speaker.chance(share) else speaker.pick(THINGS)


def coloured(colour: str, noun: str, speaker: Speaker) -> str:
    """Words for something of a colour."""
    if speaker.chance(0.86):
        return f"{colour} {noun}"
    return speaker.pick(speaker.wording.coloured).format(c=colour, n=noun)


def reference(frame: FrameWords, speaker: Speaker) -> tuple[Thing, str] | None:
    """An object and words that mean it alone, for the other end of a relation."""
    thing = any_thing(frame, speaker)
    if thing is None:
        return None
    noun = noun_of(thing, speaker)
    targets, clear = frame.said(noun)
    if clear and len(targets) == 1 and speaker.chance(0.6):
        return thing, noun
    if thing.colour is None or noun == thing.colour:
        return None
    targets, clear = frame.said_coloured(thing.facts.colour, noun)
    return (thing, f"{thing.facts.colour} {noun}") if clear and len(targets) == 1 else None
