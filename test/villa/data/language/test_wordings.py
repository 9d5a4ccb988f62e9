"""Files of wordings: what they hold stays as it was, and what cannot be is named with its line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files

import pytest
import yaml

from villa.data.language.affordances import USES
from villa.data.language.requests_of_time import HAPPENINGS
from villa.data.language.spatial_relations import RELATIONS
from villa.data.language.wordings import HELD_OUT, TRAINED, VALIDATED, Wording, reading
from villa.data.language.wordings.reading import WordingsError, joined, parse, read
from villa.data.language.wordings.widened import WIDENED

# Of all sentences in their order, computed when they stood in Python. The first three may never change: val and the
# test splits are made of them, and a request hangs on how many sentences there are and in which order. The last one
# changes with every wording that is added for training: replace it then, knowing that the same seeds now practise other
# requests.
DIGESTS = {
    "TRAINED": "cc16a3a2c9ff8a995dcf33e3c18ebb4d1a07bd1427e89dee044f7fd96c9e7b9d",
    "HELD_OUT": "75e1d51c68a034ea8453e40ac5fac96283991f1b68aa81642b57f99914bc3a3e",
    "VALIDATED": "19637b511ed4350b93135e2f22bd63d446fd3c59d996263299896f4adc94b7a8",
    "WIDENED": "09884e6818bfb22ff69f52c9ecc3f54b68d0a98ca46d45a93645b43e151ee11d",
}

LATER = {"groups", "all_but", "all_but_one", "broken"}  # came after the digests


def in_order(value: object) -> object:
    return [[key, in_order(item)] for key, item in value.items()] if isinstance(value, Mapping) else value


@pytest.mark.parametrize(
    ("name", "wording"),
    [("TRAINED", TRAINED), ("HELD_OUT", HELD_OUT), ("VALIDATED", VALIDATED), ("WIDENED", WIDENED)],
)
def test_the_sentences_and_their_order_are_those_that_the_splits_were_built_with(name: str, wording: Wording) -> None:
    every = [[item.name, in_order(getattr(wording, item.name))] for item in fields(Wording)]
    said = json.dumps([one for one in every if one[0] not in LATER or one[1]])
    assert hashlib.sha256(said.encode()).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("wording", [TRAINED, HELD_OUT, VALIDATED, WIDENED])
def test_there_are_words_for_all_that_can_be_asked(wording: Wording) -> None:
    assert set(wording.relations) == set(RELATIONS)
    assert set(wording.happened) == set(HAPPENINGS)
    assert set(wording.what_happened) == set(HAPPENINGS) - {"still"}
    assert set(wording.uses) == set(USES)


def test_what_training_adds_is_not_among_its_usual_sentences() -> None:
    more = read("training_more.yaml", whole=False)
    for key, usual in read("training.yaml").items():
        pairs = [(usual, more[key])]
        while pairs:
            own, added = pairs.pop()
            if isinstance(own, Mapping):
                pairs += [(own[name], added[name]) for name in own]
            else:
                assert not set(own) & set(added), key


# -- the form of a file ------------------------------------------------------------------------------------------------


@pytest.fixture(params=[loader for loader in ("SafeLoader", "CSafeLoader") if hasattr(yaml, loader)])
def either_loader(request, monkeypatch) -> None:
    """Lines are counted alike by PyYAML's own parser and by libyaml's."""
    monkeypatch.setattr(reading, "_LOADER", getattr(yaml, request.param))


def test_a_block_has_a_sentence_a_line_and_comments(either_loader) -> None:
    groups = parse(
        """
        # These come first.
        verbs: |
          track
          # Said more often than the rest.
          2 x keep: an "eye" on

          yes
        further:
          colour: |
            {c}, please
            and the {c} {n}
        """,
        "test.yaml",
        whole=False,
    )
    assert groups == {
        "verbs": ("track", 'keep: an "eye" on', 'keep: an "eye" on', "yes"),
        "further": {"colour": ("{c}, please", "and the {c} {n}")},
    }


COMPOSED = """\
parts:
  did:
    fell: |
      fell
      dropped
    moved: |
      <how> moved
  how: |
    slowly
    suddenly
  who did: |
    {n} that <did>
    {n} which <did>
happened:
  fell: |
    <who did>
    fallen {n}
  moved:
    - |
      <who did>
    - for each: [how, did]
      say: |
        {n} <how>: <did>
        {n}: <did>, <how>
"""


def test_parts_are_put_in_the_last_one_changing_first() -> None:
    happened = parse(COMPOSED, "test.yaml", whole=False)["happened"]
    assert happened["fell"] == (
        "{n} that fell",
        "{n} that dropped",
        "{n} which fell",
        "{n} which dropped",
        "fallen {n}",
    )
    assert happened["moved"][:4] == (
        "{n} that slowly moved",
        "{n} that suddenly moved",
        "{n} which slowly moved",
        "{n} which suddenly moved",
    )


def test_for_each_says_all_sentences_with_one_word_before_the_next() -> None:
    happened = parse(COMPOSED, "test.yaml", whole=False)["happened"]
    assert happened["moved"][4:] == (
        "{n} slowly: slowly moved",
        "{n}: slowly moved, slowly",
        "{n} slowly: suddenly moved",
        "{n}: suddenly moved, slowly",
        "{n} suddenly: slowly moved",
        "{n}: slowly moved, suddenly",
        "{n} suddenly: suddenly moved",
        "{n}: suddenly moved, suddenly",
    )


def test_files_are_joined_group_by_group() -> None:
    first: dict[str, object] = {"verbs": ("track",), "further": {"colour": ("{c}",)}}
    more: dict[str, object] = {"further": {"colour": ("{c} one",)}, "before": ("um",)}
    assert joined(first, more) == {
        "verbs": ("track",),
        "further": {"colour": ("{c}", "{c} one")},
        "before": ("um",),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("verb: |\n  track\n", "line 1: 'verb' is no key of the file, wanted one of verbs, commands, .*; correct"),
        ("further:\n  color: |\n    {c}\n", "line 2: 'color' is no key of further, wanted one of relation, other"),
        ("verbs: |\n  track\nverbs: |\n  find\n", "line 3: 'verbs' is there twice, first in line 1; make it one block"),
        ("verbs: |\n  track\n\n  find\n  track\n", "line 5: 'track' in verbs is there already, from line 2; remove"),
        ("verbs:\n  - track\n  - find\n", "line 2: verbs holds 'track', wanted `|` and one sentence a line below it"),
        ("verbs: yes\n", "line 1: verbs holds 'yes', wanted `|`"),
        ("verbs: 3\n", "line 1: verbs holds '3', wanted `|`"),
        ("verbs: |\n  # none yet\n", "line 1: verbs holds no sentence; add one or remove the key"),
        ("further: |\n  the other one\n", "line 1: further holds a block, wanted keys with blocks of sentences"),
        (
            "commands: |\n  {verb} {np}\n  do {verb} {thing}\n",
            "line 3: 'do .*' in commands holds {thing} and {verb}, w",
        ),
        ("some: |\n  is there\n", "line 2: 'is there' in some holds no slot, wanted {np}; change the sentence"),
        ("every: |\n  all {ns}\n  all\n", "line 3: 'all' in every holds no slot, wanted {ns} or {n}"),
        ("some: |\n  is {np there\n", "line 2: 'is {np there' in some has a brace that belongs to no slot such as"),
        ("some: |\n  {np!r}\n", "line 2: .* has a brace"),
        ("verbs: |\n  track  # often\n", "line 2: 'track  # often' in verbs holds a '#'; give the comment a line of"),
        ("verbs: |\n  1 x track\n", "line 2: '1 x track' in verbs is said 1 times, wanted 2 or more"),
        ("some: |\n  find {np}\n get {np}\n", "line 3: .*; wanted `group: |` and one sentence a line below it"),
        ("some: {np} please\n", "line 1: .*; wanted `group: |` and one sentence a line below it, all indented alike"),
        ("- track\n", "line 1: the file holds a list, wanted keys with blocks of sentences below them"),
        ("# nothing\n", "test.yaml: holds nothing, wanted groups of sentences"),
        ("verbs: |\n  <do>\n", "line 2: there is no part <do> for 'verbs', wanted none, as the file has no parts"),
        ("parts:\n  go: |\n    go\nverbs: |\n  <do>\n", "line 5: there is no part <do> for 'verbs', wanted <go>; corr"),
        ("parts:\n  go: |\n    go\nverbs: |\n  run\n", "line 3: no sentence holds part go; use it as <go>, or remove"),
        ("parts:\n  a: |\n    <b>\n  b: |\n    <a>\nverbs: |\n  <a>\n", "part <a> holds itself, by way of <a>, <b>"),
        (COMPOSED.replace("moved: |", "mowed: |", 1), "no part <did> for 'moved', wanted a list for 'moved' beside"),
        (COMPOSED.replace("say", "tell"), "line 22: 'tell' is no key of happened: moved, wanted one of for each, say"),
        (COMPOSED.replace("for each: [how, did]\n      ", ""), "line 21: happened: moved has `for each` or `say`"),
        (COMPOSED.replace("[how, did]", "[[how]]"), "line 21: `for each` in happened: moved holds a list, wanted"),
    ],
)
def test_what_a_file_cannot_say_is_named_with_its_line(either_loader, text: str, said: str) -> None:
    with pytest.raises(WordingsError, match=said.replace("|", r"\|").replace("{", r"\{")) as caught:
        parse(text, "test.yaml", whole=False)
    assert str(caught.value).startswith("test.yaml")


def test_a_split_s_file_has_every_group_and_key() -> None:
    text = files("villa.data.language.wordings").joinpath("val_unseen_phrase.yaml").read_text("utf-8")
    assert parse(text, "test.yaml") == read("val_unseen_phrase.yaml")
    with pytest.raises(WordingsError, match="the file lacks nearest; add a block of sentences for each"):
        parse(re.sub(r"nearest: \|\n(  .*\n)+", "", text), "test.yaml")
    with pytest.raises(WordingsError, match="further lacks colour; add a block of sentences for each"):
        parse(re.sub(r"  colour: \|\n(    .*\n)+", "", text), "test.yaml")
