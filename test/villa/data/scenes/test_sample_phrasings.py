"""The sample's requests are worded as no training text is, even on the sample's own table."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from villa.data.clips import SCHEMA, ClipFacts, ObjectFacts, View
from villa.data.language.requests import sample_requests
from villa.data.language.vocabulary import KIND
from villa.data.language.wordings.widened import WIDENED
from villa.data.scenes.sample import REQUESTS, focal_px

TEXTS = 20_000
# The sample's table as the request templates see it: key, kind, colour, further colours, further nouns, middle in px,
# visible px, depth m.
_SEEN = (
    ("cereal_box", "box", "purple", ("yellow", "white"), ("cereal box",), (297.0, 172.0), 7870, 1.14),
    ("milk_carton", "carton", "white", ("green",), ("milk carton",), (388.0, 190.0), 2800, 1.07),
    ("blue_mug", "mug", "blue", (), (), (136.0, 233.0), 3420, 1.03),
    ("red_mug", "mug", "red", ("white",), (), (327.0, 279.0), 4540, 0.94),
    ("soda_can", "can", "green", ("white", "gray"), ("drinks can", "soda can"), (530.0, 200.0), 1880, 1.1),
    ("bread", "bread", "brown", (), (), (190.0, 293.0), 7150, 0.95),
    ("hammer", "hammer", "black", ("gray",), (), (506.0, 318.0), 3970, 0.9),
    ("ball", "ball", "orange", ("black",), ("basketball",), (446.0, 171.0), 1120, 1.22),
    ("lemon", "lemon", "yellow", (), (), (275.0, 355.0), 2090, 0.85),
)


def words(text: str) -> tuple[str, ...]:
    return tuple(re.sub(r"[^a-z' ]", "", text.lower().replace("grey", "gray")).split())


@cache
def table() -> ClipFacts:
    objects, views = [], []
    for number, (key, kind, colour, others, nouns, (x, y), area, depth) in enumerate(_SEEN, 1):
        words_of_kind = KIND[kind]
        names = (*words_of_kind.nouns, *nouns)
        objects.append(
            ObjectFacts(number, key, kind, f"{colour} {kind}", names, colour, others, "", words_of_kind.uses, "sample")
        )
        side = int(area**0.5)
        box = (int(x) - side // 2, int(y) - side // 2, side, side)
        place = ((x - 320) * depth / focal_px(), depth - 1.0, 0.04)
        views.append(View(number, area, area, box, (x, y), depth, place))
    return ClipFacts(
        schema=SCHEMA,
        generator=0,
        seed=0,
        split="test",
        fps=10.0,
        width=640,
        height=480,
        intrinsics=(focal_px(), focal_px(), 319.5, 239.5),
        camera_position_m=((0.0, -0.85, 0.55),),
        camera_rotation=((1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0),),
        table="wood",
        objects=tuple(objects),
        frames=(tuple(views),),
        events=(),
    )


@cache
def training_texts() -> frozenset[tuple[str, ...]]:
    """What the templates say in 20,000 tries about the sample's own table."""
    rng = np.random.default_rng(0)
    texts: set[tuple[str, ...]] = set()
    made = 0
    while made < TEXTS:
        batch = sample_requests(table(), 0, rng, 50, wording=WIDENED)
        assert batch
        made += len(batch)
        for one in batch:
            texts.update((words(one.text), words(one.plain)))
    return frozenset(texts)


def test_the_templates_do_speak_about_this_table() -> None:
    said = training_texts()
    assert len(said) > 3000
    assert ("the", "blue", "mug") in said


def test_no_request_of_the_sample_is_a_training_text() -> None:
    said = training_texts()
    assert [one.text for one in REQUESTS if words(one.text) in said] == []


def test_every_request_of_the_sample_joins_words_as_no_training_text_does() -> None:
    joined = {pair for text in training_texts() for pair in itertools.pairwise(text)}
    for request in REQUESTS:
        new = [pair for pair in itertools.pairwise(words(request.text)) if pair not in joined]
        assert new, request.text


def test_the_description_lists_every_request() -> None:
    description = (Path(__file__).resolve().parents[4] / "sample" / "README.md").read_text(encoding="utf-8")
    assert [one.text for one in REQUESTS if f"| {one.time_s} | {one.text} |" not in description] == []
