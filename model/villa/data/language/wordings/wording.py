"""What a wording is made of: groups of sentences, and the slots that a sentence of each group has to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from villa.data.language.affordances import USES

Sentences: TypeAlias = tuple[str, ...]
Groups: TypeAlias = Mapping[str, "Groups | Sentences"]  # as the files have them
Forms: TypeAlias = Mapping[str, "Forms | Sentences"]

_ROW_ENDS = ("leftmost", "rightmost", "closest", "farthest", "biggest", "smallest")
_ROW_ENDS_SAID = ("biggest", "smallest", "leftmost", "rightmost")  # behind a noun that was said before
_RELATIONS = ("left of", "right of", "behind", "in front of", "next to")  # of villa.data.language.spatial_relations
_HAPPENINGS = ("fell", "moved", "first", "last", "still", "lifted", "arm", "hidden")

# Group -> the slots of a sentence, in alphabetical order, or several choices of them.
FORMS: Forms = {
    "verbs": ("",),
    "commands": ("np verb",),
    "questions_one": ("np",),
    "questions_many": ("np",),
    "some": ("np",),
    "relations": dict.fromkeys(_RELATIONS, ("",)),
    "nearest": ("",),
    "between": ("a b",),
    "extremes": dict.fromkeys(_ROW_ENDS, ("n",)),
    "coloured": ("c n",),
    "made_of": ("m n",),
    "not_coloured": ("c n",),
    "every": ("ns", "n"),
    "some_of": ("ns", "ns number"),
    "both": ("ns",),
    "happened": {**dict.fromkeys(_HAPPENINGS, ("n",)), "behind": ("a n",), "appeared": ("n",)},
    "what_happened": {**{name: ("",) for name in _HAPPENINGS if name != "still"}, "behind": ("a",), "appeared": ("",)},
    "further": {"relation": ("r",), "other": ("", "n"), "colour": ("c", "c n"), "thing": ("np",)},
    "uses": {use: {"requests": ("",), "phrases": ("",)} for use in USES},
    "before": ("",),
    "after": ("",),
    "groups": ("g",),
    "all_but": ("ns",),
    "all_but_one": ("n",),
    "broken": {"colour": ("c n",), **dict.fromkeys(_ROW_ENDS_SAID, ("n",)), "relation": ("a n r",)},
}
# Groups and keys that a whole wording need not have: the table-top benchmark asks for none of it.
MAY_LACK = frozenset({"before", "after", "groups", "all_but", "all_but_one", "broken", "appeared"})


class UseWords(NamedTuple):
    """How one asks for what something is for: whole requests, and noun phrases."""

    requests: Sentences
    phrases: Sentences


@dataclass(frozen=True)
class Wording:
    """Everything that is said around nouns and colours.

    Sentences hold the slots `{np}` (a noun phrase with its article), `{verb}`, `{n}` (a noun), `{ns}` (its plural),
    `{number}`, `{c}` (a colour), `{m}` (a material), `{a}` and `{b}` (other things), `{r}` (a relation) or `{g}` (a
    word for many kinds, in the plural).
    """

    verbs: Sentences
    commands: Sentences
    questions_one: Sentences
    questions_many: Sentences
    some: Sentences  # for what any of several things may serve
    relations: Mapping[str, Sentences]  # of villa.data.language.spatial_relations
    nearest: Sentences
    between: Sentences
    extremes: Mapping[str, Sentences]
    coloured: Sentences  # beside plain "{c} {n}"
    made_of: Sentences
    not_coloured: Sentences
    every: Sentences
    some_of: Sentences  # where several are meant
    both: Sentences
    happened: Mapping[str, Sentences]  # what is said of a {n} that a happening singles out
    what_happened: Mapping[str, Sentences]  # whole requests that name no thing
    further: Mapping[str, Sentences]  # follow-ups, by what they add
    uses: Mapping[str, UseWords] = field(default_factory=dict)
    bare: bool = True  # may a thing be named without a sentence around it?
    before: Sentences = ()  # what some people say before a request,
    after: Sentences = ()  # and behind it
    groups: Sentences = ()  # all that a word for many kinds means
    all_but: Sentences = ()  # everything but what a {ns} means
    all_but_one: Sentences = ()  # and but a {n}
    broken: Mapping[str, Sentences] = field(default_factory=dict)  # orders that are finished afterwards

    @classmethod
    def of(cls, groups: Groups, *, bare: bool = True) -> Wording:
        """The wording of these groups, each as FORMS has it."""
        values: dict[str, Any] = dict(groups)
        values["uses"] = {use: UseWords(**words) for use, words in values["uses"].items()}
        return cls(**values, bare=bare)
