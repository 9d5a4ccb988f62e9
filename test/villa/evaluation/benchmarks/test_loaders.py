"""Each public format is read from a tiny folder like it, and a folder that is not like it is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_sets import (
    FRAMES,
    MAKERS,
    NAMES,
    OTHERS,
    SIZE,
    WORDS,
    edit,
    labels,
    make_mevis,
    make_published_davis,
    make_ref_davis17,
    track,
)

from villa.evaluation.benchmarks import BENCHMARKS, BenchmarkError, open_benchmark
from villa.evaluation.benchmarks.ref_davis17 import ANNOTATORS


@pytest.fixture(params=MAKERS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, MAKERS[request.param](tmp_path / "set")


def test_there_is_a_maker_for_every_benchmark() -> None:
    assert set(MAKERS) == set(BENCHMARKS)


def test_every_set_offers_its_videos_frames_and_expressions(made: tuple[str, Path]) -> None:
    name, root = made
    benchmark = open_benchmark(name, root)
    assert benchmark.split == BENCHMARKS[name].splits[0]
    assert benchmark.videos
    for video in benchmark.videos:
        assert len(video.frames) == (3 if name == "coco-names" else FRAMES)
        assert benchmark.rgb(video, len(video.frames) - 1).shape[2] == 3
        assert benchmark.asked(video)
        assert len({expression.key for expression in video.expressions}) == len(video.expressions)
        assert all(bool(expression.text) != benchmark.first_mask for expression in video.expressions)


def test_what_is_meant_has_a_mask_on_a_frame_that_counts(made: tuple[str, Path]) -> None:
    name, root = made
    benchmark = open_benchmark(name, root)
    if not benchmark.masks_public:
        with pytest.raises(BenchmarkError, match="not public"):
            benchmark.mask(benchmark.videos[0], benchmark.videos[0].expressions[0], 0, SIZE)
        return
    for video in benchmark.videos:
        shape = benchmark.rgb(video, 0).shape[:2]
        for expression in video.expressions:
            frames = benchmark.scored_frames(video, expression)
            assert set(frames) <= set(range(len(video.frames)))
            drawn = [benchmark.mask(video, expression, t, shape).any() for t in frames]
            assert any(drawn) == bool(expression.masks)


def test_clips_that_could_not_be_had_are_told_beside_the_scores(made: tuple[str, Path]) -> None:
    name, root = made
    notes = open_benchmark(name, root).notes
    assert notes == (("left out, the video could not be had: cup",) if name == "real-clips" else ())


def test_the_held_half_is_never_run_because_nobody_named_one() -> None:
    assert BENCHMARKS["real-clips"].splits == ("seen", "held")


def test_mevis_reads_the_split_without_masks_as_well(tmp_path: Path) -> None:
    root = make_mevis(tmp_path)
    hidden = open_benchmark("mevis", root, "valid")
    assert not hidden.masks_public
    assert [e.text for e in hidden.videos[0].expressions] == [
        e.text for e in open_benchmark("mevis", root).videos[0].expressions
    ]
    both = next(e for e in open_benchmark("mevis", root).videos[0].expressions if e.text == "both boxes")
    assert len(both.masks) == 2


def test_the_second_version_of_mevis_knows_what_means_nothing(tmp_path: Path) -> None:
    benchmark = open_benchmark("mevis-v2", MAKERS["mevis-v2"](tmp_path))
    assert [e.text for e in benchmark.videos[0].expressions if not e.masks] == ["the banana"]
    assert not open_benchmark("mevis-v2", tmp_path, "valid").masks_public


def test_revos_tells_referring_from_reasoning_and_knows_the_foreground(tmp_path: Path) -> None:
    benchmark = open_benchmark("revos", MAKERS["revos"](tmp_path))
    video = benchmark.videos[0]
    assert [e.kind for e in video.expressions] == ["referring", "reasoning", "reasoning", "hallucination"]
    foreground = benchmark.foreground(video, 0, (64, 96))
    both = next(e for e in video.expressions if e.text == "both boxes")
    assert np.array_equal(foreground, benchmark.mask(video, both, 0, (64, 96)))


def test_ref_youtube_vos_leaves_out_videos_that_are_for_the_test(tmp_path: Path) -> None:
    root = MAKERS["ref-youtube-vos"](tmp_path)
    assert [video.name for video in open_benchmark("ref-youtube-vos", root).videos] == ["b"]
    train = open_benchmark("ref-youtube-vos", root, "train")
    up = train.videos[0].expressions[1]
    assert np.array_equal(train.mask(train.videos[0], up, 2, SIZE), labels()[2] == 2)


def test_ref_davis_reads_the_published_folder_and_the_converted_one_alike(tmp_path: Path) -> None:
    converted = open_benchmark("ref-davis17", make_ref_davis17(tmp_path / "converted"))
    published = open_benchmark("ref-davis17", make_published_davis(tmp_path / "published"))
    for benchmark in (converted, published):
        (video,) = benchmark.videos
        assert [e.text for e in video.expressions] == [*WORDS, *OTHERS]
        assert [e.kind for e in video.expressions] == [*ANNOTATORS, *ANNOTATORS]
        assert [e.masks for e in video.expressions] == [("1",)] * 4 + [("2",)] * 4
        assert np.array_equal(benchmark.mask(video, video.expressions[5], 1, SIZE), labels()[1] == 2)


def test_reason_vos_counts_the_frames_of_which_there_are_masks(tmp_path: Path) -> None:
    benchmark = open_benchmark("reason-vos", MAKERS["reason-vos"](tmp_path))
    video = benchmark.videos[0]
    right, up = video.expressions
    assert benchmark.scored_frames(video, right) == (0, 2, 4)
    assert benchmark.scored_frames(video, up) == (0, 1, 2, 3, 4)
    assert (right.kind, up.kind) == ("sentence", "phrase")
    assert np.array_equal(benchmark.mask(video, right, 2, SIZE), track(1)[2])
    assert benchmark.place(video, right) == "BURST_a_b_1/0"


def test_the_table_top_sends_live_requests_elsewhere(tmp_path: Path) -> None:
    root = MAKERS["tabletop"](tmp_path)
    benchmark = open_benchmark("tabletop", root)
    assert [e.kind for e in benchmark.asked(benchmark.videos[0])] == ["follow-up", "", "absent"]
    edit(root / "val/meta_expressions.json", _in_video("1", "asked_at", 3))
    with pytest.raises(BenchmarkError, match="villa eval --data"):
        open_benchmark("tabletop", root)


# -- refused ---------------------------------------------------------------------------------------------------------


def _in_video(key: str, field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        video = next(iter(data["videos"].values()))
        video["expressions"][int(key) if isinstance(video["expressions"], list) else key][field] = value

    return change


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for name in path[:-1]:
            data = data[name]
        del data[path[-1]]

    return change


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


Spoil = Callable[[Path], None]
SPOILT: dict[str, tuple[str, Spoil, str]] = {
    "mevis, another folder": ("mevis", lambda r: _remove(r / "valid_u"), r"valid_u: wanted a folder.*holds valid"),
    "mevis, no expressions": (
        "mevis",
        lambda r: _remove(r / "valid_u/meta_expressions.json"),
        r"meta_expressions\.json: wanted the expressions of mevis; .*valid_u holds JPEGImages, mask_dict\.json",
    ),
    "mevis, no masks": (
        "mevis",
        lambda r: _remove(r / "valid_u/mask_dict.json"),
        r"mask_dict\.json: wanted the true masks",
    ),
    "mevis, no JSON": (
        "mevis",
        lambda r: (r / "valid_u/meta_expressions.json").write_text("{"),
        r"meta_expressions\.json: .*not readable as JSON",
    ),
    "mevis, an unknown mask": (
        "mevis",
        lambda r: edit(r / "valid_u/meta_expressions.json", _in_video("0", "anno_id", ["77"])),
        r"video 'video0', expression '0': mask '77' is not in mask_dict\.json",
    ),
    "mevis, no frames": (
        "mevis",
        lambda r: _remove(r / "valid_u/JPEGImages/video0"),
        r"video 'video0'.*first frame is not there",
    ),
    "mevis v1 for v2": (
        "mevis-v2",
        lambda r: (r / "valid_u/meta_expressions_v2.json").rename(r / "valid_u/meta_expressions.json"),
        r"meta_expressions_v2\.json: wanted the expressions of mevis-v2; .*meta_expressions\.json",
    ),
    "revos, no type": (
        "revos",
        lambda r: edit(r / "meta_expressions_valid_.json", _without("videos", "video0", "expressions", "0", "type_id")),
        r"video 'video0', expression '0': wanted 'type_id' 0, 1 or 2, saw None",
    ),
    "revos, no foreground": (
        "revos",
        lambda r: _remove(r / "mask_dict_foreground.json"),
        r"mask_dict_foreground\.json: wanted foreground masks",
    ),
    "revos, foreground of fewer frames": (
        "revos",
        lambda r: edit(r / "mask_dict_foreground.json", lambda d: d["video0"]["masks_rle"].pop()),
        r"'masks_rle' for 5 frames, saw 4 masks",
    ),
    "ref-youtube-vos, no expressions": (
        "ref-youtube-vos",
        lambda r: _remove(r / "meta_expressions"),
        r"valid/meta_expressions\.json: wanted an object with 'videos'; .*holds test, train, valid",
    ),
    "ref-youtube-vos, no list of the test": (
        "ref-youtube-vos",
        lambda r: _remove(r / "meta_expressions/test"),
        r"test/meta_expressions\.json: wanted",
    ),
    "ref-youtube-vos, a frame is missing": (
        "ref-youtube-vos",
        lambda r: _remove(r / "valid/JPEGImages/b/00003.jpg"),
        r"00003\.jpg: wanted this frame; the folder holds 00000\.jpg",
    ),
    "ref-davis, no label images": (
        "ref-davis17",
        lambda r: _remove(r / "valid/Annotations"),
        r"valid/Annotations: wanted a folder, label images.*holds JPEGImages",
    ),
    "ref-davis, an expression too few": (
        "ref-davis17",
        lambda r: edit(
            r / "meta_expressions/valid/meta_expressions.json", _without("videos", "goat", "expressions", "7")
        ),
        r"video 'goat': wanted four expressions for each object, saw 7",
    ),
    "ref-davis, objects out of order": (
        "ref-davis17",
        lambda r: edit(r / "meta_expressions/valid/meta_expressions.json", _in_video("1", "obj_id", "2")),
        r"expressions 0 to 3: wanted 'obj_id' 1, saw 1, 2, 1, 1",
    ),
    "reason-vos, no masks of an object": (
        "reason-vos",
        lambda r: _remove(r / "Annotations/BURST_a_b_2"),
        r"BURST_a_b_2: wanted a folder, the masks of the object; .*holds BURST_a_b_1",
    ),
    "reason-vos, a mask of no frame": (
        "reason-vos",
        lambda r: (r / "Annotations/BURST_a_b_1/00000.png").rename(r / "Annotations/BURST_a_b_1/x.png"),
        r"x\.png: wanted a frame of that name in JPEGImages/a_b",
    ),
    "reason-vos, no words": (
        "reason-vos",
        lambda r: edit(r / "meta_expressions.json", _in_video("1", "exp_text", " ")),
        r"expression 1: wanted 'exp_text', the words",
    ),
    "reason-vos, one expression twice": (
        "reason-vos",
        lambda r: edit(r / "meta_expressions.json", _in_video("1", "obj_id", 1)),
        r"wanted each 'exp_id' once for an object, saw 1/0 twice",
    ),
    "coco-names, no such picture": (
        "coco-names",
        lambda r: (r / "images/0.jpg").unlink(),
        r"its first picture 0\.jpg is not there: looked in",
    ),
    "coco-names, no categories": (
        "coco-names",
        lambda r: edit(r / "instances.json", lambda data: data.pop("categories")),
        r"instances\.json: wanted a list 'categories'",
    ),
    "real-clips, not made": (
        "real-clips",
        lambda r: _remove(r / "seen"),
        r"seen/meta_expressions\.json is not there: make it with `villa data real-clips --out ",
    ),
    "video-reason-seg, no split": (
        "video-reason-seg",
        lambda r: _remove(r / "test"),
        r"test: wanted a folder, the split test of video-reason-seg",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_an_unexpected_folder_is_refused_with_the_first_mismatch(case: str, tmp_path: Path) -> None:
    name, spoil, message = SPOILT[case]
    root = MAKERS[name](tmp_path / "set")
    open_benchmark(name, root)
    spoil(root)
    with pytest.raises(BenchmarkError, match=message):
        open_benchmark(name, root)


def test_published_davis_texts_of_different_length_are_refused(tmp_path: Path) -> None:
    root = make_published_davis(tmp_path)
    texts = root / "davis_text_annotations"
    path = texts / "Davis17_annot2.txt"
    whole = path.read_text("latin-1")
    path.write_text(whole.replace(f'goat 1 "{WORDS[2]}"\n', ""), "latin-1")
    with pytest.raises(BenchmarkError, match=r"video 'goat': wanted equally many .* saw 2, 2, 1, 2"):
        open_benchmark("ref-davis17", root)
    path.write_text("goat\n", "latin-1")
    with pytest.raises(BenchmarkError, match=r"Davis17_annot2\.txt, line 1: .*saw 'goat'"):
        open_benchmark("ref-davis17", root)


def test_photos_are_asked_for_what_is_neither_tiny_nor_most_of_them(tmp_path: Path) -> None:
    root = MAKERS["coco-names"](tmp_path)
    benchmark = open_benchmark("coco-names", root)
    asked = {video.name: {e.text: e.masks for e in video.expressions} for video in benchmark.videos}
    assert asked == {
        "0": {"the cup": ("cup",), "all the knives": ("knife",)},  # a crowd of books, and all names are there
        "1": {"the knife": ()},
        "2": {"the jar": ("jar",)},  # of a source that leaves things without a label
    }
    video = benchmark.videos[0]
    knives = next(e for e in video.expressions if e.text == "all the knives")
    assert benchmark.mask(video, knives, 1, SIZE).sum() == 2 * 64
    assert [benchmark.scored_frames(video, e) for e in video.expressions] == [(1,), (1,)]
    assert [video.name for video in open_benchmark("coco-names", root, "train").videos] == []
    assert len(open_benchmark("coco-names", root, "all").videos) == 4


def test_names_and_splits_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"no benchmark 'coco': wanted one of revos, mevis, mevis-v2"):
        open_benchmark("coco", tmp_path)
    with pytest.raises(BenchmarkError, match=r"mevis has no split 'val': wanted one of valid_u, valid"):
        open_benchmark("mevis", tmp_path, "val")
    with pytest.raises(BenchmarkError, match="is no folder"):
        open_benchmark("mevis", tmp_path / "nothing")


def test_label_images_with_colours_or_of_another_size_are_refused(tmp_path: Path) -> None:
    benchmark = open_benchmark("ref-davis17", make_ref_davis17(tmp_path))
    video = benchmark.videos[0]
    with pytest.raises(BenchmarkError, match=r"60x40 px, its image is 30x20"):
        benchmark.mask(video, video.expressions[0], 0, (20, 30))
    path = tmp_path / "valid/Annotations/goat/00000.png"
    cv2.imwrite(str(path), np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(BenchmarkError, match=r"with a palette .*saw mode RGB"):
        benchmark.mask(video, video.expressions[0], 0, SIZE)
    path.write_bytes(b"no image")
    with pytest.raises(BenchmarkError, match="does not decode"):
        benchmark.mask(video, video.expressions[0], 0, SIZE)


def test_masks_of_another_size_are_refused(tmp_path: Path) -> None:
    mevis = open_benchmark("mevis", make_mevis(tmp_path / "mevis"))
    with pytest.raises(BenchmarkError, match="96x64"):
        mevis.mask(mevis.videos[0], mevis.videos[0].expressions[0], 0, (10, 10))
    reason = open_benchmark("reason-vos", MAKERS["reason-vos"](tmp_path / "reason"))
    with pytest.raises(BenchmarkError, match="60x40"):
        reason.mask(reason.videos[0], reason.videos[0].expressions[0], 0, (10, 10))
    revos = open_benchmark("revos", MAKERS["revos"](tmp_path / "revos"))
    with pytest.raises(BenchmarkError, match="96x64"):
        revos.foreground(revos.videos[0], 0, (10, 10))


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    benchmark = open_benchmark("mevis", make_mevis(tmp_path))
    benchmark.videos[0].frames[1].write_bytes(b"")
    with pytest.raises(BenchmarkError, match=r"00001\.jpg: wanted an image"):
        benchmark.rgb(benchmark.videos[0], 1)


def test_expressions_of_ref_youtube_vos_are_in_the_format_that_its_docs_say(tmp_path: Path) -> None:
    root = MAKERS["ref-youtube-vos"](tmp_path)
    meta = json.loads((root / "meta_expressions/train/meta_expressions.json").read_text())
    assert meta["videos"]["a"]["frames"] == NAMES
    edit(root / "meta_expressions/train/meta_expressions.json", _without("videos", "a", "expressions", "0", "obj_id"))
    with pytest.raises(BenchmarkError, match="expression '0': wanted 'obj_id', a label"):
        open_benchmark("ref-youtube-vos", root, "train")
