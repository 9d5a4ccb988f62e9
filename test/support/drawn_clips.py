"""Clips drawn with rectangles instead of rendered: enough to train on, and no graphics library is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from villa.data.clips import SCHEMA, ClipFacts, ObjectFacts, View, write_clip

_THINGS = (("mug", "red", (200, 30, 30)), ("bowl", "blue", (30, 40, 200)), ("can", "green", (20, 170, 40)))
HEIGHT, WIDTH = 120, 160


def draw_clip(folder: Path, seed: int, frames: int = 6) -> None:
    """Three rectangles that drift over a gray table."""
    rng = np.random.default_rng(seed)
    starts = [(20 + 45 * i, 30 + int(rng.integers(30))) for i in range(len(_THINGS))]
    pictures, masks, views = [], [], []
    for index in range(frames):
        picture = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        seen = []
        for number, ((_, _, rgb), (x, y)) in enumerate(zip(_THINGS, starts, strict=True), start=1):
            left, top = x + index, y
            picture[top : top + 24, left : left + 20] = rgb
            mask[top : top + 24, left : left + 20] = number
            centre = (left + 10.0, top + 12.0)
            seen.append(View(number, 480, 480, (left, top, 20, 24), centre, 1.0, (left / 100, top / 100, 0.05)))
        pictures.append(picture)
        masks.append(mask)
        views.append(tuple(seen))
    facts = ClipFacts(
        schema=SCHEMA,
        generator=0,
        seed=seed,
        split="train",
        fps=5.0,
        width=WIDTH,
        height=HEIGHT,
        intrinsics=(150.0, 150.0, 80.0, 60.0),
        camera_position_m=((0.0, 0.0, 1.0),) * frames,
        camera_rotation=((1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),) * frames,
        table="drawn",
        objects=tuple(
            ObjectFacts(i, f"{colour}-{kind}", kind, f"{colour} {kind}", (kind,), colour, (), "paint", (), "drawn")
            for i, (kind, colour, _) in enumerate(_THINGS, start=1)
        ),
        frames=tuple(views),
        events=(),
    )
    write_clip(folder, facts, pictures, masks)
