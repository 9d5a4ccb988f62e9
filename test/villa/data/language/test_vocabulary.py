"""Kinds are data: the file is read as it says, and what contradicts itself is refused by name."""

from __future__ import annotations

import pytest

from villa.data.language.affordances import USES
from villa.data.language.vocabulary import KIND, KINDS, TABLETOP, VocabularyError, read_kinds

KINDS_OF_MINE = """
first:
  mug: {nouns: [coffee mug], uses: [drink], near: [cup], size: [0.1, 0.2]}
  cup: {}
second:
  knife:
  loaf of bread: {plural: loaves of bread, groups: [food]}
confused:
  - [cup, knife]
"""


def test_a_file_of_kinds_is_read():
    sections = read_kinds(KINDS_OF_MINE)
    assert list(sections) == ["first", "second"]
    mug, cup = sections["first"].values()
    assert (mug.name, mug.nouns, mug.plural, mug.uses, mug.near) == (
        "mug", ("mug", "coffee mug"), "mugs", ("drink",), ("cup",),
    )  # fmt: skip
    assert mug.size_m == (0.1, 0.2)
    assert cup.near == ("knife",)
    assert sections["second"]["knife"].near == ("cup",)
    assert sections["second"]["knife"].plural == "knives"
    assert sections["second"]["loaf of bread"].plural == "loaves of bread"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a:\n  mug: {color: red}",
            "'mug' has a field 'color': known are groups, lies, near, nouns, plural, size, uses",
        ),
        ("a:\n  mug: {size: [0.2, 0.1]}", r"'mug' has size \[0\.2, 0\.1\]: wanted its longest side"),
        ("a:\n  mug: {}\nb:\n  mug: {}", "'mug' stands in two sections"),
        ("a:\n  mug: {nouns: [beaker]}\n  cup: {nouns: [beaker]}", "'mug' and 'cup' both have the noun 'beaker'"),
        ("a:\n  mug: {near: [cup]}", "'cup', near to 'mug', is none"),
        ("a:\n  mug: {}\nconfused:\n  - [mug, cup]", "'cup', near to 'mug', is none"),
    ],
)
def test_what_contradicts_itself_is_refused(text, message):
    with pytest.raises(VocabularyError, match=message):
        read_kinds(text)


def test_the_shipped_kinds_are_many_and_whole():
    assert len(KINDS) >= 250
    assert KINDS[: len(TABLETOP)] == TABLETOP
    nouns = [noun for kind in KIND.values() for noun in kind.nouns]
    assert len(nouns) == len(set(nouns))
    assert all(noun == noun.lower() for noun in nouns)  # as requests are read
    assert all(set(kind.uses) <= set(USES) for kind in KIND.values())
    # What has a size can stand in a scene.
    assert sum(kind.size_m is not None for kind in KIND.values()) > 250


def test_the_kinds_of_the_benchmark_confuse_no_more_than_before():
    """Its requests rest on which of its kinds are near to each other: they were fixed before any training."""
    near = {(a, b) for a in TABLETOP for b in TABLETOP if b in KIND[a].near or a in KIND[b].near}
    assert len(near) == 82
    assert ("cup", "mug") in near
    assert ("plate", "lid") not in near
