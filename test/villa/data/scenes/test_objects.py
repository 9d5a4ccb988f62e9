"""Objects keep their words: every kind can be made, in the colour that it is called."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from villa.data.language import phrases
from villa.data.language.affordances import USES
from villa.data.language.vocabulary import COLOURS, KIND, KINDS
from villa.data.scenes.colour_shares import ColourShares
from villa.data.scenes.libero_objects import lighter
from villa.data.scenes.objects import COLLISION_GROUP, VISIBLE_GROUP, ObjectModel, ObjectModelError, attach_surfaces
from villa.data.scenes.palette import PATTERNS, companion, paint, shade, typical
from villa.data.scenes.physics import mujoco
from villa.data.scenes.procedural import PROCEDURAL_KINDS, make, palette_of
from villa.data.scenes.selection import choose_objects


@pytest.mark.parametrize("kind", PROCEDURAL_KINDS)
def test_every_kind_enters_a_scene_in_its_stated_size(kind: str) -> None:
    rng = np.random.default_rng(7)
    for _ in range(3):
        item = make(kind, rng)
        spec = mujoco.MjSpec()
        body = item.attach(spec, "thing", rng)
        assert body.name == "thing"
        model = spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        corners = []
        for geom in range(model.ngeom):
            if model.geom_group[geom] != VISIBLE_GROUP:
                assert model.geom_group[geom] == COLLISION_GROUP
                continue
            first, count = model.mesh_vertadr[model.geom_dataid[geom]], model.mesh_vertnum[model.geom_dataid[geom]]
            vertices = model.mesh_vert[first : first + count]
            corners.append(vertices @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom])
        points = np.concatenate(corners)
        assert points[:, 2].min() == pytest.approx(0.0, abs=0.004)
        assert points[:, 2].max() == pytest.approx(item.height, abs=0.004)
        assert np.hypot(points[:, 0], points[:, 1]).max() <= item.radius + 1e-4
        assert 0.03 < float(np.ptp(points, axis=0).max()) < 0.4
        assert model.body("thing").mass[0] > 0.01


@pytest.mark.parametrize("kind", PROCEDURAL_KINDS)
def test_surfaces_face_outwards(kind: str) -> None:
    """The signed volume of a closed surface is positive when its faces are counter-clockwise from outside."""
    spec = mujoco.MjSpec()
    make(kind, np.random.default_rng(3)).attach(spec, "thing", np.random.default_rng(3))
    mesh = spec.mesh("thing_0")
    vertices = np.array(mesh.uservert, np.float64).reshape(-1, 3)
    corners = vertices[np.array(mesh.userface).reshape(-1, 3)] - vertices.mean(axis=0)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume > 0


@pytest.mark.parametrize("colour", COLOURS)
def test_a_shade_is_nearest_to_its_own_name(colour: str) -> None:
    rng = np.random.default_rng(0)
    centres = {name: np.mean([shade(name, rng) for _ in range(40)], axis=0) for name in COLOURS}
    for _ in range(60):
        red, green, blue = (float(value) / 255 for value in shade(colour, rng))
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        if colour in ("black", "white", "gray"):
            assert saturation < 0.25 or value < 0.12
        else:
            assert saturation > 0.3
            own = colorsys.rgb_to_hsv(*(centres[colour] / 255))[0]
            assert min(abs(hue - own), 1 - abs(hue - own)) * 360 < 32


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_named_colour_covers_most_of_a_texture(pattern: str) -> None:
    rng = np.random.default_rng(5)
    for colour in COLOURS:
        second = companion(colour, rng)
        assert second != colour
        image = paint(colour, second, pattern, rng).astype(np.float64)
        middle = np.median(image.reshape(-1, 3), axis=0)
        close = np.linalg.norm(image - middle, axis=2) < 60
        assert close.mean() > 0.66


def test_a_model_must_use_the_vocabulary() -> None:
    attach = attach_surfaces((), (), 0.1)
    with pytest.raises(ObjectModelError, match="kind 'spork'"):
        ObjectModel("x", "spork", "red", "wood", "test", 0.1, 0.1, attach)
    with pytest.raises(ObjectModelError, match="colour 'crimson'"):
        ObjectModel("x", "mug", "crimson", "wood", "test", 0.1, 0.1, attach)


def test_a_fruit_named_like_its_colour_is_named_once() -> None:
    assert make("orange", np.random.default_rng(0)).name == "orange"
    assert make("mug", np.random.default_rng(0), "red").name == "red mug"


def test_lids_handles_and_pages_are_shown_but_nobody_names_the_whole_by_them() -> None:
    rng = np.random.default_rng(2)
    for kind, part in (("can", "gray"), ("pan", "black"), ("book", "white")):
        for _ in range(10):
            item = make(kind, rng, "red")
            assert part in item.colours
            assert set(item.rivals) <= set(item.colours)
            assert part not in item.rivals or len(item.rivals) == 1  # printed in it besides
    assert any("white" in make("jar", rng, "red").rivals for _ in range(20))
    assert make("basket", rng, "white").colours == ("gray",)  # its strands in shade


def test_a_colour_is_clear_where_it_fills_clearly_more_of_what_is_seen_than_any_other() -> None:
    attach = attach_surfaces((), (), 0.1)

    def shares(rivals: tuple[str, ...], second_rows: int, **more: bool) -> bool:
        item = ObjectModel("x", "jar", "red", "", "test", 0.1, 0.1, attach, (), (), rivals, rivals, **more)
        unlit = np.zeros((20, 20, 3), np.uint8)
        unlit[:] = typical("green")  # what is around it counts for nothing
        unlit[5:15] = typical("red")
        unlit[5 : 5 + second_rows] = typical("white")
        instance = np.zeros((20, 20), np.uint8)
        instance[5:15] = 1
        counted = ColourShares([item])
        counted.count(unlit, instance)
        return counted.is_clear(0)

    assert shares(("white",), 2)
    assert shares(("blue", "white"), 3)
    assert not shares(("white",), 5)
    assert not shares(("white",), 10)
    assert shares((), 5)  # a lid, whose colour counts for nothing
    assert not shares((), 0, clear=False)
    unseen = ColourShares([ObjectModel("x", "jar", "red", "", "test", 0.1, 0.1, attach, rivals=("white",))])
    assert not unseen.is_clear(0)


def test_tables_are_often_hard() -> None:
    """Half of the tables or more hold two objects of a kind in different colours."""
    rng = np.random.default_rng(0)
    tables = [choose_objects(6, rng) for _ in range(60)]
    twins = sum(any(a.kind == b.kind and a.colour != b.colour for a in table for b in table) for table in tables)
    assert twins >= 30


def test_the_vocabulary_hangs_together() -> None:
    assert len(set(KINDS)) == len(KINDS)
    assert len(set(COLOURS)) == len(COLOURS)
    for kind in KIND.values():
        assert set(kind.near) <= set(KINDS)
        assert set(kind.uses) <= set(USES)
        assert phrases.plural(kind.nouns[0]) == kind.plural
    for use in USES.values():
        assert set(use.maybe) <= set(KINDS)
    for kind in PROCEDURAL_KINDS:
        assert set(palette_of(kind)) <= set(COLOURS)


def test_a_lighter_mesh_keeps_its_shape() -> None:
    rng = np.random.default_rng(1)
    u, v = np.meshgrid(np.linspace(0, 1, 120), np.linspace(0, 1, 120))
    vertices = np.stack([u, v, 0.1 * np.sin(6 * u)], axis=-1).reshape(-1, 3)
    index = np.arange(119)[:, None] * 120 + np.arange(119)
    first = index.reshape(-1)
    faces = np.concatenate(
        [np.stack([first, first + 1, first + 120], 1), np.stack([first + 1, first + 121, first + 120], 1)]
    )
    uv = np.stack([u, v], axis=-1).reshape(-1, 2) + rng.normal(0, 1e-5, (14400, 2))
    places, triangles, coordinates = lighter(vertices, faces, uv, cells=20)
    assert len(triangles) < len(faces) / 10
    assert np.ptp(places[:, 0]) == pytest.approx(1.0, abs=0.06)
    assert np.abs(places[:, :2] - coordinates).max() < 0.05
