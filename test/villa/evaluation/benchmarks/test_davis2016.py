"""DAVIS 2016: the given mask, the frames that count, and folders that are not like it."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_sets import FRAMES, SIZE, Told, make_davis2016, track

from villa.evaluation.benchmarks import BenchmarkError, open_benchmark
from villa.evaluation.davis_jf import frame_jf
from villa_ros.evaluation.benchmark_run import run_benchmark


def _truth() -> list[np.ndarray]:
    return [one | two for one, two in zip(track(1), track(2), strict=True)]


def test_all_parts_are_the_object_and_its_first_mask_is_given(tmp_path: Path) -> None:
    benchmark = open_benchmark("davis2016", make_davis2016(tmp_path))
    (video,) = benchmark.videos
    assert video.name == "bear"
    assert np.array_equal(benchmark.given(video, SIZE), _truth()[0])
    for t, true in enumerate(_truth()):
        assert np.array_equal(benchmark.mask(video, video.expressions[0], t, SIZE), true)


def test_the_first_and_the_last_frame_do_not_count(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path / "set")
    # Off by two pixels on one frame that counts, and by far on the two that do not.
    drawn = [np.zeros(SIZE, np.bool_), *_truth()[1:-1], np.ones(SIZE, np.bool_)]
    drawn[2] = np.roll(drawn[2], 2, axis=1)
    report = run_benchmark("davis2016", root, Told({"": [drawn]}), tmp_path / "run", submit=False)
    each = [frame_jf(found, true) for found, true in zip(drawn[1:-1], _truth()[1:-1], strict=True)]
    assert len(each) == FRAMES - 2
    assert report.row["j"] == pytest.approx(np.mean([one.j for one in each]))
    assert report.row["f"] == pytest.approx(np.mean([one.f for one in each]))
    assert 0.5 < report.row["j"] < 1.0
    assert report.row["jf"] == pytest.approx((report.row["j"] + report.row["f"]) / 2)


def test_no_word_is_said(tmp_path: Path) -> None:
    model = Told({"": [_truth()]})
    run_benchmark("davis2016", make_davis2016(tmp_path / "set"), model, tmp_path / "run", submit=False)
    assert model.heard == [""]


def test_a_model_that_carries_nothing_is_told_so(tmp_path: Path) -> None:
    class Speaking:
        segment = Told.segment

    root = make_davis2016(tmp_path / "set")
    report = run_benchmark("davis2016", root, Speaking(), tmp_path / "run", submit=False)
    said = "BenchmarkRunError: Speaking carries no given mask: wanted a model with `carry`"
    assert [error["error"] for error in report.errors] == [said]
    assert report.row["jf"] == 0.0


def test_the_list_of_2017_s_layout_is_read(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path)
    shutil.rmtree(root / "ImageSets/480p")
    (root / "ImageSets/2016").mkdir()
    (root / "ImageSets/2016/val.txt").write_text("bear\n")
    assert [video.name for video in open_benchmark("davis2016", root).videos] == ["bear"]


def _without(path: str):
    def spoil(root: Path) -> None:
        target = root / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return spoil


def _emptied(root: Path) -> None:
    (root / "ImageSets/480p/val.txt").write_text("\n\n")


def _short(root: Path) -> None:
    for path in sorted((root / "JPEGImages/480p/bear").iterdir())[2:]:
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            _without("ImageSets"),
            r"wanted .*ImageSets/480p/val\.txt or .*ImageSets/2016/val\.txt, the list of its videos",
        ),
        (_emptied, "wanted a video or a frame on each line, it is empty"),
        (_without("JPEGImages/480p/bear"), "wanted a folder, the frames of the video"),
        (_without("Annotations/480p/bear"), "wanted a folder, its masks"),
        (_short, "wanted 3 frames or more, saw 2"),
    ],
)
def test_a_folder_that_is_not_like_it_is_refused(tmp_path: Path, spoil, said: str) -> None:
    root = make_davis2016(tmp_path)
    spoil(root)
    with pytest.raises(BenchmarkError, match=said):
        open_benchmark("davis2016", root)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "wanted a label image, it is missing"),
        (np.zeros(SIZE, np.uint8), "the first mask is empty, wanted the object to carry"),
        (np.ones((20, 20), np.uint8), "20x20 px, its image is 60x40: wanted one size"),
        (np.ones((*SIZE, 3), np.uint8), r"wanted a label image with a palette \(mode P or L\), saw mode RGB"),
    ],
)
def test_a_first_mask_that_cannot_be_given_is_refused(tmp_path: Path, image, said: str) -> None:
    root = make_davis2016(tmp_path)
    path = root / "Annotations/480p/bear/00000.png"
    path.unlink()
    if image is not None:
        cv2.imwrite(str(path), image)
    benchmark = open_benchmark("davis2016", root)
    with pytest.raises(BenchmarkError, match=said):
        benchmark.given(benchmark.videos[0], SIZE)


def test_sets_with_words_give_no_masks(tmp_path: Path) -> None:
    from tiny_sets import make_coco_names

    benchmark = open_benchmark("coco-names", make_coco_names(tmp_path))
    with pytest.raises(BenchmarkError, match="coco-names gives no masks: its videos are asked about in words"):
        benchmark.given(benchmark.videos[0], SIZE)
