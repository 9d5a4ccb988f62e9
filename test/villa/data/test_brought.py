"""What a user brings to rendered scenes is in them, with the facts and masks of it; without it nothing changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("villa.data.scenes.physics", exc_type=RuntimeError)  # its RenderError

from rendering import SMALL, needs_rendering
from small_scans import write_box_scan
from typer.testing import CliRunner

from villa.data.brought import Brought, BroughtError, Folders, load
from villa.data.build import build, make_clip
from villa.data.clips import ClipReader, list_clips
from villa.data.laid_hands import choose_hand, lay_hand
from villa.data.language.naming import FrameWords
from villa.data.language.requests import sample_requests
from villa.data.scenes import procedural
from villa.data.scenes.arm import facing
from villa.data.scenes.hand import HAND
from villa.data.scenes.motion import Motion
from villa.data.scenes.render import RenderedFrame, render
from villa.data.scenes.scene import SceneConfig, compose
from villa.data.splits import SPLITS
from villa_ros.cli.main import app

pytestmark = pytest.mark.render

TRAIN = SPLITS["train"]
SKIN, TILE = (230, 0, 230), (10, 200, 180)
WITH_HANDS = SceneConfig(width=160, height=120, frames=8, hands=1.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    needs_rendering()
    root = tmp_path_factory.mktemp("brought")
    write_box_scan(root / "scans" / "003_cracker_box", (0.06, 0.16, 0.21))
    write_box_scan(root / "scans" / "my_red_sponge", (0.1, 0.07, 0.03), (210, 30, 30))
    for name in ("hands", "surfaces"):
        (root / name).mkdir()
    hand = np.zeros((90, 50, 4), np.uint8)
    cv2.ellipse(hand, (25, 45), (22, 43), 0, 0, 360, (*SKIN[::-1], 255), -1)
    cv2.imwrite(str(root / "hands" / "one.png"), hand)
    cv2.imwrite(str(root / "surfaces" / "paint.png"), np.full((96, 96, 3), TILE[::-1], np.uint8))
    return Folders(root / "scans", root / "surfaces", root / "hands")


@pytest.fixture(scope="module")
def brought(folders: Folders) -> Brought:
    return load(folders)


@pytest.fixture(scope="module")
def clips(brought: Brought):
    return [make_clip(TRAIN, seed, WITH_HANDS, (), (), True, brought) for seed in range(8)]


def test_nothing_brought_changes_nothing(brought: Brought) -> None:
    plain = make_clip(TRAIN, 5, WITH_HANDS, (), (), True)
    again = make_clip(TRAIN, 5, WITH_HANDS, (), (), True, Brought())
    assert plain[0] == again[0]
    for one, other in zip(plain[1:], again[1:], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    with_it = make_clip(TRAIN, 5, WITH_HANDS, (), (), True, brought)
    assert with_it[0] != plain[0]
    assert {thing.source for thing in plain[0].objects} == {"procedural"}


def test_scans_and_surfaces_are_in_the_scenes(clips) -> None:
    things = [thing for facts, *_ in clips for thing in facts.objects]
    found = {thing.name for thing in things if thing.source == "scans"}
    assert found == {"red cracker box", "red sponge"}
    for thing in things:
        if thing.kind == "cracker box":
            assert thing.names[0] == "cracker box"
            assert "yellow" in thing.colours
    assert np.mean([facts.table == "photographed" for facts, *_ in clips]) > 0.4
    painted = [
        np.abs(frames[0][-12:].reshape(-1, 3).mean(axis=0) / frames[0][-12:].mean() - np.array(TILE) / 130).max() < 0.4
        for facts, frames, *_ in clips
        if facts.table == "photographed"
    ]
    assert any(painted)


def test_hands_have_masks_and_cover_what_is_behind_them(clips) -> None:
    seen = 0
    for facts, frames, masks, depths in clips:
        hands = [thing for thing in facts.objects if thing.kind in ("hand", "arm")]
        assert [thing.kind for thing in hands] in ([], ["hand", "arm"])
        ids = [thing.id for thing in facts.objects]
        assert ids == sorted(set(ids))  # with gaps where no frame shows a thing
        assert ids[0] >= 1
        for views, mask, frame, depth in zip(facts.frames, masks, frames, depths, strict=True):
            assert [view.id for view in views] == ids
            assert depth.shape == mask.shape
            for view in views:
                assert view.visible_px == (mask == view.id).sum() <= view.amodal_px
            for thing in hands[:1]:
                inside = cv2.erode((mask == thing.id).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
                if inside.sum() > 40:
                    red, green, blue = frame[inside].astype(float).mean(axis=0)
                    assert min(red, blue) > 1.5 * green  # as the picture of the hand is
                    seen += 1
    assert seen > 3


def test_requests_about_such_a_clip_are_about_what_is_there(clips) -> None:
    for facts, *_ in clips:
        words = FrameWords(facts, 0)
        assert not {thing.facts.kind for thing in words.things} & {"hand", "arm"}
        known = {thing.id for thing in facts.objects}
        for sample in sample_requests(facts, 0, np.random.default_rng(facts.seed), 6):
            assert set(sample.targets) <= known


def test_what_is_nearer_than_the_hand_stays_before_it(brought: Brought) -> None:
    """The same palm over a scene that is far behind it, and over one that is close to the camera on the left."""
    rng = np.random.default_rng(0)
    scene = compose([procedural.make("mug", rng)], replace(SMALL, hands=0.0), rng, hands_in_scene=False)
    motion = Motion("pushed", 0, 0, 3, np.zeros((4, 3)), facing(np.array([0.0, 1.0])), tool=np.zeros((4, 3)))
    scene = replace(scene, motions=(motion,))
    assert motion.body == HAND
    hand = choose_hand(scene, brought.hands, rng)
    assert hand is not None
    shape = (SMALL.height, SMALL.width)
    far = np.full(shape, 5.0, np.float32)
    blank = np.full((*shape, 3), 90, np.uint8)
    nothing = np.zeros(shape, np.uint8)
    palm = np.array([0.0, 0.0, 0.05])
    frame = RenderedFrame(blank, nothing, far, (0,), np.zeros((1, 3)), np.ones(1), frozenset(), palm=palm)
    free, views = lay_hand(hand, scene, frame, 0)
    assert views[0].visible_px > 100
    assert views[0].visible_px >= 0.95 * views[0].amodal_px
    assert free.depth is not None
    covered = free.instance == hand.identities[0]
    assert (free.depth[covered] < 2.0).all()
    assert (free.depth[free.instance == 0] == 5.0).all()
    middle = int(np.nonzero(covered.any(axis=0))[0].mean())
    half = far.copy()
    half[:, :middle] = 0.2
    cut, views = lay_hand(hand, scene, replace(frame, depth=half), 0)
    assert not (cut.instance[:, :middle] > 0).any()
    assert np.array_equal(cut.instance[:, middle:], free.instance[:, middle:])
    assert np.array_equal(cut.rgb[:, :middle], blank[:, :middle])
    assert views[0].occluded == pytest.approx(0.5, abs=0.2)
    waiting = replace(frame, palm=np.array([0.0, 0.0, -40.0]))
    assert not lay_hand(hand, scene, waiting, 0)[0].instance.any()


def test_a_hand_without_a_body_moves_as_one_with_a_body() -> None:
    """The motion and the physics are the same; only what is drawn is not."""
    needs_rendering()
    for seed in range(40):
        scenes = []
        for shown in (True, False):
            rng = np.random.default_rng(seed)
            things = [procedural.make(kind, rng) for kind in ("mug", "can", "block")]
            scenes.append(compose(things, WITH_HANDS, rng, hands_in_scene=shown))
        if any(motion.body == HAND for motion in scenes[0].motions):
            break
    with_body, without = (list(render(scene, WITH_HANDS)) for scene in scenes)
    assert [frame.palm for frame in with_body] == [pytest.approx(frame.palm, abs=1e-9) for frame in without]
    assert scenes[1].model.ngeom < scenes[0].model.ngeom
    assert with_body[0].position == pytest.approx(without[0].position, abs=1e-9)


def test_the_same_seed_gives_the_same_files_with_two_workers(folders: Folders, tmp_path: Path) -> None:
    config = replace(SMALL, hands=1.0)
    for name, workers in (("one", 1), ("two", 2)):
        build(tmp_path / name, "train", 2, 3, workers, config, (), quiet=True, folders=folders)
    one, two = ([ClipReader(path) for path in list_clips(tmp_path / name / "train")] for name in ("one", "two"))
    assert [clip.facts for clip in one] == [clip.facts for clip in two]
    assert all(np.array_equal(a.rgb(0), b.rgb(0)) for a, b in zip(one, two, strict=True))


def test_the_fixed_splits_and_folders_of_nothing_are_refused(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(BroughtError, match="split 'val' is part of the benchmark"):
        build(tmp_path, "val", 1, config=WITH_HANDS, assets=(), quiet=True, folders=folders)
    with pytest.raises(BroughtError, match=r"give a share, --hands 0\.5"):
        build(tmp_path, "train", 1, config=SMALL, assets=(), quiet=True, folders=folders)
    with pytest.raises(BroughtError, match="holds no surfaces"):
        load(Folders(surfaces=tmp_path))
    with pytest.raises(BroughtError, match="holds no hands"):
        load(Folders(hands=folders.surfaces))
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_the_folders(folders: Folders, tmp_path: Path) -> None:
    given = ["data", "build", "--out", str(tmp_path / "out"), "--count", "1", "--frames", "2"]
    given += ["--hands", "1", "--hand-pictures", str(folders.hands)]
    given += ["--scans", str(folders.scans), "--surfaces", str(folders.surfaces)]
    ended = CliRunner().invoke(app, given)
    assert ended.exit_code == 0, ended.output
    assert "1 clips rendered" in ended.output
    ended = CliRunner().invoke(app, [*given, "--split", "test-seen"])
    assert ended.exit_code == 1
    assert "part of the benchmark" in ended.output
