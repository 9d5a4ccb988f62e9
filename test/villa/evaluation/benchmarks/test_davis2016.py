"""DAVIS 2016 from a folder of either year; the frames between the first and the last count; what does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_sets import FRAMES, NAMES, SIZE, labels, make_davis2016, make_davis2017, track

from villa import masks
from villa.evaluation.benchmarks import Benchmark, BenchmarkError, Prediction, open_benchmark
from villa.evaluation.davis_objects import semi_supervised

Mask = NDArray[np.bool_]


def predicted(drawn: list[Mask]) -> Prediction:
    return Prediction(tuple(masks.encode(mask) for mask in drawn), SIZE)


def scored(benchmark: Benchmark, drawn: list[Mask], video: int = 0) -> dict[str, object]:
    (score,) = benchmark.score(benchmark.videos[video], {"foreground": predicted(drawn)})
    return score


def test_the_lists_of_both_years_name_the_same_sequences(tmp_path: Path) -> None:
    old = open_benchmark("davis2016", make_davis2016(tmp_path / "2016"))
    new = open_benchmark("davis2016", make_davis2017(tmp_path / "2017"))
    for benchmark in (old, new):
        assert [video.name for video in benchmark.videos] == ["bear", "camel"]
        assert [path.stem for path in benchmark.videos[0].frames] == NAMES
        assert benchmark.videos[0].scored == tuple(range(1, FRAMES - 1))


def test_all_objects_of_a_label_image_are_one_foreground(tmp_path: Path) -> None:
    benchmark = open_benchmark("davis2016", make_davis2017(tmp_path))
    video = benchmark.videos[0]
    both = track(1)[0] | track(2)[0]
    both[-1] = False
    assert np.array_equal(benchmark.given(video), both)
    assert np.array_equal(benchmark.mask(video, video.expressions[0], 0, SIZE), both)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_every_value_but_0_is_foreground_in_an_image_of_any_mode(tmp_path: Path, mode: str) -> None:
    root = make_davis2016(tmp_path)
    mask = track(1)[0]
    if mode == "I;16":
        drawn = Image.fromarray(mask.astype(np.uint16) * 256)
    elif mode == "P":
        drawn = Image.fromarray(mask.astype(np.uint8))
        drawn.putpalette([200, 200, 200, 128, 0, 0])  # that the background has a colour says nothing
    else:
        drawn = Image.fromarray(mask.astype(np.uint8) * 255).convert(mode)  # opaque all over
    drawn.save(root / "Annotations/480p/bear/00000.png")
    benchmark = open_benchmark("davis2016", root)
    assert np.array_equal(benchmark.given(benchmark.videos[0]), mask)


def test_a_faint_mask_counts_as_a_full_one(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path)
    cv2.imwrite(str(root / "Annotations/480p/bear/00000.png"), track(1)[0].astype(np.uint8))
    benchmark = open_benchmark("davis2016", root)
    assert np.array_equal(benchmark.given(benchmark.videos[0]), track(1)[0])


# -- the measures ----------------------------------------------------------------------------------------------------


def test_the_first_and_the_last_frame_do_not_count(tmp_path: Path) -> None:
    benchmark = open_benchmark("davis2016", make_davis2016(tmp_path))
    nothing = np.zeros(SIZE, np.bool_)
    score = scored(benchmark, [nothing, *track(1)[1:-1], nothing])
    assert (score["j"], score["f"], score["jf"], score["j_recall"], score["j_decay"]) == (1.0, 1.0, 1.0, 1.0, 0.0)
    assert score["frames"] == FRAMES - 2
    score = scored(benchmark, [track(1)[0], *[nothing] * (FRAMES - 2), track(1)[-1]])
    assert (score["j"], score["f"], score["jf"], score["j_recall"]) == (0.0, 0.0, 0.0, 0.0)


def test_by_hand(tmp_path: Path) -> None:
    benchmark = open_benchmark("davis2016", make_davis2016(tmp_path))
    true = track(1)
    half = true[2].copy()
    half[10:16] = False  # the lower half of a box of 14x12 px
    nothing = np.zeros(SIZE, np.bool_)
    score = scored(benchmark, [true[0], true[1], half, nothing, true[4]])
    assert score["j"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert score["j_recall"] == pytest.approx(1 / 3)
    # Quarters of three frames: halves round up, so that the first holds frames 1 and 2, and the last frame 3 alone.
    assert score["j_decay"] == pytest.approx((1 + 0.5) / 2 - 0)
    assert score["jf"] == pytest.approx((score["j"] + score["f"]) / 2)
    assert score["answered"] is True


def test_sequences_are_scored_as_the_semi_supervised_task_scores_one_object(tmp_path: Path) -> None:
    benchmark = open_benchmark("davis2016", make_davis2016(tmp_path, (1, 2)))
    for video, number in enumerate((1, 2)):
        true, shifted = track(number), track(number, shift=3)
        stacks = (np.stack(drawn).astype(np.uint8) for drawn in (shifted, true))
        ((j, f),) = semi_supervised(*stacks)
        score = scored(benchmark, shifted, video)
        assert (score["j"], score["f"]) == pytest.approx((j, f), abs=1e-12)
        assert 0 < score["j"] < 1


def test_a_set_weighs_each_sequence_alike(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path, (1, 2))
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):  # bear is one frame shorter than camel
        (root / folder / "480p/bear" / f"{NAMES[-1]}.{suffix}").unlink()
    benchmark = open_benchmark("davis2016", root)
    nothing = np.zeros(SIZE, np.bool_)
    scores = [scored(benchmark, track(1)[:-1], 0), scored(benchmark, [nothing] * FRAMES, 1)]
    row = benchmark.row(scores)
    assert (row["videos"], row["expressions"]) == (2, 2)
    assert (row["j"], row["f"], row["jf"], row["j_recall"], row["f_recall"]) == (0.5,) * 5
    assert {name: part["jf"] for name, part in row["parts"].items()} == {"bear": 1.0, "camel": 0.0}
    assert scores[1]["answered"] is False


def test_a_sequence_that_failed_counts_as_one_without_masks(tmp_path: Path) -> None:
    benchmark = open_benchmark("davis2016", make_davis2016(tmp_path))
    last = benchmark.videos[1]
    row = benchmark.row([scored(benchmark, track(1)), benchmark.failed(last, last.expressions[0])])
    assert (row["jf"], row["j_recall"], row["f_decay"], row["failed"]) == (0.5, 0.5, 0.0, 1)


# -- refused ---------------------------------------------------------------------------------------------------------

Spoil = Callable[[Path], object]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "no list": (
        lambda r: shutil.rmtree(r / "ImageSets"),
        r"ImageSets/480p/val\.txt: wanted the sequences of the split, or ImageSets/2016/val\.txt; .*holds Annotations",
    ),
    "no sequences": (
        lambda r: (r / "ImageSets/480p/val.txt").write_text("\n \n"),
        r"val\.txt: wanted the names of sequences, one a line; it holds none",
    ),
    "a line without a name": (
        lambda r: (r / "ImageSets/480p/val.txt").write_text("bear\n/JPEGImages/480p/../00000.jpg\n"),
        r"val\.txt, line 2: wanted the name of a sequence, or the paths of a frame and its mask, saw '/JPEGImages",
    ),
    "a name that leads out": (
        lambda r: (r / "ImageSets/480p/val.txt").write_text("..\n"),
        r"val\.txt, line 1: wanted the name of a sequence",
    ),
    "no frames at all": (
        lambda r: shutil.rmtree(r / "JPEGImages"),
        r"JPEGImages/480p: wanted a folder, the frames of each sequence; .*holds Annotations, ImageSets",
    ),
    "no masks at all": (
        lambda r: shutil.rmtree(r / "Annotations"),
        r"Annotations/480p: wanted a folder, the masks of each sequence",
    ),
    "a sequence without frames": (
        lambda r: shutil.rmtree(r / "JPEGImages/480p/camel"),
        r"camel: wanted a folder, the frames of the sequence 'camel'; .*holds bear",
    ),
    "a sequence without masks": (
        lambda r: shutil.rmtree(r / "Annotations/480p/camel"),
        r"camel: wanted a folder, the masks of the sequence 'camel'; .*holds bear",
    ),
    "a sequence that is too short": (
        lambda r: [(r / f"JPEGImages/480p/bear/{name}.jpg").unlink() for name in NAMES[2:]],
        r"bear: 2 JPEG files, wanted 3 or more: the first frame is given",
    ),
    "no first mask": (
        lambda r: (r / "Annotations/480p/bear/00000.png").unlink(),
        r"bear/00000\.png: wanted the mask of the first frame, from which .*; .*holds 00001\.png",
    ),
    "no mask of a frame that is scored": (
        lambda r: (r / "Annotations/480p/bear/00002.png").unlink(),
        r"bear/00002\.png: wanted the mask of a frame that is scored",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_an_unexpected_folder_is_refused_with_the_first_mismatch(case: str, tmp_path: Path) -> None:
    spoil, message = SPOILT[case]
    root = make_davis2016(tmp_path)
    open_benchmark("davis2016", root)
    spoil(root)
    with pytest.raises(BenchmarkError, match=message):
        open_benchmark("davis2016", root)


def test_the_mask_of_the_last_frame_is_not_needed(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path)
    (root / f"Annotations/480p/bear/{NAMES[-1]}.png").unlink()
    benchmark = open_benchmark("davis2016", root)
    assert scored(benchmark, track(1))["jf"] == 1.0


def test_an_empty_first_mask_is_refused(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path)
    cv2.imwrite(str(root / "Annotations/480p/bear/00000.png"), np.zeros(SIZE, np.uint8))
    benchmark = open_benchmark("davis2016", root)
    with pytest.raises(BenchmarkError, match=r"bear/00000\.png: the mask of the first frame is empty"):
        benchmark.given(benchmark.videos[0])


def test_masks_and_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path)
    cv2.imwrite(str(root / "Annotations/480p/bear/00000.png"), np.full((20, 30), 255, np.uint8))
    benchmark = open_benchmark("davis2016", root)
    with pytest.raises(BenchmarkError, match=r"bear/00000\.png: 30x20 px, its image is 60x40: wanted one size"):
        benchmark.given(benchmark.videos[0])


def test_a_damaged_mask_is_refused(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path)
    (root / "Annotations/480p/bear/00000.png").write_bytes(b"no image")
    benchmark = open_benchmark("davis2016", root)
    with pytest.raises(BenchmarkError, match=r"00000\.png: wanted a mask, it is missing or does not decode"):
        benchmark.given(benchmark.videos[0])


def test_sets_of_sentences_give_no_mask(tmp_path: Path) -> None:
    from tiny_sets import make_mevis

    benchmark = open_benchmark("mevis", make_mevis(tmp_path))
    with pytest.raises(BenchmarkError, match="mevis gives no mask of the first frame: its requests are sentences"):
        benchmark.given(benchmark.videos[0])


def test_labels_of_the_tiny_set_are_of_two_objects() -> None:
    assert {1, 2} <= set(np.unique(labels()[0]))
