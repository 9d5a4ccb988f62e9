"""Requests for what is not there: another kind, another colour, a use nothing serves, a place nothing stands at."""

from __future__ import annotations

from villa.data.language.affordances import USES
from villa.data.language.drafts import Draft, any_thing, coloured, noun_of, reference
from villa.data.language.naming import FrameWords
from villa.data.language.phrases import THINGS, Speaker, plural
from villa.data.language.requests_in_view import again_related, related
from villa.data.language.requests_of_time import nothing_happened
from villa.data.language.spatial_relations import RELATIONS
from villa.data.language.vocabulary import COLOURS, kind_of


def absent(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """A request that nothing in view fits."""
    if frame.facts.labelled:
        return _kind(frame, speaker)
    form = speaker.rng.random()
    if form < 0.32:
        return _colour(frame, speaker)
    if form < 0.62:
        return _kind(frame, speaker)
    if form < 0.73:
        return _use(frame, speaker)
    if form < 0.84:
        return _relation(frame, speaker)
    if form < 0.92:
        return nothing_happened(frame, speaker)
    colour, noun = speaker.pick(COLOURS), speaker.pick(THINGS)
    if any(thing.colour == colour or thing.may_show(colour) for thing in frame.all):
        return None
    text = speaker.one(f"{colour} {noun}") if speaker.chance(0.5) else _plural(f"{colour} {plural(noun)}", speaker)
    return _none(text, f"{colour} {noun}")


def _none(text: str, words: str) -> Draft:
    return Draft("absent", text, (), f"There is no {words}.")


def _plural(words: str, speaker: Speaker) -> str:
    return speaker.these(f"{speaker.pick(('all', 'all the', 'the'))} {words}")


def _kind(frame: FrameWords, speaker: Speaker) -> Draft | None:
    kind = kind_of(speaker.pick(speaker.known))
    noun = kind.nouns[0] if speaker.chance(0.6) else speaker.pick(kind.nouns)
    targets, clear = frame.said(noun)
    if targets or not clear:
        return None
    if speaker.chance(0.15):
        return _none(_plural(plural(noun), speaker), noun)
    words = noun
    if speaker.chance(0.35):
        colour = speaker.pick([thing.facts.colour for thing in frame.things if thing.facts.colour] or COLOURS)
        words = noun if colour == noun else f"{colour} {noun}"
    return _none(speaker.one(words), words)


def _colour(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """A kind that is there, in a colour that it does not have here."""
    thing = any_thing(frame, speaker)
    if thing is None:
        return None
    noun = noun_of(thing, speaker)
    here = sorted({t.facts.colour for t in frame.things if t.colour is not None})
    colour = speaker.pick(here if speaker.chance(0.5) and here else COLOURS)
    targets, clear = frame.said_coloured(colour, noun)
    if targets or not clear or colour == noun:
        return None
    return _none(speaker.one(coloured(colour, noun, speaker)), f"{colour} {noun}")


def _use(frame: FrameWords, speaker: Speaker) -> Draft | None:
    use = speaker.pick(tuple(USES))
    targets, clear = frame.serves(use)
    if targets or not clear:
        return None
    return Draft("absent", speaker.use(use), (), f"There is {USES[use].nothing}.")


def _relation(frame: FrameWords, speaker: Speaker) -> Draft | None:
    anchored, other = reference(frame, speaker), any_thing(frame, speaker)
    if anchored is None or other is None:
        return None
    anchor, anchor_words = anchored
    noun = noun_of(other, speaker)
    candidates, clear = frame.said(noun)
    relation = speaker.pick([name for name in RELATIONS if name != "next to"])
    if not clear or not [thing for thing in candidates if thing.id != anchor.id]:
        return None
    if related(candidates, anchor, relation) != []:
        return None
    said = f"{noun} {speaker.pick(speaker.wording.relations[relation])} the {anchor_words}"
    answer = f"There is no {noun} {relation} the {anchor_words}."
    return Draft("absent", speaker.one(said), (), answer, again=again_related(noun, anchor.id, relation))
