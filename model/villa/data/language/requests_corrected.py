"""Orders that are broken off, corrected or finished afterwards ("mug. the small one")."""

from __future__ import annotations

from collections.abc import Sequence

from villa.data.language.drafts import Again, Draft, any_thing, found, noun_of, reference
from villa.data.language.naming import FrameWords, Thing
from villa.data.language.phrases import Speaker
from villa.data.language.requests_in_view import again_related, most_by, related
from villa.data.language.spatial_relations import RELATIONS

_ENDS = ("biggest", "smallest", "leftmost", "rightmost")


def broken_off(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """One of several of a kind, told by what is said behind its noun."""
    thing = any_thing(frame, speaker)
    if thing is None or not speaker.wording.broken:
        return None
    noun = noun_of(thing, speaker)
    candidates, clear = frame.said(noun)
    if not clear:
        return None
    form = speaker.pick(tuple(speaker.wording.broken))
    sentences = speaker.wording.broken[form]
    if form == "colour":
        if thing.colour is None or noun == thing.colour:
            return None
        targets, clear = frame.said_coloured(thing.facts.colour, noun)
        text = speaker.pick(sentences).format(n=noun, c=thing.facts.colour)
        return _one(frame, text, targets, candidates) if clear else None
    if form in _ENDS:
        best = most_by(form, candidates)
        if best is None:
            return None
        return _one(frame, speaker.pick(sentences).format(n=noun), [best], candidates)
    anchored = reference(frame, speaker)
    if anchored is None or anchored[0].id == thing.id:
        return None
    relation = speaker.pick(tuple(RELATIONS))
    found_there = related(candidates, anchored[0], relation)
    if found_there is None:
        return None
    words = speaker.pick(speaker.wording.relations[relation])
    text = speaker.pick(sentences).format(n=noun, r=words, a=anchored[1])
    again = again_related(noun, anchored[0].id, relation)
    return _one(frame, text, found_there, candidates, again, [anchored[0]])


def _one(
    frame: FrameWords,
    text: str,
    targets: list[Thing],
    candidates: list[Thing],
    again: Again | None = None,
    anchors: Sequence[Thing] = (),
) -> Draft | None:
    if len(targets) != 1:
        return None
    answer = found(frame, targets)
    return Draft("corrected", text, targets, answer, again=again, anchors=anchors, candidates=candidates)
