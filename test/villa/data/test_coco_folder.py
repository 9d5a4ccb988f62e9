"""Folders in the format of COCO: every layout that people have, and what is wrong with one is said."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco
from tiny_sets import SIZE, edit, images, make_coco_names

from villa.data.coco_folder import CocoError, CocoFolder
from villa.modeling.language.plurals import plural

BOX = np.zeros(SIZE, np.bool_)
BOX[5:17, 5:17] = True


def test_pictures_of_a_split_know_their_things(tmp_path):
    folder = CocoFolder(make_coco_names(tmp_path), "val")
    assert [picture.source for picture in folder.pictures] == ["kitchen", "kitchen", "pantry"]
    picture = folder.pictures[0]
    assert [(one.name, one.crowd) for one in picture.instances] == [
        ("cup", False), ("knife", False), ("knife", False), ("book", True),
    ]  # fmt: skip
    assert folder.rgb(picture).shape == (*SIZE, 3)
    assert np.array_equal(folder.mask(picture, picture.instances[0]), BOX)
    assert len(CocoFolder(tmp_path)) == 4
    assert len(CocoFolder(tmp_path / "instances.json", "train")) == 1


@pytest.mark.parametrize("layout", ["coco", "roboflow"])
def test_the_layouts_of_coco_and_of_roboflow_are_found(tmp_path, layout):
    made = make_coco_names(tmp_path / "made")
    data = json.loads((made / "instances.json").read_text())
    data["images"] = [{k: v for k, v in entry.items() if k not in ("split", "source")} for entry in data["images"]]
    root = tmp_path / "set"
    where = {
        "coco": (root / "annotations" / "instances_val2017.json", root / "val2017"),
        "roboflow": (root / "valid" / "_annotations.coco.json", root / "valid"),
    }
    file, folder = where[layout]
    images(folder, ["0", "1", "2"])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))
    read = CocoFolder(root, "val")
    assert len(read) == 4
    assert read.rgb(read.pictures[2]).shape == (*SIZE, 3)


def test_polygons_and_both_kinds_of_run_lengths_give_one_mask(tmp_path):
    root = make_coco_names(tmp_path)
    packed = coco.encode(np.asfortranarray(BOX.astype(np.uint8)))
    counts, last = [0], False
    for value in BOX.T.ravel():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1

    def change(data):
        data["annotations"][0]["segmentation"] = {"size": list(SIZE), "counts": packed["counts"].decode()}
        data["annotations"][1]["segmentation"] = {"size": list(SIZE), "counts": counts}
        data["annotations"][2]["segmentation"] = [[5, 5]]  # no inside

    edit(root / "instances.json", change)
    folder = CocoFolder(root, "val")
    picture = folder.pictures[0]
    masks = [folder.mask(picture, one) for one in picture.instances[:3]]
    assert np.array_equal(masks[0], BOX)
    assert np.array_equal(masks[1], BOX)
    assert not masks[2].any()


def _at(*path, value):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("images"), "wanted a list 'images'"),
        (_at("images", 0, value={"id": 0}), "image has no 'file_name'"),
        (_at("annotations", 0, "category_id", value=77), "annotation 0 is of category 77, which is none"),
        (_at("annotations", 0, "bbox", value=[1, 2]), "annotation 0 has a bbox of 2 numbers"),
        (lambda data: data["annotations"][0].pop("segmentation"), "annotation 0 has no 'segmentation'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    root = make_coco_names(tmp_path)
    edit(root / "instances.json", change)
    with pytest.raises(CocoError, match=message):
        CocoFolder(root, "val")


def test_a_folder_without_annotations_or_pictures_is_refused(tmp_path):
    with pytest.raises(CocoError, match="is no folder and no JSON file"):
        CocoFolder(tmp_path / "nothing")
    with pytest.raises(CocoError, match=r"no annotations: looked for instances\.json"):
        CocoFolder(tmp_path)
    root = make_coco_names(tmp_path / "set")
    with pytest.raises(CocoError, match="no image of split 'test'"):
        CocoFolder(root, "test")
    (root / "annotations").mkdir()
    shutil.copy(root / "instances.json", root / "annotations" / "instances_a.json")
    shutil.move(root / "instances.json", root / "annotations" / "instances_b.json")
    with pytest.raises(CocoError, match=r"several files .*instances_a\.json, instances_b\.json: name a split"):
        CocoFolder(root)
    (root / "annotations" / "instances_a.json").write_text("{")
    with pytest.raises(CocoError, match="is not readable as JSON"):
        CocoFolder(root / "annotations" / "instances_a.json")


def test_damaged_pictures_and_masks_are_named_when_they_are_read(tmp_path):
    root = make_coco_names(tmp_path)
    edit(root / "instances.json", _at("annotations", 0, "segmentation", value={"size": [3, 3], "counts": [0, 9]}))
    edit(root / "instances.json", _at("annotations", 1, "segmentation", value="no mask"))
    folder = CocoFolder(root, "val")
    picture = folder.pictures[0]
    with pytest.raises(CocoError, match=r"'cup': wanted polygons .* its mask is 3x3 px, the picture 60x40"):
        folder.mask(picture, picture.instances[0])
    with pytest.raises(CocoError, match=r"'knife': wanted polygons .* saw str, wanted run lengths"):
        folder.mask(picture, picture.instances[1])
    cv2.imwrite(str(root / "images" / "1.jpg"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(CocoError, match=r"1\.jpg is 4x4 px, instances\.json says 60x40"):
        folder.rgb(folder.pictures[1])
    (root / "images" / "2.jpg").write_bytes(b"")
    with pytest.raises(CocoError, match=r"2\.jpg: wanted a picture"):
        folder.rgb(folder.pictures[2])


@pytest.mark.parametrize(
    ("noun", "several"),
    [
        ("cup", "cups"), ("wine glass", "wine glasses"), ("knife", "knives"), ("slice of bread", "slices of bread"),
        ("scissors", "scissors"), ("cherry", "cherries"), ("key", "keys"), ("brush", "brushes"), ("bus", "buses"),
        ("peppercorns", "peppercorns"), ("teddy bear", "teddy bears"), ("mouse", "mice"), ("box", "boxes"),
    ],
)  # fmt: skip
def test_plurals(noun, several):
    assert plural(noun) == several
