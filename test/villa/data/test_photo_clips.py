"""Photos as clips: things keep their outlines and names, and only what a source labels can be asked for in vain."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from tiny import tiny_model

from villa.data.clips import ClipFacts, ClipReader, list_clips
from villa.data.language.describe import check
from villa.data.language.naming import FrameWords
from villa.data.language.requests import REQUEST_KINDS, sample_requests
from villa.data.language.vocabulary import KINDS, kind_named
from villa.data.photo_clips import PhotoClipReport, build
from villa.data.referring_videos import Expressions
from villa.training.batch import UNCLEAR
from villa.training.batches import Feed, FeedConfig

WIDTH, HEIGHT = 200, 150
NAMES = ("cup", "spoon", "cell phone", "gizmo")
COLOURS = ((210, 40, 40), (40, 190, 60), (60, 70, 220), (200, 200, 60))
BOXES = ((20, 40, 50, 60), (90, 50, 40, 70), (140, 30, 40, 40), (30, 110, 60, 30))


def _photos(folder, pictures: list[tuple[str, tuple[int, ...], bool]]):
    """Pictures of (source, things by number, with a crowd)."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, (source, things, crowd) in enumerate(pictures):
        image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        for thing in things:
            x, y, w, h = BOXES[thing]
            image[y : y + h, x : x + w] = COLOURS[thing][::-1]
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            entry = {"image_id": number, "category_id": thing, "segmentation": [outline], "bbox": [x, y, w, h]}
            annotations.append(entry | ({"iscrowd": 1} if crowd else {}))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
        images.append(
            {
                "id": number,
                "file_name": f"{number}.png",
                "source": source,
                "split": "train",
                "width": WIDTH,
                "height": HEIGHT,
            }
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    (folder / "instances.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Desks with a cup and a spoon, with a phone, with something unheard of; a bench with a spoon; a crowd; nothing."""
    folder = tmp_path_factory.mktemp("photos")
    whole = [("desk", (0, 1), False), ("desk", (2,), False), ("bench", (1,), False)]
    root = _photos(folder / "data", [*whole, ("desk", (0,), True), ("desk", (3,), False), ("desk", (), False)])
    return root, build(folder / "clips", root, views=2, quiet=True), folder / "clips"


def _clips(made) -> list[ClipReader]:
    return [ClipReader(path) for path in list_clips(made[2] / "train")]


def test_every_photo_that_can_be_one_becomes_clips_once(made):
    root, report, folder = made
    assert report == PhotoClipReport(folder / "train", made=8, kept=0, passed_over=2)
    again = build(folder, root, views=2, quiet=True)
    assert (again.made, again.kept) == (0, 8)
    assert len(list_clips(folder / "train")) == 8


def test_things_keep_their_outlines_names_and_number_through_the_clip(made):
    rgb = {"cup": 0, "spoon": 1, "cell phone": 2, "gizmo": 0}
    shares = []
    for clip in _clips(made):
        for index in range(len(clip)):
            image, mask = clip.rgb(index).astype(int), clip.mask(index)
            for thing, view in zip(clip.facts.objects, clip.facts.frames[index], strict=True):
                inside = cv2.erode((mask == thing.id).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
                assert view.visible_px == int((mask == thing.id).sum())
                if inside.sum() > 50:
                    own, channel = image[inside], rgb[thing.kind]
                    others = own[:, 2] if thing.kind == "gizmo" else np.delete(own, channel, axis=1).max(axis=1)
                    shares.append(float((own[:, channel] > others + 40).mean()))
    assert len(shares) > 20
    assert np.mean(shares) > 0.97


@pytest.mark.parametrize(("width", "height"), [(120, 200), (200, 120)])
def test_a_clip_has_the_shape_of_what_it_shows(tmp_path, width, height):
    """A circle stays one, in a photo of whatever shape."""
    root = _photos(tmp_path / "data", [("desk", (), False)])
    image = np.full((height, width, 3), 120, np.uint8)
    cv2.circle(image, (60, 60), 30, (40, 40, 210), -1)
    cv2.imwrite(str(root / "images" / "0.png"), image)
    angle = np.linspace(0, 2 * np.pi, 40)[:-1]
    outline = np.stack((60 + 30 * np.cos(angle), 60 + 30 * np.sin(angle)), axis=1).ravel().tolist()
    data = json.loads((root / "instances.json").read_text())
    data["images"][0] |= {"width": width, "height": height}
    data["annotations"] = [{"image_id": 0, "category_id": 0, "segmentation": [outline], "bbox": [30, 30, 60, 60]}]
    (root / "instances.json").write_text(json.dumps(data))
    build(tmp_path / "clips", root, views=6, quiet=True)
    for folder in list_clips(tmp_path / "clips" / "train"):
        clip = ClipReader(folder)
        assert (clip.facts.width > clip.facts.height) == (width > height)
        assert clip.facts.width * clip.facts.height == pytest.approx(416 * 320, rel=0.01)
        assert clip.rgb(0).shape == (clip.facts.height, clip.facts.width, 3)
        mask = clip.mask(1) == 1
        if not (mask[[0, -1]].any() or mask[:, [0, -1]].any()):  # but for the camera's tilt
            assert mask.any(axis=0).sum() == pytest.approx(mask.any(axis=1).sum(), rel=0.25)


def test_the_same_seed_films_the_same_and_another_another(made, tmp_path):
    root, _, folder = made
    build(tmp_path, root, views=1, quiet=True)
    one, other = ClipReader(tmp_path / "train" / "0000000"), ClipReader(folder / "train" / "0000000")
    assert one.facts == other.facts
    assert np.array_equal(one.rgb(0), other.rgb(0))
    assert not np.array_equal(one.rgb(0), ClipReader(folder / "train" / "0000001").rgb(0))


def test_only_what_a_source_has_names_for_is_asked_for_in_vain(made):
    rng = np.random.default_rng(0)
    denied: dict[str, set[str]] = {"desk": set(), "bench": set()}
    kinds = set()
    for clip in _clips(made):
        source = "bench" if clip.facts.labelled == ("spoon",) else "desk"
        asked = sample_requests(clip.facts, 3, rng, 40, known=KINDS)
        kinds |= {one.kind for one in asked}
        denied[source] |= {_denied(one.answer) for one in asked if one.kind == "absent"}
        for one in asked:
            assert (one.kind == "absent") == (not one.targets)
    assert denied == {"desk": {"cup", "spoon", "cell phone", "gizmo"}, "bench": set()}
    assert kinds <= {"name", "several", "ambiguous", "absent", "superlative", "size"}
    assert {"name", "several", "absent"} <= kinds


def test_most_requests_are_for_what_is_there(made):
    """Though little can be asked about what has but a name, and absence always can."""
    rng = np.random.default_rng(0)
    asked = [one for clip in _clips(made) for _ in range(100) for one in sample_requests(clip.facts, 3, rng, 4)]
    assert 0.1 < np.mean([one.kind == "absent" for one in asked]) < 0.25  # a bench of spoons lacks none
    only = sample_requests(_clips(made)[0].facts, 3, rng, 4, ("absent",))
    assert [one.kind for one in only] == ["absent"] * len(only) != []


def test_people_are_asked_for_like_everything_that_is_labelled(made):
    facts = _clips(made)[0].facts
    (spoon,) = (thing for thing in facts.objects if thing.kind == "spoon")
    guest = replace(spoon, kind="person", names=("person",))
    peopled = replace(
        facts,
        objects=tuple(guest if thing is spoon else thing for thing in facts.objects),
        labelled=("cup", "person"),
    )
    named = [
        one.targets == (spoon.id,)
        for one in sample_requests(peopled, 3, np.random.default_rng(0), 200, ("name",))
        if "person" in one.plain or "cup" in one.plain or "mug" in one.plain
    ]
    assert 0.3 < np.mean(named) < 0.7


def _denied(answer: str) -> str:
    """The kind of which an answer says that there is none, in whatever words and colour."""
    words = answer.removeprefix("There is no ").removesuffix(".").split()
    return next((kind for at in range(len(words)) if (kind := kind_named(" ".join(words[at:])))), words[-1])


def test_no_request_speaks_of_things_in_general_or_of_what_cannot_be_known(made):
    rng = np.random.default_rng(1)
    for clip in _clips(made):
        assert FrameWords(clip.facts, 3).said("thing")[1] is False
        assert sample_requests(clip.facts, 3, rng, 5, ("relation", "time", "colour", "material", "use")) == []
        checked = check(clip.facts, 3, rng, KINDS)
        assert checked is None or "is not here" in checked.answer
        assert checked is None or not {"screwdriver", "apple", "robot arm"} & set(checked.plain.split())


def test_a_label_does_not_mean_every_word_for_its_kind(made):
    (cup,) = (thing for thing in _clips(made)[0].facts.objects if thing.kind == "cup")
    assert cup.names == ("cup", "mug")  # what is labelled a cup may be called a mug, but no tumbler for certain
    words = FrameWords(_clips(made)[0].facts, 3)
    assert [thing.facts.kind for thing in words.said("mug")[0]] == ["cup"]
    assert words.said("tumbler")[1] is False


def test_clips_that_know_everything_are_written_as_before(made):
    facts = _clips(made)[0].facts
    assert '"labelled":["cell phone","cup","gizmo","spoon"]' in facts.to_json()
    assert ClipFacts.from_json(facts.to_json()) == facts
    known = ClipFacts(**{**vars(facts), "labelled": ()})
    assert "labelled" not in known.to_json()
    assert ClipFacts.from_json(known.to_json()) == known


def test_training_asks_about_them(made):
    config = FeedConfig(made[2] / "train", 3, 6, 0, 64, 96, absent=2, aims=8, known=KINDS)
    for _, batch in zip(range(8), Feed(config, tiny_model().codec).endless(), strict=False):
        assert {question.kind for question in batch.questions} <= {*REQUEST_KINDS, "check"}
        assert "describe" not in {question.kind for question in batch.questions}
        assert len(batch.aims.tails) > 0


def test_they_are_in_the_format_that_tuning_reads(made):
    data = Expressions(made[2] / "train")
    assert len(data) == 8
    asked = [expression for video in data for expression in video.expressions]
    assert {expression.kind for expression in asked} >= {"name", "several", "absent"}
    assert any("gizmo" in expression.text.lower() and expression.masks for expression in asked)
    for video, clip in zip(data, _clips(made), strict=True):
        size = (clip.facts.height, clip.facts.width)
        for expression in video.expressions:
            for identity in expression.masks:
                assert any(data.mask(identity, t, size).any() for t in range(len(video.frames)))


def test_what_the_vocabulary_does_not_know_is_of_no_kind_to_training(made):
    (clip,) = (c for c in _clips(made)[6:7])
    assert clip.facts.objects[0].names == ("gizmo",)
    config = FeedConfig(clip.folder.parent, 2, 0, 0, 64, 96, known=KINDS)
    batch = Feed(config, tiny_model().codec).make(clip, np.random.default_rng(0))
    assert batch.kinds.tolist() == [UNCLEAR]


def test_of_more_than_ten_of_a_kind_all_can_be_meant(tmp_path):
    root = _photos(tmp_path / "data", [("desk", (0,), False)])
    data = json.loads((root / "instances.json").read_text())
    boxes = [(20 + 30 * (n % 6), 20 + 30 * (n // 6), 20, 20) for n in range(24)]
    data["annotations"] = [
        {"image_id": 0, "category_id": 0, "bbox": box, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
        for box in boxes
        for x, y, w, h in (box,)
    ]
    (root / "instances.json").write_text(json.dumps(data))
    build(tmp_path, root, views=1, quiet=True)
    (facts,) = (ClipReader(path).facts for path in list_clips(tmp_path / "train"))
    asked = [
        sample
        for seed in range(20)
        for sample in sample_requests(facts, 3, np.random.default_rng(seed), 6, ("several", "ambiguous"), most=24)
    ]
    assert max(len(sample.targets) for sample in asked) > 10
    assert any(f"There are {len(sample.targets)} cups" in sample.answer for sample in asked)
