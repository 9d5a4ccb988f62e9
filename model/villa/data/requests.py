"""Requests made from the facts of a frame, each with the objects it means and a short, regular answer.

A request is only asked when no careful viewer could answer it otherwise: whatever is barely visible, hidden for the
moment, between two names or between left and right is neither meant nor denied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from villa.data.clips import ClipFacts, View
from villa.data.naming import FrameWords, Thing
from villa.data.phrases import (
    NUMBERS,
    THINGS,
    USES,
    as_spoken,
    ask_for_one,
    ask_for_some,
    ask_for_these,
    joined,
    plural,
    sentence,
)
from villa.data.relations import RELATIONS, Holds, distance_m
from villa.data.vocabulary import COLOURS, KIND, KINDS

__all__ = ["COLOURS", "KINDS", "REQUEST_KINDS", "RequestSample", "sample_requests"]

MOST_TARGETS = 5


@dataclass(frozen=True)
class RequestSample:
    """One request about one frame.

    `targets` are mask ids from left to right; `answer` names them in that order, each before its `[SEG]`.
    `text` is as it would be typed or recognised, `plain` the same before slips and changes of case.
    """

    kind: str
    text: str
    targets: tuple[int, ...]
    answer: str
    plain: str = ""


def _listing(names: Sequence[str]) -> str:
    return joined([f"the {name} [SEG]" for name in names])


def _found(frame: FrameWords, things: Sequence[Thing]) -> str:
    return sentence(_listing(frame.names(things)))


def _counted(frame: FrameWords, things: Sequence[Thing], noun: str) -> str:
    return f"There are {NUMBERS[len(things)]} {plural(noun)}: {_listing(frame.names(things))}."


_Draft = tuple[str, str, list[Thing], str]  # kind, text, targets, answer
_Maker = Callable[[FrameWords, np.random.Generator], "_Draft | None"]


def _any(frame: FrameWords, rng: np.random.Generator) -> Thing | None:
    return frame.things[int(rng.integers(len(frame.things)))] if frame.things else None


def _noun(thing: Thing, rng: np.random.Generator) -> str:
    names = thing.facts.names
    return names[0] if rng.random() < 0.55 else names[int(rng.integers(len(names)))]


def _coloured(colour: str, noun: str, rng: np.random.Generator) -> str:
    form = rng.random()
    if form < 0.86:
        return f"{colour} {noun}"
    return f"{noun} that is {colour}" if form < 0.95 else f"{colour} coloured {noun}"


def _by_name(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    thing = _any(frame, rng)
    if thing is None:
        return None
    noun = _noun(thing, rng)
    meant, clear = frame.said(noun)
    if not clear or len(meant) != 1:
        return None
    return "name", ask_for_one(noun, rng), meant, _found(frame, meant)


def _by_colour(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    things = [thing for thing in frame.things if thing.colour is not None]
    # Where a twin in another colour is on the table, only the colour tells: the case worth most.
    kinds = [thing.facts.kind for thing in frame.things]
    twins = [thing for thing in things if kinds.count(thing.facts.kind) > 1]
    things = twins if twins and rng.random() < 0.65 else things
    if not things:
        return None
    thing = things[int(rng.integers(len(things)))]
    noun = _noun(thing, rng) if rng.random() < 0.88 else str(rng.choice(THINGS))
    if noun == thing.colour:
        return None
    meant, clear = frame.said_coloured(thing.facts.colour, noun)
    if not clear or len(meant) != 1:
        return None
    return "colour", ask_for_one(_coloured(thing.facts.colour, noun, rng), rng), meant, _found(frame, meant)


def _reference(frame: FrameWords, rng: np.random.Generator) -> tuple[Thing, str] | None:
    """An object and words that mean it alone, for the other end of a relation."""
    thing = _any(frame, rng)
    if thing is None:
        return None
    noun = _noun(thing, rng)
    meant, clear = frame.said(noun)
    if clear and len(meant) == 1 and rng.random() < 0.6:
        return thing, noun
    if thing.colour is None or noun == thing.colour:
        return None
    meant, clear = frame.said_coloured(thing.facts.colour, noun)
    return (thing, f"{thing.facts.colour} {noun}") if clear and len(meant) == 1 else None


def _related(frame: FrameWords, candidates: Sequence[Thing], anchor: Thing, relation: str) -> list[Thing] | None:
    """The candidates for which a relation to the anchor holds; None when one is too close to call."""
    holds = RELATIONS[relation][0]
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


def _by_relation(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    found = _reference(frame, rng)
    if found is None:
        return None
    anchor, anchor_words = found
    if rng.random() < 0.2:
        return _nearest(frame, anchor, anchor_words, rng)
    relation = str(rng.choice(list(RELATIONS)))
    other = _any(frame, rng)
    if other is None or other.id == anchor.id:
        return None
    noun = _noun(other, rng) if rng.random() < 0.75 else str(rng.choice(THINGS))
    candidates, clear = frame.said(noun)
    if not clear:
        return None
    if len(candidates) == 1 and rng.random() < 0.6:  # the noun alone would do: seldom worth asking
        return None
    related = _related(frame, candidates, anchor, relation)
    if related is None or len(related) != 1:
        return None
    wording = RELATIONS[relation][1]
    words = f"{noun} {wording[int(rng.integers(len(wording)))]} the {anchor_words}"
    return "relation", ask_for_one(words, rng), related, _found(frame, related)


def _nearest(frame: FrameWords, anchor: Thing, words: str, rng: np.random.Generator) -> _Draft | None:
    others = sorted((distance_m(thing.view, anchor.view), thing.id) for thing in frame.all if thing.id != anchor.id)
    if len(others) < 2 or others[1][0] < 1.35 * others[0][0] or others[1][0] < others[0][0] + 0.03:
        return None
    nearest = [thing for thing in frame.things if thing.id == others[0][1]]
    if not nearest:
        return None
    wording = ("nearest to", "closest to", "nearest")[int(rng.integers(3))]
    text = ask_for_one(f"{rng.choice(THINGS)} {wording} the {words}", rng)
    return "relation", text, nearest, _found(frame, nearest)


def _by_use(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    uses = sorted({use for thing in frame.things for use in thing.facts.uses})
    if not uses:
        return None
    use = str(rng.choice(uses))
    meant, clear = frame.serves(use)
    if not clear or not meant:
        return None
    return "use", _ask_use(use, rng), meant, _found(frame, meant)


def _ask_use(use: str, rng: np.random.Generator) -> str:
    entry = USES[use]
    if rng.random() < 0.45:
        return str(rng.choice(entry.requests))
    return ask_for_some(str(rng.choice(entry.phrases)), rng)


def _several(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    if rng.random() < 0.3:
        return _listed(frame, rng)
    thing = _any(frame, rng)
    if thing is None:
        return None
    if rng.random() < 0.4:
        if thing.colour is None:
            return None
        noun = str(rng.choice(THINGS))
        meant, clear = frame.said_coloured(thing.facts.colour, noun)
        words, single = f"{thing.facts.colour} {plural(noun)}", f"{thing.facts.colour} {noun}"
    else:
        noun = _noun(thing, rng)
        meant, clear = frame.said(noun)
        words, single = plural(noun), noun
        if len(meant) < 2 and rng.random() < 0.7:
            return None
    if not clear or not meant:
        return None
    forms = [f"all the {words}", f"all {words}", f"every {single}", f"each {single}", f"all of the {words}"]
    if len(meant) > 1:
        forms += [f"the {words}", f"the {NUMBERS[len(meant)]} {words}"]
    if len(meant) == 2:
        forms += [f"both {words}", f"both of the {words}"]
    return "several", ask_for_these(str(rng.choice(forms)), rng), meant, _found(frame, meant)


def _listed(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    first, second = _reference(frame, rng), _reference(frame, rng)
    if first is None or second is None or first[0].id == second[0].id:
        return None
    chosen = {first[0].id, second[0].id}
    meant = [thing for thing in frame.things if thing.id in chosen]
    joint = str(rng.choice(["and", "and", "and", "as well as"]))
    text = ask_for_these(f"the {first[1]} {joint} the {second[1]}", rng)
    return "several", text, meant, _found(frame, meant)


def _ambiguous(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    thing = _any(frame, rng)
    if thing is None:
        return None
    noun = _noun(thing, rng)
    words = noun
    meant, clear = frame.said(noun)
    if len(meant) > 1 and thing.colour is not None and noun != thing.colour and rng.random() < 0.3:
        words = f"{thing.facts.colour} {noun}"
        meant, clear = frame.said_coloured(thing.facts.colour, noun)
    if not clear or len(meant) < 2:
        return None
    return "ambiguous", ask_for_one(words, rng), meant, _counted(frame, meant, words)


_EXTREMES: dict[str, tuple[Callable[[View], float], float, float, tuple[str, ...]]] = {
    # measure (largest wins), smallest ratio and smallest difference to the next, wordings
    "leftmost": (lambda v: -v.centroid[0], 0.0, 20.0, ("leftmost {n}", "{n} on the far left", "{n} furthest left")),
    "rightmost": (lambda v: v.centroid[0], 0.0, 20.0, ("rightmost {n}", "{n} on the far right", "{n} furthest right")),
    "closest": (lambda v: -v.depth_m, 0.0, 0.06, ("{n} closest to you", "nearest {n}", "{n} closest to the camera")),
    "farthest": (lambda v: v.depth_m, 0.0, 0.06, ("{n} farthest away", "most distant {n}", "{n} in the back")),
    "biggest": (lambda v: float(v.amodal_px), 1.6, 0.0, ("biggest {n}", "largest {n}")),
    "smallest": (lambda v: 1.0 / max(v.amodal_px, 1), 1.6, 0.0, ("smallest {n}", "tiniest {n}")),
}


def _superlative(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    thing = _any(frame, rng)
    if thing is None:
        return None
    noun = _noun(thing, rng) if rng.random() < 0.6 else str(rng.choice(THINGS))
    candidates, clear = frame.said(noun)
    if not clear or len(candidates) < 2:
        return None
    name = str(rng.choice(list(_EXTREMES)))
    measure, ratio, difference, wordings = _EXTREMES[name]
    if name in ("biggest", "smallest") and any(thing.view.occluded > 0.25 for thing in candidates):
        return None
    ranked = sorted(candidates, key=lambda item: -measure(item.view))
    best, second = measure(ranked[0].view), measure(ranked[1].view)
    if best - second < difference or (ratio and best < ratio * second):
        return None
    words = str(rng.choice(wordings)).format(n=noun)
    return "superlative", ask_for_one(words, rng), ranked[:1], _found(frame, ranked[:1])


def _negation(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    thing = _any(frame, rng)
    if thing is None or thing.colour is None:
        return None
    noun = _noun(thing, rng)
    candidates, clear = frame.said(noun)
    _, colour_clear = frame.said_coloured(thing.facts.colour, noun)
    if not clear or not colour_clear or any(item.colour is None for item in candidates):
        return None
    rest = [item for item in candidates if item.colour != thing.colour]
    if len(rest) != 1:
        return None
    words = f"{noun} that is not {thing.facts.colour}"
    return "negation", ask_for_one(words, rng), rest, _found(frame, rest)


def _absent(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    form = rng.random()
    if form < 0.34:
        return _absent_colour(frame, rng)
    if form < 0.66:
        return _absent_kind(frame, rng)
    if form < 0.78:
        return _absent_use(frame, rng)
    if form < 0.9:
        return _absent_relation(frame, rng)
    colour, noun = str(rng.choice(COLOURS)), str(rng.choice(THINGS))
    if any(thing.colour == colour or thing.may_show(colour) for thing in frame.all):
        return None
    text = (
        ask_for_one(f"{colour} {noun}", rng)
        if rng.random() < 0.5
        else ask_for_these(f"{rng.choice(['all', 'all the', 'the'])} {colour} {plural(noun)}", rng)
    )
    return "absent", text, [], f"There is no {colour} {noun}."


def _absent_kind(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    kind = KIND[str(rng.choice(KINDS))]
    noun = kind.nouns[0] if rng.random() < 0.6 else str(rng.choice(kind.nouns))
    meant, clear = frame.said(noun)
    if meant or not clear:
        return None
    if rng.random() < 0.15:
        text = ask_for_these(f"{rng.choice(['all', 'all the', 'the'])} {plural(noun)}", rng)
        return "absent", text, [], f"There is no {noun}."
    words = noun
    if rng.random() < 0.35:
        colour = str(rng.choice([t.facts.colour for t in frame.things] or COLOURS))
        words = noun if colour == noun else f"{colour} {noun}"
    return "absent", ask_for_one(words, rng), [], f"There is no {words}."


def _absent_colour(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    """A kind that is there, in a colour that it does not have here."""
    thing = _any(frame, rng)
    if thing is None:
        return None
    noun = _noun(thing, rng)
    here = sorted({t.facts.colour for t in frame.things if t.colour is not None})
    colour = str(rng.choice(here if rng.random() < 0.5 and here else COLOURS))
    meant, clear = frame.said_coloured(colour, noun)
    if meant or not clear or colour == noun:
        return None
    return "absent", ask_for_one(_coloured(colour, noun, rng), rng), [], f"There is no {colour} {noun}."


def _absent_use(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    use = str(rng.choice(list(USES)))
    meant, clear = frame.serves(use)
    if meant or not clear:
        return None
    return "absent", _ask_use(use, rng), [], f"There is {USES[use].nothing}."


def _absent_relation(frame: FrameWords, rng: np.random.Generator) -> _Draft | None:
    found = _reference(frame, rng)
    other = _any(frame, rng)
    if found is None or other is None:
        return None
    anchor, anchor_words = found
    noun = _noun(other, rng)
    candidates, clear = frame.said(noun)
    relation = str(rng.choice([name for name in RELATIONS if name != "next to"]))
    if not clear or not [t for t in candidates if t.id != anchor.id]:
        return None
    if _related(frame, candidates, anchor, relation) != []:
        return None
    words = f"{noun} {relation} the {anchor_words}"
    return "absent", ask_for_one(words, rng), [], f"There is no {words}."


_MAKERS: dict[str, tuple[_Maker, float]] = {
    "name": (_by_name, 0.15),
    "colour": (_by_colour, 0.2),
    "relation": (_by_relation, 0.13),
    "use": (_by_use, 0.1),
    "several": (_several, 0.09),
    "ambiguous": (_ambiguous, 0.06),
    "absent": (_absent, 0.165),
    "superlative": (_superlative, 0.05),
    "negation": (_negation, 0.02),
}
REQUEST_KINDS = tuple(_MAKERS)
_TRIES = 24


def sample_requests(
    facts: ClipFacts,
    frame_index: int,
    rng: np.random.Generator,
    count: int,
    kinds: Sequence[str] = REQUEST_KINDS,
) -> list[RequestSample]:
    """Up to `count` requests about one frame; fewer only where the frame offers nothing of these kinds.

    About one in five asks for what is not there. The texts of one call differ.

    Args:
        facts: The clip.
        frame_index: Frame that the requests are about.
        rng: All randomness comes from here.
        count: How many.
        kinds: Which of `REQUEST_KINDS` to draw from, at their usual shares.
    """
    frame = FrameWords(facts, frame_index)
    weights = np.array([_MAKERS[kind][1] for kind in kinds])
    weights = weights / weights.sum()
    samples: list[RequestSample] = []
    seen: set[str] = set()
    for _ in range(count * 4):
        if len(samples) == count:
            break
        maker = _MAKERS[str(rng.choice(list(kinds), p=weights))][0]
        for _ in range(_TRIES):
            draft = maker(frame, rng)
            if draft is None or len(draft[2]) > MOST_TARGETS:
                continue
            kind, plain, targets, answer = draft
            if plain not in seen:
                seen.add(plain)
                ordered = tuple(thing.id for thing in sorted(targets, key=lambda t: t.view.centroid[0]))
                samples.append(RequestSample(kind, as_spoken(plain, rng), ordered, answer, plain))
                break
    return samples
