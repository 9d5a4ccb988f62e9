"""Composites: what is drawn is where the facts say, and the facts are those of the pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from villa.data.clips import ClipReader, list_clips
from villa.data.coco_folder import CocoFolder
from villa.data.composites import story as stories
from villa.data.composites.build import CompositeError, Pictures, Sources, build, compose
from villa.data.composites.colours import colouring, named
from villa.data.composites.cutouts import kind_of_name, of_files, of_photos, read_rgba
from villa.data.composites.props import make, shrunk
from villa.data.composites.surfaces import Surfaces, ground, tiles_of
from villa.data.language.motion_events import happenings
from villa.data.language.naming import FrameWords
from villa.data.language.requests import sample_requests
from villa.data.language.vocabulary import COLOURS, KIND, KINDS, PEOPLE
from villa_ros.cli.main import app

RED, BLUE, SKIN = (210, 20, 25), (30, 60, 200), (200, 150, 120)


def picture(path: Path, rgb: tuple[int, int, int], size: tuple[int, int] = (80, 60)) -> None:
    """A filled ellipse with alpha."""
    image = np.zeros((size[1], size[0], 4), np.uint8)
    image[..., :3] = rgb[::-1]
    middle = (size[0] // 2, size[1] // 2)
    cv2.ellipse(image, middle, (middle[0] - 2, middle[1] - 2), 0, 0, 360, (*rgb[::-1], 255), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Sources:
    root = tmp_path_factory.mktemp("pictures")
    for name, rgb in (("red_mug_1", RED), ("blue_mug_2", BLUE), ("apple", RED), ("fork", (128, 128, 130))):
        picture(root / "things" / f"{name}.png", rgb)
    picture(root / "things" / "unheard_of.png", RED)
    for number in range(3):
        picture(root / "hands" / f"hand_{number}.png", SKIN, (50, 90))
    sheet = np.full((176, 304, 3), 255, np.uint8)
    sheet[16:144, 16:144], sheet[16:144, 160:288] = (60, 90, 120), (90, 140, 60)
    (root / "surfaces").mkdir()
    cv2.imwrite(str(root / "surfaces" / "wood.png"), sheet)
    return Sources(None, (root / "things",), root / "hands", root / "surfaces")


@pytest.fixture(scope="module")
def pictures(sources) -> Pictures:
    return Pictures(sources)


@pytest.fixture(scope="module")
def clips(pictures):
    return [compose(pictures, seed) for seed in range(12)]


def test_a_kind_is_read_from_the_name_of_a_file():
    assert kind_of_name("grocery_apple_golden_delicious") == "apple"
    assert kind_of_name("grocery_juice_tropicana_mandarin_morning") == "juice"
    assert kind_of_name("pepper_green_bell_pepper_3") == "bell pepper"
    assert kind_of_name("melon_watermelon") == "watermelon"
    assert kind_of_name("00017_wine_glass") == "wine glass"
    assert kind_of_name("satsumas") == "mandarin"
    assert kind_of_name("something") is None


def test_pictures_with_alpha_are_cropped_to_what_they_show(sources, tmp_path):
    found = list(of_files(sources.cutouts[0]))
    assert sorted(cutout.kind for cutout in found) == ["apple", "fork", "mug", "mug"]
    assert all(cutout.rgba[..., 3].max(axis=0).min() > 127 for cutout in found)
    cv2.imwrite(str(tmp_path / "no_alpha.png"), np.zeros((5, 5, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((5, 5, 4), np.uint8))
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    assert [read_rgba(path) for path in sorted(tmp_path.iterdir())] == [None, None, None]


def test_what_is_whole_on_a_photo_is_cut_out(tmp_path):
    image = np.full((120, 200, 3), 90, np.uint8)
    boxes = [(20, 20, 40, 60), (100, 30, 50, 50), (0, 10, 40, 50), (70, 100, 8, 8), (150, 20, 45, 80)]
    names = ["mug", "apple", "mug", "mug", "person"]
    annotations = []
    for (x, y, w, h), name in zip(boxes, names, strict=True):
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        annotations.append(
            {"image_id": 1, "category_id": name, "segmentation": [polygon], "bbox": [x, y, w, h], "iscrowd": 0}
        )
    cv2.imwrite(str(tmp_path / "one.png"), image)
    data = {
        "images": [{"id": 1, "file_name": "one.png", "width": 200, "height": 120}],
        "annotations": annotations,
        "categories": [{"id": name, "name": name} for name in set(names)],
    }
    (tmp_path / "instances.json").write_text(json.dumps(data))
    # At the edge, too small and a person: none of these.
    assert [cutout.kind for cutout in of_photos(CocoFolder(tmp_path))] == ["mug", "apple"]
    annotations[1]["segmentation"] = [[25, 30, 58, 30, 58, 75, 25, 75]]
    annotations[0]["segmentation"] = [[20, 20, 60, 20, 60, 26, 26, 26, 26, 74, 60, 74, 60, 80, 20, 80]]
    annotations[1]["bbox"] = [25, 30, 33, 45]
    (tmp_path / "instances.json").write_text(json.dumps(data))
    assert [cutout.kind for cutout in of_photos(CocoFolder(tmp_path))] == ["apple"]  # the mug is behind it


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((200, 20, 25), "red"), ((250, 140, 20), "orange"), ((245, 225, 30), "yellow"), ((40, 140, 50), "green"),
        ((30, 70, 200), "blue"), ((120, 40, 170), "purple"), ((245, 150, 190), "pink"), ((110, 70, 40), "brown"),
        ((15, 15, 17), "black"), ((250, 250, 248), "white"), ((120, 121, 122), "gray"),
    ],
)  # fmt: skip
def test_colours_have_the_names_that_people_give_them(rgb, name):
    assert COLOURS[int(named(np.array([rgb], np.uint8))[0])] == name
    whole = np.zeros((10, 10, 4), np.uint8)
    whole[:] = (*rgb, 255)
    assert colouring(whole).main == name


def test_what_has_two_colours_has_none_that_people_agree_on():
    half = np.zeros((10, 10, 4), np.uint8)
    half[:, :5], half[:, 5:] = (*RED, 255), (*BLUE, 255)
    found = colouring(half)
    assert found.main == ""
    assert {"red", "blue"} <= set(found.shown)
    assert colouring(np.zeros((10, 10, 4), np.uint8)).shown == COLOURS


def test_sheets_are_taken_apart_and_pictures_are_not(sources, tmp_path):
    sheet = cv2.imread(str(sources.surfaces / "wood.png"))
    assert [tile.shape for tile in tiles_of(sheet)] == [(114, 114, 3)] * 2
    assert all(tile.max() < 200 for tile in tiles_of(sheet))
    assert [tile.shape for tile in tiles_of(np.full((90, 150, 3), 80, np.uint8))] == [(90, 90, 3)]
    assert [tile.shape for tile in tiles_of(np.full((90, 150, 3), 255, np.uint8))] == [(90, 90, 3)]
    assert Surfaces(None).draw(np.random.default_rng(0)).shape[2] == 3


def test_a_plane_ends_at_the_horizon():
    texture = np.full((64, 64, 3), 200, np.uint8)
    level = np.array([[100.0, 80.0, 0.0], [0.0, 60.0, 100.0], [0.0, 1.0, 0.0]])  # straight on, at one metre's height
    _, inside = ground(texture, level, (160, 120), 0.5, 1e6)
    assert not inside[:55].any()
    assert inside[70:].all()


def test_a_shrunk_picture_keeps_its_colour_up_to_the_edge(sources):
    rgba = read_rgba(sources.cutouts[0] / "apple.png").astype(np.float32)
    small, left = shrunk(rgba, 0.25)
    assert left == 1.0
    assert small.shape[0] == round(rgba.shape[0] * 0.25)
    assert np.abs(small[small[..., 3] > 20][:, :3] - RED).max() < 3
    assert shrunk(rgba, 0.9)[0] is rgba


def test_things_keep_apart_and_have_the_size_of_their_kind(pictures):
    rng = np.random.default_rng(0)
    chosen = [pictures.by_kind["mug"][0]] * 8
    props = stories.place([make(one, (0.09, 0.13), 4, rng) for one in chosen], rng)
    assert len(props) > 3
    assert all(0.07 < max(prop.width_m, prop.height_m) < 0.17 for prop in props)
    for i, one in enumerate(props):
        for other in props[:i]:
            gap = np.linalg.norm(one.path[0] - other.path[0])
            assert gap > 0.44 * (one.radius + other.radius)
    assert make(pictures.by_kind["fork"][0], (0.2, 0.2), 4, rng).lies
    assert not props[0].lies


def test_the_same_seed_gives_the_same_clip(pictures, clips):
    facts, frames, masks = compose(pictures, 3)
    assert facts == clips[3][0]
    assert all(np.array_equal(a, b) for a, b in zip(frames, clips[3][1], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(masks, clips[3][2], strict=True))
    assert compose(pictures, 4)[0] != facts


def test_facts_say_what_the_masks_show(clips):
    for facts, frames, masks in clips:
        assert len(frames) == len(masks) == len(facts.frames) == 16
        assert [thing.id for thing in facts.objects] == list(range(1, len(facts.objects) + 1))
        for views, mask in zip(facts.frames, masks, strict=True):
            assert set(np.unique(mask)) <= {0, *(thing.id for thing in facts.objects)}
            for view in views:
                inside = mask == view.id
                assert view.visible_px == inside.sum() <= view.amodal_px
                if view.visible_px:
                    x, y, w, h = view.bbox
                    assert inside[y : y + h, x : x + w].sum() == view.visible_px
        assert {thing.kind for thing in facts.objects} <= {"mug", "apple", "fork", "hand", "arm"}


def test_what_is_seen_has_the_colour_that_the_facts_say(clips):
    shares = []
    for facts, frames, masks in clips:
        for thing in facts.objects:
            if thing.colour in ("red", "blue"):
                own = frames[0][masks[0] == thing.id].astype(int)
                if len(own) > 60:
                    first, second = (0, 2) if thing.colour == "red" else (2, 0)
                    shares.append(float((own[:, first] > own[:, second] + 25).mean()))
    assert len(shares) > 10
    assert np.mean(shares) > 0.97


def test_where_a_thing_is_in_metres_is_where_it_is_seen(clips):
    """Its middle, projected by the camera of the facts, lies in its box."""
    within = []
    for facts, _, _ in clips:
        fx, fy, cx, cy = facts.intrinsics
        for frame, views in enumerate(facts.frames):
            rotation = np.array(facts.camera_rotation[frame]).reshape(3, 3)
            for view, thing in zip(views, facts.objects, strict=True):
                if thing.kind in PEOPLE or view.visible_px < 200 or view.occluded > 0.05:
                    continue
                local = (np.array(view.position_m) - np.array(facts.camera_position_m[frame])) @ rotation
                x, y = cx - fx * local[0] / local[2], cy + fy * local[1] / local[2]
                left, top, wide, tall = view.bbox
                within.append(left - 3 <= x <= left + wide + 3 and top - 3 <= y <= top + tall + 3)
    assert len(within) > 200
    assert np.mean(within) > 0.97


def test_hands_cover_and_are_asked_for_by_their_own_name_alone(pictures):
    hands = asked = 0
    for seed in range(40, 54):
        facts, _, masks = compose(pictures, seed)
        ids = {thing.id for thing in facts.objects if thing.kind in PEOPLE}
        hands += any(bool(np.isin(mask, list(ids)).any()) for mask in masks)
        frame = FrameWords(facts, 15)
        assert not {thing.id for thing in frame.things} & ids
        assert not {thing.id for thing in frame.said("object")[0]} & ids
        assert not happenings(facts, 0, 15).moved & ids
        samples = sample_requests(facts, 15, np.random.default_rng(seed), 12, known=KINDS)
        for sample in samples:
            if set(sample.targets) & ids:
                asked += 1
                assert any(noun in sample.plain for kind in PEOPLE for noun in KIND[kind].nouns)
    assert hands > 4
    assert asked > 0


def test_something_happens_in_most_clips(clips, pictures):
    moved = [bool(happenings(facts, 0, 15).moves) for facts, _, _ in clips]
    assert 0.3 < np.mean(moved) < 1.0
    kinds = {kind for seed in range(40) for kind, *_ in story_of(pictures, seed)[0].events}
    assert {"slid", "carried", "dropped", "arrived", "left"} <= kinds


def test_a_drop_is_the_fall_whether_a_hand_holds_on_before_it_or_not(pictures):
    drops = 0
    for seed in range(200):
        story, props = story_of(pictures, seed)
        for kind, index, first, last in story.events:
            if kind == "dropped":
                height = props[index].path[:, 2]
                assert (np.diff(height[first : last + 1]) < 0).all()
                assert (np.diff(height[last:]) == 0).all()
                drops += last > first
    assert drops > 10


def story_of(pictures, seed):
    rng = np.random.default_rng(seed)
    props = stories.place([make(one, (0.1, 0.1), 16, rng) for one in pictures.choose(6, rng)], rng)
    story = stories.plan(props, 16, 3, rng)
    assert all(np.isfinite(prop.path).all() for prop in props)
    return story, props


def test_clips_are_written_once_and_read_as_any_other(sources, tmp_path):
    report = build(tmp_path, sources, 2, 5, quiet=True)
    assert (report.made, report.kept, report.cutouts) == (2, 0, 4)
    assert [path.name for path in list_clips(report.folder)] == ["0000005", "0000006"]
    assert build(tmp_path, sources, 3, 5, quiet=True).kept == 2
    clip = ClipReader(report.folder / "0000005")
    assert clip.rgb(0).shape == (320, 416, 3)
    assert clip.mask(3).shape == (320, 416)


def test_without_pictures_of_known_things_there_is_no_clip(sources, tmp_path):
    picture(tmp_path / "things" / "unheard_of.png", RED)
    with pytest.raises(CompositeError, match="no cut-outs of a known kind"):
        build(tmp_path / "out", replace(sources, cutouts=(tmp_path / "things",)), 1, quiet=True)


def test_the_command_makes_clips(sources, tmp_path):
    def run(out, things):
        command = ["data", "composites", "--out", str(tmp_path / out), "--count", "1", "--cutouts", str(things)]
        return CliRunner().invoke(app, command)

    result = run("a", sources.cutouts[0])
    assert result.exit_code == 0, result.output
    assert "1 clips made of 4 pictures of things" in " ".join(result.output.split())
    (tmp_path / "empty").mkdir()
    result = run("b", tmp_path / "empty")
    assert result.exit_code != 0
    assert "no cut-outs of a known kind" in " ".join(result.output.split())
