"""Scans are read as they are, and what is wrong with one is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_scans import write_box_scan

from villa.data.composites.cutouts import kind_of_name
from villa.data.language.vocabulary import COLOURS, KIND
from villa.data.scans.facts import facts_of, read_facts
from villa.data.scans.reading import ScanError, find_scans, read_scan
from villa.data.scans.resting import Resting

YCB = 78  # scans that the table knows


def test_a_scan_is_a_folder_with_a_mesh_and_a_texture(tmp_path: Path) -> None:
    write_box_scan(tmp_path / "mug")
    write_box_scan(tmp_path / "cracker_box", (0.06, 0.16, 0.21))
    (tmp_path / "no_mesh").mkdir()
    (tmp_path / "a_file").write_text("nothing")
    found = find_scans(tmp_path)
    assert [scan.name for scan in found] == ["cracker_box", "mug"]
    scan = read_scan(found[0])
    assert np.ptp(scan.vertices, axis=0) == pytest.approx([0.06, 0.16, 0.21], abs=1e-4)
    assert scan.corners.shape == scan.uv_corners.shape == (12, 3)
    assert scan.texture.shape[2] == 3


def test_plain_and_packed_meshes_are_read_alike(tmp_path: Path) -> None:
    packed = read_scan(find_scans(write_box_scan(tmp_path / "one" / "mug").parent)[0])
    plain = write_box_scan(tmp_path / "two" / "mug")
    text = gzip.decompress((plain / "mesh.obj.gz").read_bytes()).decode()
    (plain / "mesh.obj.gz").unlink()
    # Corners may be counted backwards, and have a normal.
    text = text.replace("f 1/1 2/2 3/3 4/4", "f -24/-24/1 -23/-23/1 -22/-22/1 -21/-21/1")
    (plain / "textured.obj").write_text("# of a scanner\nmtllib textured.mtl\n" + text)
    again = read_scan(find_scans(plain.parent)[0])
    assert np.array_equal(packed.corners, again.corners)
    assert np.array_equal(packed.vertices[packed.corners], again.vertices[again.corners])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "line 4: no texture coordinates"),
        ("v 0 0 0\nvt 0 0\nf 1/1 2/1 3/1\n", r"line 3: 'f 1/1 2/1 3/1' is no Wavefront OBJ \(2 of 1\)"),
        ("v 0 0 zero\n", "line 1: 'v 0 0 zero' is no Wavefront OBJ"),
        ("v 0 0 0\n", "holds no faces"),
        ("v 0 0 0\nv 90 0 0\nv 0 60 0\nvt 0 0\nf 1/1 2/1 3/1\n", "longest side is 90, wanted metres"),
    ],
)
def test_a_mesh_that_cannot_be_used_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    folder = write_box_scan(tmp_path / "mug")
    (folder / "mesh.obj.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(ScanError, match=message):
        read_scan(find_scans(tmp_path)[0])


def test_a_cut_off_mesh_and_a_damaged_texture_are_named(tmp_path: Path) -> None:
    folder = write_box_scan(tmp_path / "mug")
    whole = (folder / "mesh.obj.gz").read_bytes()
    (folder / "mesh.obj.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ScanError, match=r"mesh\.obj\.gz cannot be read .* copy the scan again"):
        read_scan(find_scans(tmp_path)[0])
    (folder / "mesh.obj.gz").write_bytes(whole)
    (folder / "texture.png").write_bytes(b"no picture")
    with pytest.raises(ScanError, match=r"texture\.png does not decode"):
        read_scan(find_scans(tmp_path)[0])


def test_a_folder_without_scans_or_with_two_meshes_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="holds no scan: wanted a folder for each thing"):
        find_scans(tmp_path)
    folder = write_box_scan(tmp_path / "mug")
    (folder / "other.obj").write_text("")
    with pytest.raises(ScanError, match=r"holds 2 files that may be its mesh \(mesh\.obj\.gz, other\.obj\)"):
        find_scans(tmp_path)
    (folder / "other.obj").unlink()
    (folder / "texture.png").unlink()
    with pytest.raises(ScanError, match=r"holds 0 files that may be its texture \(none\)"):
        find_scans(tmp_path)


def test_known_scans_have_kinds_and_others_are_read_by_name() -> None:
    assert facts_of("003_cracker_box").kind == "cracker box"
    assert facts_of("cracker_box") == facts_of("003_cracker_box")
    assert facts_of("065-a_cups").kind == "cup"
    assert facts_of("035_power_drill").kind == "drill"
    assert facts_of("my_red_teapot").kind == "teapot"
    assert facts_of("my_red_teapot").colour is None
    assert "kind of thing" in facts_of("thingamajig").skip
    assert "rim and handle" in facts_of("skillet_lid").skip


def test_the_table_of_known_scans_is_whole() -> None:
    from importlib import resources

    known = read_facts((resources.files("villa.data.scans") / "things.yaml").read_text("utf-8"))
    assert len(known) == YCB
    used = {name: facts for name, facts in known.items() if facts.kind}
    assert set(known) - set(used) == {
        "a_marbles", "c_toy_airplane", "d_toy_airplane", "e_toy_airplane", "skillet_lid",
    }  # fmt: skip
    for facts in used.values():
        assert facts.colour is not None
        assert facts.also is not None
        assert facts.colour not in facts.also
        assert facts.colour or len(facts.also) > 1  # what has no clear colour has several
        assert set(facts.also) <= set(COLOURS)
        assert KIND[facts.kind].size_m is not None
        assert not set(facts.nouns) & set(KIND[facts.kind].nouns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mug: {kind: mug, color: red}", "'mug' has a field 'color'"),
        ("mug: {kind: spork}", "'mug' has kind 'spork'"),
        ("mug: {}", "'mug' has kind None"),
        ("mug: {kind: mug, colour: crimson}", "'mug' has colour 'crimson'"),
        ("mug: {kind: mug, also: [teal]}", "'mug' has colour 'teal'"),
    ],
)
def test_a_table_that_contradicts_the_vocabulary_is_refused(text: str, message: str) -> None:
    with pytest.raises(ScanError, match=message):
        read_facts(text)


def test_every_kind_is_read_back_from_a_file_that_is_named_for_it() -> None:
    for kind in KIND:
        assert kind_of_name(kind.replace(" ", "_")) == kind


def test_a_box_comes_to_rest_on_its_sides_and_never_on_its_head(tmp_path: Path) -> None:
    write_box_scan(tmp_path / "mug")
    scan = read_scan(find_scans(tmp_path)[0])
    resting = Resting(scan)
    rng = np.random.default_rng(0)
    poses = [resting.draw(rng) for _ in range(200)]
    for pose in poses:
        assert pose @ pose.T == pytest.approx(np.eye(3), abs=1e-9)
        assert np.linalg.det(pose) == pytest.approx(1.0)
        heights = (scan.vertices @ pose.T)[:, 2]
        assert (heights < heights.min() + 1e-4).sum() >= 4  # it lies on a whole side
        assert pose[2, 2] > -0.5
    standing = np.mean([pose[2, 2] > 0.99 for pose in poses])
    assert 0.6 < standing < 0.95
    assert any(abs(pose[2, 2]) < 0.01 for pose in poses)


def test_a_ball_comes_to_rest_in_any_way(tmp_path: Path) -> None:
    """Written as a mesh with a single texture coordinate."""
    rng = np.random.default_rng(1)
    points = rng.normal(size=(400, 3))
    points *= 0.03 / np.linalg.norm(points, axis=1, keepdims=True)
    from scipy.spatial import ConvexHull

    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points]
    lines += ["vt 0.5 0.5", *(f"f {a + 1}/1 {b + 1}/1 {c + 1}/1" for a, b, c in ConvexHull(points).simplices)]
    (tmp_path / "ball").mkdir()
    (tmp_path / "ball" / "ball.obj").write_text("\n".join(lines))
    cv2.imwrite(str(tmp_path / "ball" / "ball.png"), np.full((4, 4, 3), 90, np.uint8))
    resting = Resting(read_scan(find_scans(tmp_path)[0]))
    turned = [resting.draw(rng)[2, 2] for _ in range(120)]
    assert len({round(value, 2) for value in turned}) > 10
