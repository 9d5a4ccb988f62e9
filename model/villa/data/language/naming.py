"""What a word means in one frame, and whether a careful viewer could take it to mean anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from villa.data.clips import ClipFacts, ObjectFacts, View
from villa.data.language.affordances import USES
from villa.data.language.motion_events import Happenings, happenings
from villa.data.language.phrases import THINGS
from villa.data.language.vocabulary import COLOURS, KIND, MATERIALS, PEOPLE, TABLETOP, kind_of

SMALLEST_TARGET_PX = 40  # at 320x240; scaled with the image
_CUT_OFF = 0.8  # an object of which more than this is covered is too hard to name
# Kinds whose colour is a matter of opinion: many parts, none of them the main one.
MANY_COLOURED = frozenset({"hammer"})


@dataclass(frozen=True)
class Thing:
    """An object and how one frame shows it."""

    facts: ObjectFacts
    view: View

    @property
    def id(self) -> int:
        """Its value in the mask."""
        return self.facts.id

    @property
    def colour(self) -> str | None:
        """Its colour, where it has a clear one."""
        return None if self.facts.kind in MANY_COLOURED else self.facts.colour or None

    def may_show(self, colour: str) -> bool:
        """Whether the colour is one of several on it."""
        if self.facts.kind in MANY_COLOURED:  # without colours: those of its parts were not known when it was rendered
            return not self.facts.colours or colour in (self.facts.colour, *self.facts.colours)
        return colour in self.facts.colours


class FrameWords:
    """One frame sorted into what can be meant and what stands in the way of an unambiguous request."""

    def __init__(self, facts: ClipFacts, index: int, since: int = 0) -> None:
        """`since` is the first frame of what the viewer saw happen up to frame `index`."""
        self.facts, self.index, self.since = facts, index, since
        smallest = SMALLEST_TARGET_PX * facts.width * facts.height / (320 * 240)
        things = [Thing(item, view) for item, view in zip(facts.objects, facts.frames[index], strict=True)]
        ever = {view.id for frame in facts.frames for view in frame if view.visible_px > 0}
        shown = [t for t in things if t.view.visible_px >= smallest and t.view.occluded <= _CUT_OFF]
        shown.sort(key=lambda thing: thing.view.centroid[0])
        clear = {thing.id for thing in shown}
        blocking = [thing for thing in things if thing.id in ever and thing.id not in clear]
        # Hands and people are meant only by their own names; so is everything where only names are known.
        parted = _parted if not facts.labelled else _unparted
        self.things, self.people = parted(shown)
        self.blocking, people_blocking = parted(blocking)
        self.all = [*self.things, *self.blocking]
        self._named = [*self.all, *self.people, *people_blocking]
        # Many requests are drawn about one frame, and most of them name the same few things.
        self._known: dict[tuple[str, ...], tuple[list[Thing], bool]] = {}

    @cached_property
    def happened(self) -> Happenings:
        """What happened up to this frame."""
        return happenings(self.facts, self.since, self.index)

    def said(self, noun: str) -> tuple[list[Thing], bool]:
        """The things that a noun means, and whether nothing else could be meant by it."""
        return self._once(self._said, noun)

    def said_coloured(self, colour: str, noun: str) -> tuple[list[Thing], bool]:
        """The same for a noun with a colour."""
        return self._once(self._said_coloured, colour, noun)

    def _once(self, find: Callable[..., tuple[list[Thing], bool]], *words: str) -> tuple[list[Thing], bool]:
        if words not in self._known:
            self._known[words] = find(*words)
        things, clear = self._known[words]
        return list(things), clear

    def _said(self, noun: str) -> tuple[list[Thing], bool]:
        if noun in THINGS:
            return list(self.things), not self.blocking and not self.facts.labelled
        targets = [thing for thing in self._named if noun in thing.facts.names]
        kinds = {thing.facts.kind for thing in targets} | {k.name for k in KIND.values() if noun in k.nouns}
        near = {other for kind in kinds for other in kind_of(kind).near}
        near |= {kind.name for kind in KIND.values() if kinds & set(kind.near)}
        # A noun of one particular object ("juice") may be given to every other of its kind.
        doubtful = [thing for thing in self._named if thing not in targets and thing.facts.kind in kinds | near]
        if noun in COLOURS:  # "the orange" may be any orange thing
            doubtful += [t for t in self.all if t not in targets and (t.colour == noun or t.may_show(noun))]
        visible = [thing for thing in (*self.things, *self.people) if thing in targets]
        return visible, not doubtful and len(visible) == len(targets)

    def _said_coloured(self, colour: str, noun: str) -> tuple[list[Thing], bool]:
        if noun in THINGS:
            targets = [thing for thing in self.all if thing.colour == colour]
            doubtful = [thing for thing in self.all if thing.colour != colour and thing.may_show(colour)]
        else:
            kinds = {k.name for k in KIND.values() if noun in k.nouns}
            kinds |= {thing.facts.kind for thing in self.all if noun in thing.facts.names}
            near = {other for kind in kinds for other in kind_of(kind).near}
            near |= {kind.name for kind in KIND.values() if kinds & set(kind.near)}
            candidates = [thing for thing in self.all if thing.facts.kind in kinds | near]
            coloured = [thing for thing in candidates if thing.colour == colour]
            targets = [thing for thing in coloured if noun in thing.facts.names]
            doubtful = [t for t in coloured if t not in targets]
            doubtful += [t for t in candidates if t.colour != colour and t.may_show(colour)]
        visible = [thing for thing in self.things if thing in targets]
        return visible, not doubtful and len(visible) == len(targets)

    def serves(self, use: str) -> tuple[list[Thing], bool]:
        """The same for what something is for."""
        targets = [thing for thing in self.all if use in thing.facts.uses]
        maybe, groups = USES[use].maybe, set(USES[use].groups)
        others = [thing for thing in self.all if thing not in targets]
        doubtful = [
            t for t in others if t.facts.kind in maybe or (groups and groups & set(kind_of(t.facts.kind).groups))
        ]
        visible = [thing for thing in self.things if thing in targets]
        return visible, not doubtful and len(visible) == len(targets)

    def made_of(self, material: str) -> tuple[list[Thing], bool]:
        """The same for what something is made of."""
        targets = [thing for thing in self.all if thing.facts.kind in MATERIALS[material].kinds]
        maybe = MATERIALS[material].maybe
        # Of the kinds that the table-top benchmark has it is known; of others a viewer may say either.
        doubtful = [t for t in self.all if t.facts.kind in maybe or t.facts.kind not in TABLETOP]
        visible = [thing for thing in self.things if thing in targets]
        return visible, not doubtful and len(visible) == len(targets)

    def names(self, things: Sequence[Thing]) -> list[str]:
        """What the answer calls each: colour and noun, and a place where two would be called the same."""
        plain = [plain_name(thing) for thing in things]
        out = []
        for thing, name in zip(things, plain, strict=True):
            same = [t for t in self.things if plain_name(t) == name]
            listed = [t for t in things if plain_name(t) == name]
            if len(same) > 1 and len(listed) > 1:
                order = [t.id for t in same]
                place = order.index(thing.id)
                words = {0: "left", len(order) - 1: "right"}
                name = f"{words.get(place, 'middle')} {name}"
            out.append(name)
        return out


def _parted(things: Sequence[Thing]) -> tuple[list[Thing], list[Thing]]:
    """Things, and people with their hands."""
    people = [thing for thing in things if thing.facts.kind in PEOPLE]
    return [thing for thing in things if thing.facts.kind not in PEOPLE], people


def _unparted(things: Sequence[Thing]) -> tuple[list[Thing], list[Thing]]:
    return list(things), []


def plain_name(thing: Thing) -> str:
    """Colour and noun; the noun alone where the colour is a matter of opinion."""
    return kind_of(thing.facts.kind).nouns[0] if thing.colour is None else thing.facts.name
