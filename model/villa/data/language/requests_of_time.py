"""Requests about what happened: what fell, moved first, was pushed by the arm, was hidden, or came into view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from villa.data.language.drafts import Draft, found
from villa.data.language.motion_events import first_and_last, screen_of
from villa.data.language.naming import FrameWords, Thing
from villa.data.language.phrases import THINGS, Speaker

# What can be said to have happened; the last one also names what stood before.
HAPPENINGS = ("fell", "moved", "first", "last", "lifted", "arm", "hidden", "still", "behind")
_NEW_S = 0.3  # what is seen so long after the beginning for the first time came into view
_OF_NOTHING = ("fell", "moved", "lifted", "arm")  # what can be asked though it happened to nothing


def by_time(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """The only thing to which something happened."""
    name = speaker.pick(HAPPENINGS)
    if name == "behind":
        return _behind(frame, speaker)
    targets = _who(frame, name)
    if targets is None or not targets:
        return None
    if name == "still":
        return _still(frame, targets, speaker)
    if len(targets) != 1 or targets[0] not in frame.things:
        return None
    if speaker.chance(0.45):
        text = speaker.pick(speaker.wording.what_happened[name])
    else:
        text = speaker.one(speaker.pick(speaker.wording.happened[name]).format(n=_word(targets[0], speaker)))
    return Draft("time", text, targets, found(frame, targets))


def nothing_happened(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """A request for something to which happened what happened to nothing."""
    name = speaker.pick(_OF_NOTHING)
    if _who(frame, name) != []:
        return None
    noun = speaker.pick(THINGS)
    said = speaker.pick(speaker.wording.happened[name]).format(n=noun)
    text = speaker.pick(speaker.wording.what_happened[name]) if speaker.chance(0.45) else speaker.one(said)
    return Draft("absent", text, (), f"There is no {noun} that {_PAST[name]}.")


def came_into_view(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """The only thing that was not there when the clip began and is now."""
    facts, late = frame.facts, frame.since + max(1, round(_NEW_S * frame.facts.fps))
    if frame.index <= late or frame.blocking or "appeared" not in speaker.wording.happened:
        return None
    new, doubtful = [], []
    for thing in frame.things:
        row = next(at for at, one in enumerate(facts.objects) if one.id == thing.id)
        seen = [facts.frames[at][row].visible_px > 0 for at in range(frame.since, late + 1)]
        amodal = [facts.frames[at][row].amodal_px > 0 for at in range(frame.since, late + 1)]
        if not any(amodal):
            new.append(thing)
        elif not seen[0]:
            doubtful.append(thing)  # hidden, or at the edge
    if len(new) != 1 or doubtful:
        return None
    if speaker.chance(0.45):
        text = speaker.pick(speaker.wording.what_happened["appeared"])
    else:
        noun = _word(new[0], speaker)
        text = speaker.one(speaker.pick(speaker.wording.happened["appeared"]).format(n=noun))
    return Draft("time", text, new, found(frame, new))


_PAST = {"fell": "fell", "moved": "moved", "lifted": "was lifted", "arm": "was pushed by the arm"}


def _word(thing: Thing, speaker: Speaker) -> str:
    """Any thing, or its noun: what happened singles it out either way."""
    return thing.facts.names[0] if speaker.chance(0.3) else speaker.pick((*THINGS, "one"))


def _who(frame: FrameWords, name: str) -> list[Thing] | None:
    """All things to which it happened, seen or not; None where that is not plain."""
    seen = frame.happened
    if name == "hidden":
        # Whoever is hidden right now may come back or not.
        return None if seen.unsure & _ids(frame.blocking) else _of(frame, seen.hidden)
    if seen.unsure:
        return None
    if name == "arm" and seen.passed_on:
        return None
    if name in ("first", "last"):
        ends = first_and_last(frame.facts, seen)
        who = None if ends is None else ends[name == "last"]
        return None if who is None else _of(frame, (who,))
    ids = {
        "fell": seen.fell,
        "moved": seen.moved,
        "lifted": seen.lifted,
        "arm": seen.by_arm,
        "still": seen.still,
    }[name]
    return _of(frame, ids)


def _of(frame: FrameWords, ids: Iterable[int]) -> list[Thing]:
    wanted = set(ids)
    return [thing for thing in frame.all if thing.id in wanted]


def _ids(things: Sequence[Thing]) -> set[int]:
    return {thing.id for thing in things}


def _still(frame: FrameWords, rested: Sequence[Thing], speaker: Speaker) -> Draft | None:
    """Of several alike, the one that did not move."""
    kinds = [thing.facts.kind for thing in frame.things]
    alike = [thing for thing in rested if kinds.count(thing.facts.kind) > 1 and thing in frame.things]
    if not alike:
        return None
    thing = alike[int(speaker.rng.integers(len(alike)))]
    noun = thing.facts.names[0]
    candidates, clear = frame.said(noun)
    targets = [item for item in candidates if item in rested]
    if not clear or len(targets) != 1:
        return None
    text = speaker.one(speaker.pick(speaker.wording.happened["still"]).format(n=noun))
    return Draft("time", text, targets, found(frame, targets))


def _behind(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """The only one that something it can be told apart by stood before."""
    seen = frame.happened
    screens = {hidden: screen_of(frame.facts, hidden, at) for hidden, at in seen.hidden.items()}
    screens = {hidden: screen for hidden, screen in screens.items() if screen is not None}
    if not screens or len(seen.hidden) != len(screens) or seen.unsure & _ids(frame.blocking):
        return None
    hidden = int(speaker.rng.choice(sorted(screens)))
    if list(screens.values()).count(screens[hidden]) != 1:
        return None
    before = next((thing for thing in frame.things if thing.id == screens[hidden]), None)
    targets = [thing for thing in frame.things if thing.id == hidden]
    if before is None or not targets:
        return None
    noun = before.facts.names[0]
    named, clear = frame.said(noun)
    if not clear or len(named) != 1:
        return None
    if speaker.chance(0.45):
        text = speaker.pick(speaker.wording.what_happened["behind"]).format(a=noun)
    else:
        words = speaker.pick(speaker.wording.happened["behind"]).format(n=speaker.pick((*THINGS, "one")), a=noun)
        text = speaker.one(words)
    return Draft("time", text, targets, found(frame, targets))
