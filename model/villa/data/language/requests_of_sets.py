"""Requests for what a word for many kinds means, and for everything but some things."""

from __future__ import annotations

from villa.data.language.drafts import Draft, any_thing, found, noun_of
from villa.data.language.groups import Group, groups
from villa.data.language.naming import FrameWords, Thing
from villa.data.language.phrases import Speaker, plural

_ABSENT = 0.3  # of the requests for a group: nothing is in it


def by_group(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """All that is in a group, or one of which nothing is there."""
    seen = [(group, *_of(frame, group)) for group in groups().values()]
    absent = speaker.chance(_ABSENT)
    pool = [one for one in seen if bool(one[1]) != absent]
    if not pool or not speaker.wording.groups:
        return None
    group, targets, clear = pool[int(speaker.rng.integers(len(pool)))]
    if not clear:
        return None
    phrase = speaker.pick(speaker.wording.groups).format(g=speaker.pick(group.said))
    text = speaker.these(phrase)
    if not targets:
        return Draft("absent", text, (), f"There is no {group.one}.")
    return Draft("group", text, targets, found(frame, targets))


def all_but(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """Everything in view but what a noun means."""
    thing = any_thing(frame, speaker)
    if thing is None or frame.blocking or not speaker.wording.all_but:
        return None
    noun = noun_of(thing, speaker)
    left_out, clear = frame.said(noun)
    ids = {one.id for one in left_out}
    rest = [one for one in frame.things if one.id not in ids]
    if not clear or not rest:
        return None
    if len(left_out) == 1:
        phrase = speaker.pick(speaker.wording.all_but_one).format(n=noun)
    else:
        phrase = speaker.pick(speaker.wording.all_but).format(ns=plural(noun))
    return Draft("exclusion", speaker.these(phrase), rest, found(frame, rest), anchors=left_out)


def _of(frame: FrameWords, group: Group) -> tuple[list[Thing], bool]:
    """The things of a group, and whether nothing else could be meant."""
    targets = [thing for thing in frame.all if thing.facts.kind in group.kinds]
    doubtful = any(thing.facts.kind in group.maybe for thing in frame.all)
    visible = [thing for thing in frame.things if thing in targets]
    return visible, not doubtful and len(visible) == len(targets)
