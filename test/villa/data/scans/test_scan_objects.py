"""Scans as things of scenes: they stand, are lit, and are called what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from rendering import needs_rendering
from small_scans import write_box_scan

from villa.data.language.vocabulary import KIND
from villa.data.scans.lightening import lightened
from villa.data.scans.objects import scanned_models
from villa.data.scans.reading import Scan, ScanError, find_scans, read_scan
from villa.data.scenes.physics import mujoco
from villa.data.scenes.render import open_renderer
from villa.data.scenes.selection import choose_objects

pytestmark = pytest.mark.render


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    write_box_scan(folder / "003_cracker_box", (0.06, 0.16, 0.21))
    write_box_scan(folder / "my_sponge", (0.1, 0.07, 0.03), (210, 30, 30))
    write_box_scan(folder / "spotted_sponge", (0.1, 0.07, 0.03))
    write_box_scan(folder / "whatsit")
    write_box_scan(folder / "windex_bottle", (0.08, 0.05, 0.27))  # known to have gaps
    write_box_scan(folder / "umbrella", (0.1, 0.1, 0.8))  # larger than a table has room for
    return folder


def test_facts_are_those_of_the_table_or_of_the_texture(scans: Path) -> None:
    box, plain, spotted = scanned_models(scans)
    assert (box.kind, box.colour, box.material, box.source) == ("cracker box", "red", "cardboard", "scans")
    assert box.name == "red cracker box"
    assert box.uses == KIND["cracker box"].uses
    assert box.height == pytest.approx(0.21, abs=1e-3)
    assert box.radius == pytest.approx(np.hypot(0.03, 0.08), abs=1e-3)
    assert (plain.kind, plain.colour, plain.name) == ("sponge", "red", "red sponge")
    assert "red" not in plain.colours
    assert (spotted.colour, spotted.name) == ("", "sponge")
    assert {"blue", "yellow", "black", "white"} <= set(spotted.colours)


def test_a_scan_stands_on_the_table_with_its_texture_the_right_way_up(scans: Path) -> None:
    needs_rendering()
    box = scanned_models(scans)[0]
    spec = mujoco.MjSpec()
    spec.visual.headlight.ambient = [0.7, 0.7, 0.7]
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[2, 2, 0.1])
    box.attach(spec, "thing", np.random.default_rng(0))
    model = spec.compile()
    data = mujoco.MjData(model)
    for _ in range(400):
        mujoco.mj_step(model, data)
    assert data.body("thing").xpos == pytest.approx([0, 0, 0], abs=2e-3)
    assert data.body("thing").xmat.reshape(3, 3)[2, 2] > 0.999
    camera = mujoco.MjvCamera()
    camera.lookat[:], camera.distance, camera.elevation, camera.azimuth = (0, 0, 0.1), 0.7, -20, 90
    renderer = open_renderer(model, 120, 160)
    try:
        renderer.update_scene(data, camera)
        rgb = renderer.render().astype(int)
    finally:
        renderer.close()
    red, green, blue = rgb[65, 80]  # the side -y
    assert blue > 1.5 * red
    assert blue > 1.5 * green


def ball(rings: int) -> Scan:
    """A sphere of 5 cm whose texture has one colour for each latitude; its seam is cut open."""
    v, u = np.meshgrid(np.linspace(0, 1, rings), np.linspace(0, 1, 2 * rings), indexing="ij")
    up, around = np.pi * (v - 0.5), 2 * np.pi * u
    places = 0.05 * np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=-1)
    first = (np.arange(rings - 1)[:, None] * 2 * rings + np.arange(2 * rings - 1)).reshape(-1)
    over = first + 2 * rings
    corners = np.concatenate([np.stack([first, first + 1, over], 1), np.stack([first + 1, over + 1, over], 1)])
    uv = np.stack([u, v], axis=-1).reshape(-1, 2)
    texture = np.repeat(np.arange(256, dtype=np.uint8)[::-1, None, None], 256, axis=1).repeat(3, axis=2)
    faces = corners.astype(np.int32)
    return Scan("ball", places.reshape(-1, 3).astype(np.float32), faces, uv.astype(np.float32), faces, texture)


def test_a_lighter_scan_keeps_shape_and_texture() -> None:
    whole = ball(100)
    light = lightened(whole, 2000, 64)
    assert 2000 <= len(light.corners) < len(whole.corners) / 3
    assert light.texture.shape == (64, 64, 3)
    assert np.linalg.norm(light.vertices, axis=1) == pytest.approx(0.05, abs=2e-3)
    # Each corner still has the colour of its height.
    height = light.vertices[light.corners][..., 2]
    latitude = np.arcsin(np.clip(height / np.linalg.norm(light.vertices[light.corners], axis=-1), -1, 1)) / np.pi + 0.5
    assert np.abs(light.uv[light.uv_corners][..., 1] - latitude).max() < 0.04
    # No face reaches across the seam of the texture.
    assert np.ptp(light.uv[light.uv_corners][..., 0], axis=1)[np.abs(height).max(axis=1) < 0.04].max() < 0.2
    assert len(lightened(ball(8), 2000, 64).corners) == len(ball(8).corners)


def test_both_sides_of_a_thin_wall_stay(tmp_path: Path) -> None:
    """A sheet of 2 mm, under cells of 4 mm."""
    write_box_scan(tmp_path / "plate", (0.1, 0.1, 0.002))
    sheet = read_scan(find_scans(tmp_path)[0])
    fine = lightened(sheet, 4, 64)
    assert np.ptp(fine.vertices[:, 2]) == pytest.approx(0.002, abs=1e-4)


def test_half_of_the_things_are_scans_and_kinds_come_first(scans: Path) -> None:
    models = scanned_models(scans)
    rng = np.random.default_rng(0)
    tables = [choose_objects(6, rng, scans=models) for _ in range(120)]
    assert all(len(table) == 6 for table in tables)
    found = [item for table in tables for item in table if item.source == "scans"]
    assert 0.25 < len(found) / 720 < 0.55
    for table in tables:
        keys = [item.key for item in table if item.source == "scans"]
        assert len(keys) == len(set(keys))
    first = [table[0].kind for table in tables if table[0].source == "scans"]
    assert 0.3 < np.mean([kind == "sponge" for kind in first]) < 0.7  # of two scans, and one kind of two


def test_a_folder_of_what_has_no_kind_says_what_is_wanted(tmp_path: Path) -> None:
    write_box_scan(tmp_path / "whatsit")
    with pytest.raises(ScanError, match="holds no scan for a table: wanted folders named for kinds"):
        scanned_models(tmp_path)
