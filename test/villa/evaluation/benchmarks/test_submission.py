"""Masks lie where servers and evaluators look for them, and nowhere else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_sets import NAMES, SIZE, labels, track

from villa.evaluation.submission import MaskFolders, SubmissionError, pack, palette, write_labels


def test_masks_are_black_and_white_files_named_as_the_frames(tmp_path: Path) -> None:
    files = MaskFolders(prefix="Annotations").write(tmp_path, "video/7", NAMES, track(1))
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        f"Annotations/video/7/{name}.png" for name in NAMES
    ]
    for file, mask in zip(files, track(1), strict=True):
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert image.dtype == np.uint8
        assert np.array_equal(image, np.where(mask, 255, 0))


def test_masks_for_an_evaluator_that_counts_px_hold_ones(tmp_path: Path) -> None:
    (first, *_) = MaskFolders(inside=1, zipped=False).write(tmp_path, "video/7", NAMES, track(1))
    assert np.array_equal(cv2.imread(str(first), cv2.IMREAD_UNCHANGED), track(1)[0].astype(np.uint8))


def test_label_images_keep_their_labels_and_have_the_palette_of_davis(tmp_path: Path) -> None:
    files = write_labels(tmp_path, "anno_0/goat", NAMES, labels())
    assert files[0] == tmp_path / "anno_0/goat/00000.png"
    with Image.open(files[0]) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), labels()[0])
        assert image.getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def test_the_palette_is_that_of_pascal_voc() -> None:
    colours = palette()
    known = {0: (0, 0, 0), 1: (128, 0, 0), 4: (0, 0, 128), 7: (128, 128, 128), 8: (64, 0, 0), 255: (224, 224, 192)}
    for label, colour in known.items():
        assert tuple(colours[label]) == colour
    assert len({tuple(colour) for colour in colours.tolist()}) == 256


def test_a_zip_file_holds_the_masks_below_its_folder_and_is_the_same_each_time(tmp_path: Path) -> None:
    MaskFolders().write(tmp_path / "masks", "b/0", NAMES, track(1))
    MaskFolders().write(tmp_path / "masks", "a/0", NAMES, track(2))
    first = pack(tmp_path / "masks", tmp_path / "one.zip").read_bytes()
    assert pack(tmp_path / "masks", tmp_path / "two.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == [f"{video}/0/{name}.png" for video in "ab" for name in NAMES]
        assert archive.testzip() is None
        assert archive.read("a/0/00000.png") == (tmp_path / "masks/a/0/00000.png").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    masks = [np.zeros(SIZE, np.bool_)]
    for place in ("../elsewhere/0", "/tmp/elsewhere", "video/../../0", "a\\b"):
        with pytest.raises(SubmissionError, match="leads out of"):
            MaskFolders().write(tmp_path / "masks", place, ["00000"], masks)
    with pytest.raises(SubmissionError, match="leads out of"):
        MaskFolders().write(tmp_path / "masks", "a/0", ["../../00000"], masks)
    with pytest.raises(SubmissionError, match="leads out of"):
        write_labels(tmp_path / "masks", "../goat", ["00000"], [np.zeros(SIZE, np.uint8)])
    assert not list(tmp_path.rglob("*.png"))


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match=r"a/0: 5 masks for 1 frames"):
        MaskFolders().write(tmp_path, "a/0", ["00000"], track(1))
    with pytest.raises(SubmissionError, match=r"goat: 5 label images for 1 frames"):
        write_labels(tmp_path, "goat", ["00000"], labels())
    with pytest.raises(SubmissionError, match="no PNG file"):
        pack(tmp_path, tmp_path / "x.zip")
