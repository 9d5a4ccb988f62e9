"""Requests for what is in view: by name, colour, material, size, place, use, for several, and after another request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from villa.data.clips import View
from villa.data.language.drafts import (
    Again,
    Draft,
    Earlier,
    any_thing,
    coloured,
    counted,
    found,
    noun_of,
    noun_or_thing,
    reference,
)
from villa.data.language.naming import FrameWords, Thing
from villa.data.language.phrases import THINGS, Speaker, number, plural
from villa.data.language.spatial_relations import RELATIONS, Holds, between, distance_m
from villa.data.language.vocabulary import MATERIALS

_PEOPLE = 0.25  # of the requests by name where there is a hand or somebody


def by_name(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """The only thing that a noun means."""
    people = frame.people
    if people and speaker.chance(_PEOPLE):
        thing: Thing | None = people[int(speaker.rng.integers(len(people)))]
    else:
        thing = any_thing(frame, speaker)
    if thing is None:
        return None
    noun = noun_of(thing, speaker)
    targets, clear = frame.said(noun)
    if not clear or len(targets) != 1:
        return None
    return Draft("name", speaker.one(noun), targets, found(frame, targets))


def by_colour(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """The only thing of a colour and a noun."""
    things = [thing for thing in frame.things if thing.colour is not None]
    # Where a twin in another colour is on the table, only the colour tells: the case worth most.
    kinds = [thing.facts.kind for thing in frame.things]
    twins = [thing for thing in things if kinds.count(thing.facts.kind) > 1]
    things = twins if twins and speaker.chance(0.65) else things
    if not things:
        return None
    thing = things[int(speaker.rng.integers(len(things)))]
    noun = noun_or_thing(thing, speaker, 0.88)
    if noun == thing.colour:
        return None
    targets, clear = frame.said_coloured(thing.facts.colour, noun)
    if not clear or len(targets) != 1:
        return None
    return Draft("colour", speaker.one(coloured(thing.facts.colour, noun, speaker)), targets, found(frame, targets))


def by_material(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """What is made of something, where that is a matter of its kind."""
    material = speaker.pick(tuple(MATERIALS))
    targets, clear = frame.made_of(material)
    if not clear or not targets:
        return None
    template, noun = speaker.pick(speaker.wording.made_of), speaker.pick(THINGS)
    if len(targets) > 1:
        text = speaker.these(f"all the {template.format(m=material, n=plural(noun))}")
    else:
        text = speaker.one(template.format(m=material, n=noun))
    return Draft("material", text, targets, found(frame, targets))


# -- places ----------------------------------------------------------------------------------------------------------


def related(candidates: Sequence[Thing], anchor: Thing, relation: str) -> list[Thing] | None:
    """The candidates for which a relation to the anchor holds; None when one is too close to call."""
    holds = RELATIONS[relation]
    yes = []
    for thing in candidates:
        if thing.id == anchor.id:
            continue
        answer = holds(thing.view, anchor.view)
        if answer is Holds.UNCLEAR:
            return None
        if answer is Holds.YES:
            yes.append(thing)
    return yes


def again_related(noun: str, anchor_id: int, relation: str) -> Again:
    """Who is meant by "noun, relation, anchor" on another frame."""

    def again(frame: FrameWords) -> list[Thing] | None:
        candidates, clear = frame.said(noun)
        anchor = next((thing for thing in frame.things if thing.id == anchor_id), None)
        return related(candidates, anchor, relation) if clear and anchor is not None else None

    return again


def by_relation(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """The only thing that stands so to another one."""
    anchored = reference(frame, speaker)
    if anchored is None:
        return None
    anchor, anchor_words = anchored
    form = speaker.rng.random()
    if form < 0.17:
        return _nearest(frame, anchor, anchor_words, speaker)
    if form < 0.29:
        return _between(frame, anchored, speaker)
    relation = speaker.pick(tuple(RELATIONS))
    other = any_thing(frame, speaker)
    if other is None or other.id == anchor.id:
        return None
    noun = noun_or_thing(other, speaker, 0.75)
    candidates, clear = frame.said(noun)
    if not clear:
        return None
    if len(candidates) == 1 and speaker.chance(0.6):  # the noun alone would do: seldom worth asking
        return None
    targets = related(candidates, anchor, relation)
    if targets is None or len(targets) != 1:
        return None
    words = f"{noun} {speaker.pick(speaker.wording.relations[relation])} the {anchor_words}"
    return Draft(
        "relation",
        speaker.one(words),
        targets,
        found(frame, targets),
        again=again_related(noun, anchor.id, relation),
        anchors=[anchor],
        candidates=candidates,
    )


def _nearest(frame: FrameWords, anchor: Thing, words: str, speaker: Speaker) -> Draft | None:
    targets = _nearest_to(frame, anchor.id)
    if not targets:
        return None
    text = speaker.one(f"{speaker.pick(THINGS)} {speaker.pick(speaker.wording.nearest)} the {words}")
    again = partial(_nearest_to, anchor_id=anchor.id)
    return Draft("relation", text, targets, found(frame, targets), again=again, anchors=[anchor])


def _nearest_to(frame: FrameWords, anchor_id: int) -> list[Thing] | None:
    anchor = next((thing for thing in frame.things if thing.id == anchor_id), None)
    if anchor is None:
        return None
    others = sorted((distance_m(thing.view, anchor.view), thing.id) for thing in frame.all if thing.id != anchor.id)
    if len(others) < 2 or others[1][0] < 1.35 * others[0][0] or others[1][0] < others[0][0] + 0.03:
        return None
    return [thing for thing in frame.things if thing.id == others[0][1]] or None


def _between(frame: FrameWords, first: tuple[Thing, str], speaker: Speaker) -> Draft | None:
    second = reference(frame, speaker)
    if second is None or second[0].id == first[0].id:
        return None
    ids = (first[0].id, second[0].id)
    targets = _stand_between(frame, ids)
    if targets is None or len(targets) != 1:
        return None
    words = f"{speaker.pick(THINGS)} {speaker.pick(speaker.wording.between).format(a=first[1], b=second[1])}"
    again = partial(_stand_between, ends=ids)
    ends = [first[0], second[0]]
    return Draft("relation", speaker.one(words), targets, found(frame, targets), again=again, anchors=ends)


def _stand_between(frame: FrameWords, ends: tuple[int, int]) -> list[Thing] | None:
    seen = {thing.id: thing for thing in frame.things}
    if any(end not in seen for end in ends):
        return None
    a, b = (seen[end].view for end in ends)
    answers = [(thing, between(thing.view, a, b)) for thing in frame.all if thing.id not in ends]
    if any(answer is Holds.UNCLEAR for _, answer in answers):
        return None
    targets = [thing for thing, answer in answers if answer is Holds.YES]
    return targets if all(thing.id in seen for thing in targets) else None


# -- extremes --------------------------------------------------------------------------------------------------------

# Measure (largest wins), smallest ratio and smallest difference to the next.
_PLACES: dict[str, tuple[Callable[[View], float], float, float]] = {
    "leftmost": (lambda v: -v.centroid[0], 0.0, 20.0),
    "rightmost": (lambda v: v.centroid[0], 0.0, 20.0),
    "closest": (lambda v: -v.depth_m, 0.0, 0.06),
    "farthest": (lambda v: v.depth_m, 0.0, 0.06),
}
_SIZES: dict[str, tuple[Callable[[View], float], float, float]] = {
    "biggest": (lambda v: float(v.amodal_px), 1.6, 0.0),
    "smallest": (lambda v: 1.0 / max(v.amodal_px, 1), 1.6, 0.0),
}


def superlative(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """The one at an end of a row."""
    return _extreme("superlative", _PLACES, frame, speaker)


def by_size(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """The one that looks larger or smaller than all others."""
    return _extreme("size", _SIZES, frame, speaker)


def _extreme(
    kind: str,
    measures: dict[str, tuple[Callable[[View], float], float, float]],
    frame: FrameWords,
    speaker: Speaker,
) -> Draft | None:
    thing = any_thing(frame, speaker)
    if thing is None:
        return None
    noun = noun_or_thing(thing, speaker, 0.6)
    name = speaker.pick(tuple(measures))

    def most(other: FrameWords) -> list[Thing] | None:
        candidates, clear = other.said(noun)
        best = most_by(name, candidates) if clear else None
        return None if best is None else [best]

    targets = most(frame)
    if targets is None:
        return None
    words = speaker.pick(speaker.wording.extremes[name]).format(n=noun)
    candidates, _ = frame.said(noun)
    return Draft(kind, speaker.one(words), targets, found(frame, targets), again=most, candidates=candidates)


def most_by(name: str, candidates: Sequence[Thing]) -> Thing | None:
    """Of some things the one at an end of a row or of sizes ("leftmost", "biggest"); None where that is not plain."""
    if len(candidates) < 2:
        return None
    measure, ratio, difference = (_PLACES | _SIZES)[name]
    if name in _SIZES and any(item.view.occluded > 0.25 for item in candidates):
        return None
    ranked = sorted(candidates, key=lambda item: -measure(item.view))
    best, second = measure(ranked[0].view), measure(ranked[1].view)
    if best - second < difference or (ratio and best < ratio * second):
        return None
    return ranked[0]


# -- uses, several, none but ------------------------------------------------------------------------------------------


def by_use(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """What serves for something."""
    uses = sorted({use for thing in frame.things for use in thing.facts.uses})
    if not uses:
        return None
    use = speaker.pick(uses)
    targets, clear = frame.serves(use)
    if not clear or not targets:
        return None
    return Draft("use", speaker.use(use), targets, found(frame, targets))


def several(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """All of a kind or colour, or two things by name."""
    if speaker.chance(0.3):
        return _listed(frame, speaker)
    thing = any_thing(frame, speaker)
    if thing is None:
        return None
    if speaker.chance(0.4):
        if thing.colour is None:
            return None
        noun = speaker.pick(THINGS)
        targets, clear = frame.said_coloured(thing.facts.colour, noun)
        words, single = f"{thing.facts.colour} {plural(noun)}", f"{thing.facts.colour} {noun}"
    else:
        noun = noun_of(thing, speaker)
        targets, clear = frame.said(noun)
        words, single = plural(noun), noun
        if len(targets) < 2 and speaker.chance(0.7):
            return None
    if not clear or not targets:
        return None
    forms = list(speaker.wording.every)
    if len(targets) > 1:
        forms += speaker.wording.some_of
    if len(targets) == 2:
        forms += speaker.wording.both
    phrase = speaker.pick(forms).format(ns=words, n=single, number=number(len(targets)))
    return Draft("several", speaker.these(phrase), targets, found(frame, targets))


def _listed(frame: FrameWords, speaker: Speaker) -> Draft | None:
    first, second = reference(frame, speaker), reference(frame, speaker)
    if first is None or second is None or first[0].id == second[0].id:
        return None
    chosen = {first[0].id, second[0].id}
    targets = [thing for thing in frame.things if thing.id in chosen]
    joint = speaker.pick(("and", "and", "and", "as well as"))
    text = speaker.these(f"the {first[1]} {joint} the {second[1]}")
    return Draft("several", text, targets, found(frame, targets))


def ambiguous(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """One thing is asked for and several fit."""
    thing = any_thing(frame, speaker)
    if thing is None:
        return None
    noun = noun_of(thing, speaker)
    words = noun
    targets, clear = frame.said(noun)
    if len(targets) > 1 and thing.colour is not None and noun != thing.colour and speaker.chance(0.3):
        words = f"{thing.facts.colour} {noun}"
        targets, clear = frame.said_coloured(thing.facts.colour, noun)
    if not clear or len(targets) < 2:
        return None
    return Draft("ambiguous", speaker.one(words), targets, counted(frame, targets, words))


def negation(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """The one of a kind that has not a colour."""
    thing = any_thing(frame, speaker)
    if thing is None or thing.colour is None:
        return None
    noun = noun_of(thing, speaker)
    candidates, clear = frame.said(noun)
    _, colour_clear = frame.said_coloured(thing.facts.colour, noun)
    if not clear or not colour_clear or any(item.colour is None for item in candidates):
        return None
    rest = [item for item in candidates if item.colour != thing.colour]
    if len(rest) != 1:
        return None
    words = speaker.pick(speaker.wording.not_coloured).format(n=noun, c=thing.facts.colour)
    return Draft("negation", speaker.one(words), rest, found(frame, rest), candidates=candidates)


# -- after another request --------------------------------------------------------------------------------------------


def follow_up(frame: FrameWords, speaker: Speaker) -> Draft | None:
    """A request that only makes sense after another one: "now the one behind it", "the other one"."""
    before = reference(frame, speaker)
    if before is None:
        return None
    thing, words = before
    form = speaker.pick(("relation", "relation", "other", "colour", "thing"))
    further = speaker.pick(speaker.wording.further[form])
    again: Again | None = None
    if form == "relation":
        relation = speaker.pick(tuple(RELATIONS))
        targets = related(frame.all, thing, relation)
        if targets is None or any(item not in frame.things for item in targets):
            return None
        text = further.format(r=speaker.pick(speaker.wording.relations[relation]))
        again = again_related(THINGS[0], thing.id, relation)
    elif form == "thing":
        other = reference(frame, speaker)
        targets = [] if other is None or other[0].id == thing.id else [other[0]]
        text = "" if other is None else further.format(np=other[1])
    else:
        noun = thing.facts.names[0]
        alike, clear = frame.said(noun)
        targets = [item for item in alike if item.id != thing.id]
        if not clear or len(targets) != 1 or thing.id not in {item.id for item in alike}:
            return None
        colour = targets[0].colour
        # "The blue one" must not fit the thing just meant.
        if form == "colour" and (colour is None or colour == thing.colour or thing.may_show(colour)):
            return None
        text = further.format(n=noun, c=colour)
    if len(targets) != 1:
        return None
    history = (Earlier(speaker.one(words), found(frame, [thing]), thing.id),)
    return Draft("follow-up", text, targets, found(frame, targets), history, again, anchors=[thing])
