"""Pictures of scans show the scan: its colours where the light is, its outline as alpha, and its kind by their name."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from rendering import needs_rendering
from small_scans import write_box_scan
from typer.testing import CliRunner

from villa.data.composites.build import Pictures, Sources, compose
from villa.data.composites.cutouts import of_files
from villa.data.scans.cutouts import build, draw_light
from villa.data.scans.reading import ScanError, find_scans, read_scan
from villa.data.scans.studio import Light, Shot, studio
from villa_ros.cli.main import app

pytestmark = pytest.mark.render

PLAIN = Light(1.0, 0.0, 0.0, np.array([0.0, 0.0, 1.0]), 0.1, np.ones(3), np.ones(3), 1.0)
FRONT = Shot(np.eye(3), np.radians(35), 0.0, 0.6)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_rendering()
    folder = tmp_path_factory.mktemp("scans")
    write_box_scan(folder / "003_cracker_box")
    write_box_scan(folder / "my_spoon", (0.16, 0.03, 0.01))
    write_box_scan(folder / "whatsit")
    return folder


@pytest.fixture(scope="module")
def pictures(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pictures")
    build(scans, out, views=6, size_px=64)
    return out


def test_a_side_has_its_colour_where_it_is_seen(scans: Path) -> None:
    """The camera stands before the side -y and above the thing."""
    with studio(read_scan(find_scans(scans)[0]), 128) as room:
        rgba = room.take(FRONT, PLAIN)
        assert rgba is not None
        height, width = rgba.shape[:2]
        assert max(height, width) == pytest.approx(128, abs=8)
        assert np.abs(rgba[int(0.08 * height), width // 2, :3].astype(int) - (250, 250, 250)).max() < 12
        assert np.abs(rgba[int(0.6 * height), width // 2, :3].astype(int) - (40, 70, 200)).max() < 12
        left = room.take(replace(FRONT, pose=np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])), PLAIN)
        assert left is not None  # a quarter turn brings the side +x before it
        assert np.abs(left[int(0.6 * len(left)), left.shape[1] // 2, :3].astype(int) - (40, 150, 60)).max() < 12


def test_alpha_is_whole_inside_and_soft_at_the_edge(pictures: Path) -> None:
    for cutout in of_files(pictures):
        alpha = cutout.rgba[..., 3]
        assert (alpha > 250).mean() > 0.2
        between = (alpha > 10) & (alpha < 245)
        assert 0 < between.mean() < 0.2
        assert len(np.unique(alpha[between])) > 5
        # The background has not come in: the lower half of the texture, and black.
        edge = cutout.rgba[between][:, :3].astype(int)
        assert not ((edge[:, 0] > 180) & (edge[:, 1] < 60) & (edge[:, 2] > 180)).any()


def test_light_is_softer_from_a_larger_lamp_and_never_gone(scans: Path) -> None:
    rng = np.random.default_rng(0)
    with studio(read_scan(find_scans(scans)[0]), 64) as room:
        for _ in range(6):
            rgba = room.take(FRONT, draw_light(rng))
            assert rgba is not None
            top = rgba[int(0.08 * len(rgba)), rgba.shape[1] // 2, :3]
            assert top.min() > 120  # it is white
            assert np.ptp(top.astype(int)) < 50


def test_pictures_are_named_so_that_composites_know_their_kind(scans: Path, pictures: Path) -> None:
    found = list(of_files(pictures))
    assert sorted({cutout.kind for cutout in found}) == ["cracker box", "spoon"]
    keys = {cutout.key for cutout in found}
    assert keys == {f"{pictures.name}/003_cracker_box/cracker_box", f"{pictures.name}/my_spoon/spoon"}
    assert len(found) == 12
    facts, frames, _ = compose(Pictures(Sources(cutouts=(pictures,))), 0)
    assert {thing.kind for thing in facts.objects} <= {"cracker box", "spoon"}
    assert len(frames) == 16


def test_what_lies_is_seen_from_above_and_what_stands_from_all_heights(pictures: Path) -> None:
    """Seen from above, the flat side of a spoon of 3 by 1 cm is far more than its edge."""
    flat = [cutout.rgba[..., :3][cutout.rgba[..., 3] > 250] for cutout in of_files(pictures) if cutout.kind == "spoon"]
    assert all(((pixels.min(axis=1) > 100) | (pixels.max(axis=1) < 60)).mean() > 0.4 for pixels in flat)


def test_a_picture_follows_from_seed_scan_and_number_and_is_made_once(
    scans: Path, pictures: Path, tmp_path: Path
) -> None:
    one = sorted(pictures.rglob("*.webp"))
    again = build(scans, tmp_path, views=2, size_px=64)
    assert (again.made, again.kept, again.scans, list(again.skipped)) == (4, 0, 2, ["whatsit"])
    name = Path("my_spoon") / "spoon@001.webp"
    assert (tmp_path / name).read_bytes() == (pictures / name).read_bytes()
    before = (tmp_path / name).stat().st_mtime_ns
    more = build(scans, tmp_path, views=3, size_px=64)
    assert (more.made, more.kept) == (2, 4)
    assert (tmp_path / name).stat().st_mtime_ns == before
    other = build(scans, tmp_path / "other", views=1, size_px=64, seed=1)
    assert other.made == 2
    assert (tmp_path / "other" / "my_spoon" / "spoon@000.webp").read_bytes() != one[6].read_bytes()


def test_a_view_in_which_a_scan_falls_to_pieces_is_left_out(tmp_path: Path) -> None:
    """Two boxes far apart, as a bottle whose clear neck the scanner did not see."""
    needs_rendering()
    folder = write_box_scan(tmp_path / "scans" / "mug")
    lines = gzip.decompress((folder / "mesh.obj.gz").read_bytes()).decode().splitlines()
    moved = []
    for line in lines:
        word, *rest = line.split()
        if word == "v":
            moved.append(f"v {rest[0]} {rest[1]} {float(rest[2]) + 0.3:.5f}")
        elif word == "f":
            moved.append("f " + " ".join(f"{int(c.split('/')[0]) + 24}/{c.split('/')[1]}" for c in rest))
    (folder / "mesh.obj.gz").write_bytes(
        gzip.compress("\n".join([*lines[:24], *moved[:24], *lines[24:], *moved[24:]]).encode())
    )
    report = build(tmp_path / "scans", tmp_path / "out", views=2, size_px=48)
    assert report.made == 0
    assert list((tmp_path / "out").rglob("*.webp")) == []


def test_wrong_numbers_and_folders_are_refused(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="views 0: wanted at least 1"):
        build(scans, tmp_path, views=0)
    with pytest.raises(ValueError, match="size 8 px: wanted 32 to 1024"):
        build(scans, tmp_path, size_px=8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match="holds no scan"):
        build(tmp_path / "empty", tmp_path)


def test_the_command_says_what_it_made_and_what_it_left_out(scans: Path, tmp_path: Path) -> None:
    given = ["data", "cutouts", "--scans", str(scans), "--out", str(tmp_path / "out"), "--views", "1", "--size", "48"]
    ended = CliRunner().invoke(app, given)
    assert ended.exit_code == 0, ended.output
    assert "skipped whatsit: no word of its name is a kind of thing" in ended.output
    assert "2 pictures of 2 scans made, 0 kept" in ended.output
    picture = cv2.imread(str(tmp_path / "out" / "003_cracker_box" / "cracker_box@000.webp"), cv2.IMREAD_UNCHANGED)
    assert picture.shape[2] == 4
    (tmp_path / "none").mkdir()
    ended = CliRunner().invoke(app, ["data", "cutouts", "--scans", str(tmp_path / "none"), "--out", str(tmp_path)])
    assert ended.exit_code == 1
    assert "holds no scan" in ended.output
