"""Facts of tables made up for tests: no picture, only what stands where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from villa.data.clips import ClipFacts, EventFacts, ObjectFacts, View
from villa.data.language.requests import COLOURS
from villa.data.language.vocabulary import KIND


def thing(number: int, kind: str, colour: str, others: tuple[str, ...] = ()) -> ObjectFacts:
    noun = KIND[kind].nouns[0]
    name = noun if noun == colour else f"{colour} {noun}"
    return ObjectFacts(number, f"t/{number}", kind, name, KIND[kind].nouns, colour, others, "", KIND[kind].uses, "t")


def view(number: int, x: float, y: float, depth: float, visible: int = 400, amodal: int = 400) -> View:
    box = (int(x) - 10, int(y) - 10, 20, 20) if visible else (0, 0, 0, 0)
    centre = (x, y) if visible else (0.0, 0.0)
    return View(number, visible, amodal, box, centre, depth, ((x - 160) / 300, depth, 0.05))


def table(objects: tuple[ObjectFacts, ...], *frames: tuple[View, ...]) -> ClipFacts:
    return ClipFacts(1, 0, 0, "test", 5.0, 320, 240, (250.0, 250.0, 160.0, 120.0), (), (), "", objects, frames, ())


def random_table(seed: int) -> ClipFacts:
    rng = np.random.default_rng(seed)
    objects, views = [], []
    for number in range(1, int(rng.integers(4, 10))):
        kind = str(rng.choice(["mug", "cup", "bowl", "book", "banana", "pan", "ball", "orange", "block", "hammer"]))
        objects.append(thing(number, kind, "orange" if kind == "orange" else str(rng.choice(COLOURS[:5]))))
        visible = int(rng.choice([0, 20, 300, 500, 900], p=[0.06, 0.06, 0.3, 0.3, 0.28]))
        x, y = rng.uniform(20, 300), rng.uniform(20, 220)
        views.append(view(number, float(x), float(y), float(rng.uniform(0.5, 1.2)), visible, max(visible, 320)))
    earlier = tuple(replace(item, visible_px=max(item.visible_px, int(rng.random() < 0.5))) for item in views)
    return table(tuple(objects), earlier, tuple(views))


def film(
    objects: Sequence[ObjectFacts],
    places: Sequence[Sequence[tuple[float, float, float]]],
    events: tuple[EventFacts, ...] = (),
    hidden: Sequence[tuple[int, int]] = (),
) -> ClipFacts:
    """A clip seen from straight ahead: `places` [objects][frames] in m (x to the right, y away, z up).

    `hidden` are (object id, frame) at which it is out of sight.
    """
    frames = []
    for t in range(len(places[0])):
        views = []
        for item, way in zip(objects, places, strict=True):
            x, y, z = way[t]
            depth = 1.0 + y
            seen = (item.id, t) not in hidden
            middle = (160.0 + 250.0 * x / depth, 120.0 - 250.0 * z / depth)
            box = (int(middle[0]) - 15, int(middle[1]) - 15, 30, 30) if seen else (0, 0, 0, 0)
            views.append(View(item.id, 500 if seen else 0, 500, box, middle if seen else (0.0, 0.0), depth, (x, y, z)))
        frames.append(tuple(views))
    count = len(frames)
    # Columns: right, up, back.
    rotation = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0)
    return ClipFacts(
        1, 0, 0, "test", 5.0, 320, 240, (250.0, 250.0, 160.0, 120.0),
        ((0.0, -1.0, 0.0),) * count, (rotation,) * count, "", tuple(objects), tuple(frames), events,
    )  # fmt: skip
