"""Labels: drafted from a run, corrected by a person, read back as ground truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import BlobModel
from PIL import Image
from pycocotools import mask as coco
from replays import commands_of, drafted, replayed
from small_bags import IMAGE_TOPIC, jpeg, painted, raw_image, stamp, write_bag

from villa.masks import decode
from villa_ros.bags.reader import Bag
from villa_ros.bags.run import Run
from villa_ros.evaluation.demo import demo_offline, demo_scenario
from villa_ros.evaluation.ground_truth import all_objects
from villa_ros.evaluation.ground_truth_bag import TruthBagError, write_truth_bag
from villa_ros.evaluation.labels.draft import DraftLabels, DraftLabelsError
from villa_ros.evaluation.labels.format import davis_palette
from villa_ros.evaluation.labels.read import Labels, LabelsError, read_labels
from villa_ros.pipeline.config import PipelineConfig
from villa_ros.pipeline.request import Action, Request

COMMANDS = (
    Request("red", "the red box", stamp_ns=stamp(3)),
    Request("green", "the green box", stamp_ns=stamp(8)),
    Request("both", "the red box and the blue box", stamp_ns=stamp(12)),
)


def run_of(bag: Path, folder: Path, **settings: Any) -> Run:
    config = PipelineConfig(cameras=("camera",), **settings)
    return replayed(bag, commands_of(bag), BlobModel(), folder, pictures=False, config=config).run


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """20 frames; the red box is asked for, a green one that is not there, and red and blue together."""
    return write_bag(tmp_path / "bag", commands=COMMANDS)


@pytest.fixture
def run(bag: Path, tmp_path: Path) -> Run:
    return run_of(bag, tmp_path / "out")


@pytest.fixture
def draft(bag: Path, run: Run, tmp_path: Path) -> DraftLabels:
    return drafted(bag, IMAGE_TOPIC, "camera", run, tmp_path / "labels")


@pytest.fixture
def overlapping(tmp_path: Path) -> tuple[Path, Run]:
    """A blue box of 8x8 px in the middle of a red one of 20x20."""
    boxes = {"red": (10, 10, 20, 20), "blue": (16, 16, 8, 8)}
    commands = [Request("both", "the red box and the blue box", stamp_ns=stamp(1))]
    bag = write_bag(tmp_path / "bag", frames=4, commands=commands, boxes=lambda index: boxes)
    return bag, run_of(bag, tmp_path / "out")


def png(folder: Path, index: float) -> Path:
    return folder / "Annotations" / f"{stamp(index)}.png"


def paint(file: Path, change: Callable[[np.ndarray], None]) -> None:
    """Change numbers as an editor would that keeps the palette."""
    with Image.open(file) as image:
        numbers, palette = np.array(image), image.getpalette()
    change(numbers)
    changed = Image.fromarray(numbers)
    changed.putpalette(palette)
    changed.save(file)


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    described = json.loads((folder / "labels.json").read_text())
    change(described)
    (folder / "labels.json").write_text(json.dumps(described))


def masks_of(run: Run, track: int, index: int) -> np.ndarray:
    """The mask of the run's track of this place, on one frame."""
    tracks: dict[str, None] = {}
    for timed in run.tracks:
        tracks |= {instance.track_id: None for instance in timed.value.instances}
    for timed in run.tracks:
        for instance in timed.value.instances:
            if timed.value.header.stamp_ns == stamp(index) and instance.track_id == list(tracks)[track]:
                return decode(instance.mask)
    return np.zeros((48, 64), np.bool_)


# -- writing ---------------------------------------------------------------------------------------------------------


def test_every_frame_has_its_picture_and_its_numbers(draft: DraftLabels, run: Run) -> None:
    assert (draft.frames, draft.requests, draft.dropped) == (20, 3, 0)
    for index in range(20):
        with Image.open(png(draft.folder, index)) as image:
            assert image.mode == "P"
            assert np.array_equal(np.reshape(image.getpalette(), (-1, 3)), davis_palette())
            numbers = np.array(image)
        for one in draft.objects:
            assert np.array_equal(numbers == one.number, masks_of(run, one.number - 1, index))
        picture = cv2.imread(str(draft.folder / "JPEGImages" / f"{stamp(index)}.jpg"))
        wanted = painted(red=(2 + index, 10, 12, 12), blue=(40, 30, 10, 8))
        assert np.abs(picture[..., ::-1].astype(int) - wanted).mean() < 6


def test_the_palette_is_that_of_davis() -> None:
    palette = davis_palette().tolist()
    assert palette[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[9] == [191, 0, 0]
    assert palette[21:23] == [[128, 64, 128], [22, 22, 22]]
    assert palette[255] == [255, 255, 255]


def test_the_labels_are_coco_video_and_say_whose_they_are(draft: DraftLabels, run: Run) -> None:
    described = json.loads((draft.folder / "labels.json").read_text())
    (video,) = described["videos"]
    assert video["stamps_ns"] == [stamp(index) for index in range(20)]
    assert video["file_names"][3] == f"{stamp(3)}.jpg"
    assert (video["height"], video["width"], video["length"]) == (48, 64, 20)
    names = {entry["id"]: entry["name"] for entry in described["categories"]}
    assert names[described["annotations"][0]["category_id"]] == "red box"
    for entry in described["annotations"]:
        assert entry["video_id"] == video["id"]
        for index, coded in enumerate(entry["segmentations"]):
            wanted = masks_of(run, entry["id"] - 1, index)
            assert (coded is None) == (not wanted.any())
            if coded is not None:
                packed = coco.frPyObjects(coded, *coded["size"])
                assert np.array_equal(coco.decode(packed), wanted)
                assert coco.toBbox(packed).tolist() == entry["bboxes"][index]
                assert int(coco.area(packed)) == entry["areas"][index]
                assert entry["states"][index] in ("TENTATIVE", "TRACKED")
    first = described["annotations"][0]
    assert (first["request_id"], first["request_text"]) == ("red", "the red box")
    assert first["track_id"] == run.tracks[0].value.instances[0].track_id
    asked = {entry["request_id"]: entry for entry in described["requests"]}
    assert asked["green"]["objects"] == []
    assert (asked["red"]["begin_ns"], asked["red"]["end_ns"]) == (stamp(3), stamp(8))
    assert asked["both"]["end_ns"] is None


def test_the_folder_says_how_to_correct_it(draft: DraftLabels) -> None:
    told = (draft.folder / "README.txt").read_text()
    assert "    1  red box (track " in told
    assert "green: 'the green box', objects []" in told
    assert "GIMP" in told


def test_labels_that_are_there_are_not_written_over(bag: Path, run: Run, draft: DraftLabels) -> None:
    with pytest.raises(DraftLabelsError, match="is there already, and may hold corrected labels"):
        drafted(bag, IMAGE_TOPIC, "camera", run, draft.folder)
    assert not list(draft.folder.parent.glob("*.part"))


def test_frames_that_a_live_run_dropped_are_left_out(bag: Path, run: Run, tmp_path: Path) -> None:
    run.tracks = [timed for timed in run.tracks if timed.value.header.stamp_ns not in (stamp(5), stamp(6))]
    draft = drafted(bag, IMAGE_TOPIC, "camera", run, tmp_path / "labels")
    assert (draft.frames, draft.dropped) == (18, 2)
    assert "2 frames are left out" in draft.text()
    assert stamp(5) not in read_labels(draft.folder).stamps


def test_what_lies_under_a_smaller_object_is_told_and_kept(overlapping: tuple[Path, Run], tmp_path: Path) -> None:
    bag, run = overlapping
    draft = drafted(bag, IMAGE_TOPIC, "camera", run, tmp_path / "labels")
    red, blue = draft.objects
    with Image.open(png(draft.folder, 2)) as image:
        numbers = np.array(image)
    assert numbers[19, 19] == blue.number
    assert (red.covered_px, red.covered_frames) == (3 * 64, 3)
    assert blue.covered_px == 0
    for told in (draft.text(), (draft.folder / "README.txt").read_text()):
        assert "object 1 (red box) lies under smaller ones with 192 px on 3 frames" in told
    labels = read_labels(draft.folder)
    assert labels.corrected == ()
    assert labels.objects[0].masks[stamp(2)].area == 400


def test_a_size_that_changes_is_refused(run: Run, tmp_path: Path) -> None:
    wide = [(IMAGE_TOPIC, stamp(index), raw_image(index, painted(width=66))) for index in range(4, 8)]
    bag = write_bag(tmp_path / "wide", frames=4, extra=wide)
    with pytest.raises(DraftLabelsError, match="66x48 px, the first frame 64x48"):
        drafted(bag, IMAGE_TOPIC, "camera", run, tmp_path / "labels")
    assert not (tmp_path / "labels").exists()
    assert not list(tmp_path.glob("*.part"))


def test_a_bag_without_a_usable_frame_is_refused(run: Run, tmp_path: Path) -> None:
    cut = [("/camera/image_raw/compressed", stamp(0), jpeg(0, painted(), cut=300))]
    bag = write_bag(tmp_path / "cut", frames=0, extra=cut)
    with pytest.raises(DraftLabelsError, match="holds no usable frame: 1 x "):
        drafted(bag, "/camera/image_raw/compressed", "camera", run, tmp_path / "labels")


# -- reading ---------------------------------------------------------------------------------------------------------


def test_labels_that_nobody_touched_are_what_the_run_said(draft: DraftLabels, run: Run) -> None:
    labels = read_labels(draft.folder)
    assert labels.corrected == ()
    truth = labels.truth()
    assert truth["red"].stamps == tuple(stamp(index) for index in range(3, 8))
    assert truth["green"].objects == {}
    for index in range(3, 8):
        (masks,) = truth["red"].objects.values()
        assert np.array_equal(decode(masks[stamp(index)]), masks_of(run, 0, index))
    assert len(truth["both"].objects) == 2


def test_an_image_wins_over_the_draft(draft: DraftLabels) -> None:
    def erase_and_paint(numbers: np.ndarray) -> None:
        numbers[numbers == 1] = 0
        numbers[0:4, 0:5] = 1

    paint(png(draft.folder, 5), erase_and_paint)
    labels = read_labels(draft.folder)
    assert labels.corrected == (stamp(5),)
    (masks,) = labels.truth()["red"].objects.values()
    assert np.argwhere(decode(masks[stamp(5)])).max(axis=0).tolist() == [3, 4]
    assert masks[stamp(5)].area == 20
    assert masks[stamp(6)].area == 144


def test_a_changed_pixel_belongs_to_what_is_painted_and_to_nothing_else(
    overlapping: tuple[Path, Run], tmp_path: Path
) -> None:
    bag, run = overlapping
    folder = drafted(bag, IMAGE_TOPIC, "camera", run, tmp_path / "labels").folder

    def change(numbers: np.ndarray) -> None:
        numbers[16:18, 16:24] = 1  # the upper rows of blue are red
        numbers[18, 16:24] = 0  # the next is neither
        numbers[10, 10:30] = 255  # and of the first row of red nobody can tell

    paint(png(folder, 2), change)
    labels = read_labels(folder)
    red, blue = (one.masks[stamp(2)] for one in labels.objects)
    assert blue.area == 64 - 24
    assert red.area == 400 - 8 - 20  # still under what is left of blue
    assert labels.ignored[stamp(2)].area == 20


def test_a_new_number_is_a_new_object_that_no_request_means_until_it_says_so(draft: DraftLabels) -> None:
    paint(png(draft.folder, 9), lambda numbers: numbers.__setitem__((slice(40, 44), slice(0, 5)), 9))
    labels = read_labels(draft.folder)
    new = labels.objects[-1]
    assert (new.number, new.track_id, new.name) == (9, "new-9", "object 9")
    assert new.masks[stamp(9)].area == 20
    assert new.masks[stamp(10)].area == 0
    assert labels.truth()["green"].objects == {}
    edit(draft.folder, lambda described: described["requests"][1]["objects"].append(9))
    (masks,) = read_labels(draft.folder).truth()["green"].objects.values()
    assert masks[stamp(9)].area == 20


def test_a_gray_image_of_numbers_will_do(draft: DraftLabels) -> None:
    with Image.open(png(draft.folder, 5)) as image:
        Image.fromarray(np.array(image)).save(png(draft.folder, 5))
    assert read_labels(draft.folder).corrected == ()


def rgb(folder: Path) -> None:
    with Image.open(png(folder, 5)) as image:
        image.convert("RGB").save(png(folder, 5))


def smaller(folder: Path) -> None:
    with Image.open(png(folder, 5)) as image:
        image.resize((32, 24)).save(png(folder, 5))


def sorted_anew(folder: Path) -> None:
    with Image.open(png(folder, 5)) as image:
        numbers, palette = np.array(image), davis_palette()
    palette[[0, 1]] = palette[[1, 0]]
    image = Image.fromarray(1 - numbers)
    image.putpalette(palette.tobytes())
    image.save(png(folder, 5))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rgb, r"{png} is of mode RGB: wanted an indexed \(palette\) or 8-bit gray image"),
        (smaller, r"{png} is 32x24 px: wanted 64x48, the size of its frame"),
        (sorted_anew, r"{png}: number 0 has the colour \(128, 0, 0\) of number 1, so the editor has sorted"),
        (lambda folder: png(folder, 5).unlink(), r"{png} is not there \(1 of 20 are missing\)"),
        (lambda folder: png(folder, 5).write_bytes(b"no image"), r"{png} cannot be read as an image"),
        (
            lambda folder: png(folder, 5).write_bytes(png(folder, 6).read_bytes()[:-40]),
            r"{png} cannot be read as an image",
        ),
        (
            lambda folder: png(folder, 99).write_bytes(png(folder, 5).read_bytes()),
            r"Annotations/\d+\.png is of no frame that labels\.json knows",
        ),
        (lambda folder: (folder / "labels.json").unlink(), r"labels\.json cannot be read"),
        (lambda folder: (folder / "labels.json").write_text("{"), r"labels\.json is no file of labels"),
        (
            lambda folder: edit(folder, lambda described: described["requests"][0].pop("objects")),
            r"labels\.json is no file of labels \(PlainDataError: Object missing required field `objects`",
        ),
        (
            lambda folder: edit(folder, lambda described: described["requests"][0]["objects"].append(7)),
            r"request 'red' means object 7, which is on no image; there are \[1, 2",
        ),
    ],
)
def test_what_does_not_fit_is_told_by_file(draft: DraftLabels, damage: Callable[[Path], object], message: str) -> None:
    damage(draft.folder)
    with pytest.raises(LabelsError, match=message.replace("{png}", str(png(draft.folder, 5)))):
        read_labels(draft.folder)


# -- ground truth ----------------------------------------------------------------------------------------------------


def corrected(folder: Path) -> Labels:
    """On frame 5 a person moved the red box into the corner."""

    def move(numbers: np.ndarray) -> None:
        numbers[numbers == 1] = 0
        numbers[0:4, 0:5] = 1

    paint(png(folder, 5), move)
    return read_labels(folder)


def test_the_truth_bag_holds_the_correction(bag: Path, draft: DraftLabels, tmp_path: Path) -> None:
    file = write_truth_bag(corrected(draft.folder), bag, tmp_path / "truth")
    opened = demo_scenario(file).opened
    red, green, both = (opened.truths[request.request_id] for request in COMMANDS)
    assert [request.text for request in opened.requests] == [request.text for request in COMMANDS]
    assert red.stamps == tuple(stamp(index) for index in range(3, 8))
    assert [sum(mask.area for mask in red.masks(t)) for t in red.stamps] == [144, 144, 20, 144, 144]
    assert (red.present, green.present, both.present) == (True, False, True)
    assert not any(green.masks(t) for t in green.stamps)
    assert [len(both.masks(t)) for t in both.stamps] == [2] * 8
    with Bag(file) as made, Bag(bag) as source:
        everything = all_objects(made)
        assert everything is not None
        assert max(mask.area for mask in everything.masks(stamp(6))) == 144
        assert [m.log_ns for m in made.messages([IMAGE_TOPIC])] == [m.log_ns for m in source.messages([IMAGE_TOPIC])]
        assert [m.log_ns for m in made.messages(["/command"])] == [request.stamp_ns for request in COMMANDS]


def test_demo_and_replay_work_on_the_truth_bag(bag: Path, draft: DraftLabels, tmp_path: Path) -> None:
    write_truth_bag(corrected(draft.folder), bag, tmp_path / "truth")
    done = demo_offline(demo_scenario(tmp_path / "truth"), tmp_path / "demo", BlobModel, baseline=False)
    asked = {row.asked.request_id: row.asked for row in done.report.rows}
    assert asked["both"].jf == 1.0
    assert asked["red"].j == pytest.approx(4 / 5)  # the model is wrong where the person corrected it
    assert asked["green"].right
    assert len(run_of(tmp_path / "truth", tmp_path / "again").commands) == 3


def test_commands_of_the_run_and_stops_of_the_bag_are_in_the_truth_bag(tmp_path: Path) -> None:
    silent = write_bag(tmp_path / "silent")
    requests = [Request("asked", "the red box", stamp_ns=stamp(4.5))]
    run = replayed(silent, requests, BlobModel(), tmp_path / "out", pictures=False).run
    folder = drafted(silent, IMAGE_TOPIC, "camera", run, tmp_path / "labels").folder
    file = write_truth_bag(read_labels(folder), silent, tmp_path / "truth")
    assert [request.request_id for request in commands_of(file)] == ["asked"]
    assert demo_scenario(file).opened.truths["asked"].stamps[0] == stamp(5)

    stopped = write_bag(
        tmp_path / "stopped", commands=[COMMANDS[0], Request("red", "", action=Action.STOP, stamp_ns=stamp(9))]
    )
    folder = drafted(stopped, IMAGE_TOPIC, "camera", run_of(stopped, tmp_path / "out2"), tmp_path / "labels2").folder
    file = write_truth_bag(read_labels(folder), stopped, tmp_path / "truth2")
    assert [request.action for request in commands_of(file)] == [Action.SEGMENT, Action.STOP]


def test_requests_that_are_tracked_side_by_side_last_as_long_as_their_tracks(bag: Path, tmp_path: Path) -> None:
    run = run_of(bag, tmp_path / "out", policy="queue")
    folder = drafted(bag, IMAGE_TOPIC, "camera", run, tmp_path / "labels").folder
    truth = read_labels(folder).truth()
    assert truth["red"].stamps[-1] == stamp(19)
    assert truth["green"].stamps[-1] == stamp(11)


def test_labels_of_another_bag_are_refused(draft: DraftLabels, tmp_path: Path) -> None:
    labels = read_labels(draft.folder)
    short = write_bag(tmp_path / "short", frames=12)
    with pytest.raises(TruthBagError, match="lacks 8 of 20 labelled frames"):
        write_truth_bag(labels, short, tmp_path / "truth")
    renamed = write_bag(tmp_path / "renamed", topics=("/other/image",))
    with pytest.raises(TruthBagError, match="has no images on /camera/image_raw"):
        write_truth_bag(labels, renamed, tmp_path / "truth")
    assert not (tmp_path / "truth").exists()
