"""Shapes from installed packages: read, unwrapped, stood on the table, and painted anew for training."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from villa.data.scenes import open_objects
from villa.data.scenes.open_objects import (
    OpenAssetError,
    load_obj,
    load_stl,
    package_file,
    training_models,
    walled,
    wrapped,
)
from villa.data.scenes.physics import mujoco
from villa.data.scenes.sample_art import sample_models

_MISSING = [name for name in ("robosuite", "metaworld") if importlib.util.find_spec(name) is None]
needs_meshes = pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}")

CUBE = """v -1 -1 0
v 1 -1 0
v 1 1 0
v -1 1 0
v -1 -1 2
v 1 -1 2
v 1 1 2
v -1 1 2
f 4 3 2 1
f 5 6 7 8
f 1/1 2/1 6/1 5/1
f 2//3 3//3 7//3 6//3
f 3 4 8 7
f 4 1 5 8
"""


def cube(folder: Path) -> tuple[Any, Any]:
    path = folder / "cube.obj"
    path.write_text(CUBE)
    return load_obj(path)


def compiled(item: Any, seed: int = 0) -> Any:
    spec = mujoco.MjSpec()
    item.attach(spec, "object0", np.random.default_rng(seed))
    return spec.compile()


def textures(model: Any) -> set[bytes]:
    ends = [*model.tex_adr[1:], len(model.tex_data)]
    return {model.tex_data[begin:end].tobytes() for begin, end in zip(model.tex_adr, ends, strict=True)}


def test_polygons_of_an_obj_become_fans(tmp_path: Path) -> None:
    vertices, faces = cube(tmp_path)
    assert vertices.shape == (8, 3)
    assert faces.shape == (12, 3)
    corners = vertices[faces]
    volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(8.0)


def test_an_obj_without_a_face_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "points.obj"
    path.write_text("v 0 0 0\n")
    with pytest.raises(OpenAssetError, match="holds no face"):
        load_obj(path)


def test_equal_corners_of_an_stl_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "two.stl"
    first, second = [(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(1, 0, 0), (1, 1, 0), (0, 1, 0)]
    record = b"".join(
        struct.pack("<12fH", 0, 0, 1, *(float(v) for corner in face for v in corner), 0) for face in (first, second)
    )
    path.write_bytes(b"\0" * 80 + struct.pack("<I", 2) + record)
    vertices, faces = load_stl(path)
    assert len(vertices) == 4
    assert sorted(map(tuple, vertices[faces[1]].tolist())) == sorted(second)


def test_a_cut_stl_is_refused_with_both_lengths(tmp_path: Path) -> None:
    path = tmp_path / "cut.stl"
    path.write_bytes(b"\0" * 80 + struct.pack("<I", 3) + b"\0" * 50)
    with pytest.raises(OpenAssetError, match="134 bytes, its header wants 234"):
        load_stl(path)


def test_a_missing_package_is_named_with_the_way_to_install_it() -> None:
    with pytest.raises(OpenAssetError, match=r"no_such_assets.*pip install"):
        package_file("no_such_assets/meshes/mug.stl")


def test_no_triangle_runs_back_over_the_seam(tmp_path: Path) -> None:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    low, high = (np.column_stack([ring, np.full(24, z)]) for z in (0.0, 1.0))
    first, following = np.arange(24), (np.arange(24) + 1) % 24
    faces = np.concatenate(
        [np.stack([first, following, 24 + first], 1), np.stack([following, 24 + following, 24 + first], 1)]
    )
    mesh = wrapped(np.concatenate([low, high]), faces, seam_deg=30.0)
    across = mesh.uv[mesh.faces][:, :, 0]
    assert np.ptp(across, axis=1).max() < 0.06
    assert np.ptp(mesh.uv[:, 0]) == pytest.approx(1.0, abs=0.05)
    assert np.allclose(mesh.uv[:, 1], mesh.vertices[:, 2])


def test_the_front_of_a_box_shows_the_print_the_right_way_round(tmp_path: Path) -> None:
    mesh = walled(*cube(tmp_path))
    front = (mesh.vertices[mesh.faces][:, :, 1] == -1).all(axis=1)
    index = np.unique(mesh.faces[front])
    assert np.allclose(mesh.uv[index, 0], 0.75 * (mesh.vertices[index, 0] + 1) / 2)
    assert np.allclose(mesh.uv[index, 1], mesh.vertices[index, 2] / 2)
    lid = (mesh.vertices[mesh.faces][:, :, 2] == 2).all(axis=1)
    assert mesh.uv[np.unique(mesh.faces[lid])].max() < 0.05


@needs_meshes
@pytest.mark.parametrize("name", sorted(open_objects.SHAPES))
def test_a_shape_stands_on_the_table_inside_its_solids(name: str) -> None:
    shape = open_objects.SHAPES[name]()
    points = np.concatenate([part.mesh.vertices for part in shape.parts])
    assert points[:, 2].min() == pytest.approx(0.0, abs=1e-4)
    assert 0.04 < np.ptp(points, axis=0).max() < 0.3
    tall = max(solid.position[2] + _half_height(solid) for solid in shape.solids)
    assert tall == pytest.approx(points[:, 2].max(), abs=0.012)
    for part in shape.parts:
        assert part.mesh.uv.shape == (len(part.mesh.vertices), 2)
        assert part.mesh.faces.max() < len(part.mesh.vertices)


def _half_height(solid: Any) -> float:
    return float(solid.size[{"sphere": 0, "cylinder": 1, "box": 2, "ellipsoid": 2}[solid.shape]])


@needs_meshes
def test_there_is_something_to_train_on_in_many_colours() -> None:
    models = training_models()
    assert len({item.kind for item in models}) >= 8
    assert len({item.colour for item in models}) >= 9
    assert len({item.key for item in models}) == len(models)
    assert {item.colour for item in models if item.kind == "lemon"} == {"yellow"}


@needs_meshes
def test_a_training_object_is_painted_anew_each_time_and_the_same_for_the_same_seed() -> None:
    item = next(item for item in training_models() if item.key == "robosuite/can/blue")
    assert textures(compiled(item, 1)) == textures(compiled(item, 1))
    assert not textures(compiled(item, 1)) & textures(compiled(item, 2))


@needs_meshes
def test_the_colours_of_a_new_surface_are_known_and_it_is_the_surface_that_is_attached() -> None:
    models = {item.key: item for item in training_models()}
    shown: dict[str, set[tuple[str, ...]]] = {}
    for key in ("robosuite/can/blue", "metaworld/ball/pink", "metaworld/hammer/red", "robosuite/lemon/yellow"):
        item = models[key]
        for seed in range(12):
            rng = np.random.default_rng(seed)
            painted = item.painted(rng)
            assert (painted.key, painted.colour, painted.radius) == (item.key, item.colour, item.radius)
            spec = mujoco.MjSpec()
            painted.attach(spec, "object0", rng)
            assert textures(spec.compile()) == textures(compiled(item, seed))
            shown.setdefault(key, set()).add(painted.colours)
    assert () in shown["robosuite/can/blue"]  # plain or mottled
    assert len(shown["robosuite/can/blue"]) > 2
    assert all(len(colours) == 1 for colours in shown["metaworld/hammer/red"] | shown["metaworld/ball/pink"])
    assert shown["robosuite/lemon/yellow"] == {()}


@needs_meshes
def test_the_surfaces_of_the_sample_never_occur_in_training() -> None:
    sample = sample_models()
    training = training_models()
    assert not {item.key for item in sample} & {item.key for item in training}
    kept_out = set().union(*(textures(compiled(item)) for item in sample))
    assert len(kept_out) >= 9
    for item in training[::5]:
        assert not textures(compiled(item, 3)) & kept_out


@needs_meshes
def test_an_object_left_alone_stays_upright() -> None:
    for item in sample_models():
        spec = mujoco.MjSpec()
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 0.1])
        body = item.attach(spec, "object0", np.random.default_rng(0))
        body.pos = [0, 0, 0.002]
        model = spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_step(model, data, 500)
        assert data.body("object0").xmat[8] > 0.98, item.key
        assert abs(data.body("object0").xpos[2]) < 0.01, item.key
