"""Orders that are broken off, corrected or finished afterwards ("mug. the small one"), and what came into view."""

from __future__ import annotations

from villa.data.language.drafts import Draft, any_thing, found, noun_of, reference
from villa.data.language.naming import FrameWords, Thing
from villa.data.language.phrases import THINGS, Speaker
from villa.data.language.requests_in_view import again_related, most_by, related
from villa.data.language.spatial_relations import RELATIONS

_ENDS = ("biggest", "smallest", "leftmost", "rightmost")
_NEW_S = 0.3  # what is seen so long after the beginning for the first time came into view


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
    draft = _one(frame, text, found_there, candidates)
    if draft is None:
        return None
    again = again_related(noun, anchored[0].id, relation)
    return Draft(
        draft.kind, text, draft.targets, draft.answer, again=again, anchors=[anchored[0]], candidates=candidates
    )


def _one(frame: FrameWords, text: str, targets: list[Thing], candidates: list[Thing]) -> Draft | None:
    if len(targets) != 1:
        return None
    return Draft("corrected", text, targets, found(frame, targets), candidates=candidates)


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
        noun = new[0].facts.names[0] if speaker.chance(0.3) else speaker.pick((*THINGS, "one"))
        text = speaker.one(speaker.pick(speaker.wording.happened["appeared"]).format(n=noun))
    return Draft("time", text, new, found(frame, new))
