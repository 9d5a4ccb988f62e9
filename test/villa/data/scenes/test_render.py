"""What is drawn besides the picture changes nothing on it, and shows the colours that the facts tell."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from rendering import SMALL, needs_rendering

from villa.data.build import object_facts
from villa.data.scenes import procedural
from villa.data.scenes.palette import typical
from villa.data.scenes.render import render
from villa.data.scenes.scene import compose

pytestmark = pytest.mark.render


def test_a_frame_without_light_shows_the_paint_alone_and_leaves_the_others_as_they_are() -> None:
    needs_rendering()
    rng = np.random.default_rng(3)
    scene = compose(
        [procedural.make(kind, rng, colour) for kind, colour in (("apple", "red"), ("tray", "blue"))], SMALL, rng
    )
    alone = list(render(scene, SMALL))
    frames = list(render(scene, SMALL, unlit=(0, 2)))
    assert [frame.unlit is not None for frame in frames] == [True, False, True, False]
    for one, other in zip(alone, frames, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
        assert np.array_equal(one.instance, other.instance)
    seen = 0
    for index, item in enumerate(scene.objects):
        pixels = frames[0].unlit[frames[0].instance == index + 1]
        if len(pixels) > 50:
            seen += 1
            assert np.linalg.norm(np.median(pixels, axis=0) - typical(item.colour)) < 60
    assert seen


def test_a_thing_without_a_main_colour_is_named_by_its_noun_and_shows_all_its_colours() -> None:
    jar = procedural.make("jar", np.random.default_rng(3), "red")
    unclear = object_facts(1, jar, clear=False)
    assert (unclear.name, unclear.colour, unclear.colours) == ("jar", "", ("red", *jar.colours))
    assert object_facts(1, jar).name == "red jar"
