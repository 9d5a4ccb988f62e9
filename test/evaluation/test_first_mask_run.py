"""`villa eval --benchmark davis2016 --first-mask`: both families, the published evaluator, resuming, bad sequences."""

from __future__ import annotations

import json
import os
import sys
import weakref
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from answering_models import light, over_sam2
from tiny import tiny_model
from tiny_sets import FRAMES, NAMES, SIZE, Told, make_davis2016, make_davis2017, track
from typer.testing import CliRunner
from vos_benchmark.benchmark import VideoEvaluator

from villa import ViLLa
from villa.evaluation.benchmarks import Benchmark, open_benchmark
from villa_ros.cli.main import app
from villa_ros.evaluation.benchmark_run import VideoTask, run_benchmark, run_video

ONE = "The mug [SEG]."
FAMILIES = {"light": lambda: ViLLa(light(ONE)), "sam2": lambda: ViLLa(over_sam2(ONE))}


def villa(*arguments: str | Path):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


@pytest.mark.parametrize("family", FAMILIES)
def test_both_families_are_scored_as_the_published_evaluator_scores_their_masks(family: str, tmp_path: Path) -> None:
    root = make_davis2016(tmp_path / "set", (1, 2))
    report = run_benchmark("davis2016", root, FAMILIES[family](), tmp_path / "run")
    assert report.errors == []
    assert report.complete
    assert report.submission == tmp_path / "run/submission"
    evaluate = VideoEvaluator(root / "Annotations/480p", report.submission)  # leaves out the first and the last frame
    means = []
    for score in report.scores:
        _, j, f = evaluate(score["video"])
        means.append((j[255] / 100, f[255] / 100))  # 255 is its one object
        assert (score["j"], score["f"]) == pytest.approx(means[-1], abs=1e-6)
    j, f = np.mean(means, axis=0)
    assert (report.row["j"], report.row["f"], report.row["jf"]) == pytest.approx((j, f, (j + f) / 2), abs=1e-6)
    assert 0 < report.row["j"] < 1


def test_the_masks_that_are_written_begin_with_the_given_one(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path / "set")
    report = run_benchmark("davis2016", root, ViLLa(light(ONE)), tmp_path / "run")
    files = sorted(path.relative_to(report.submission).as_posix() for path in report.submission.rglob("*.png"))
    assert files == [f"{video}/{name}.png" for video in ("bear", "camel") for name in NAMES]
    first = cv2.imread(str(report.submission / "bear/00000.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(first, track(1)[0] * np.uint8(255))


def test_no_words_are_asked_and_the_first_mask_is_given(tmp_path: Path) -> None:
    root = make_davis2017(tmp_path / "set")
    model = Told({})
    run_benchmark("davis2016", root, model, tmp_path / "run")
    assert model.heard == []
    both = track(1)[0] | track(2)[0]
    both[-1] = False
    assert [np.array_equal(mask, both) for mask in model.given] == [True, True]


def test_frames_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_davis2016(tmp_path / "set")
    alive: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
    held: list[int] = []
    rgb = Benchmark.rgb

    def watched(benchmark, video, frame):
        image = rgb(benchmark, video, frame)
        alive[len(held)] = image
        held.append(len(alive))
        return image

    monkeypatch.setattr(Benchmark, "rgb", watched)
    report = run_benchmark("davis2016", root, ViLLa(tiny_model()), tmp_path / "run")
    assert report.errors == []
    assert len(held) == 2 * (FRAMES + 1)  # the first frame also for its size
    assert max(held) <= 3


# -- going on, and going wrong ---------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path / "set", (1, 2))
    run_benchmark("davis2016", root, Told({"": [track(1)]}), tmp_path / "run", limit=1)
    second = Told({"": [track(1)]})
    report = run_benchmark("davis2016", root, second, tmp_path / "run")
    assert len(second.given) == 1
    assert np.array_equal(second.given[0], track(2)[0])
    whole = run_benchmark("davis2016", root, Told({"": [track(1)]}), tmp_path / "at once")
    assert (report.scores, report.row) == (whole.scores, whole.row)
    assert report.row["parts"]["bear"]["jf"] == 1.0


def test_two_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((os.environ["PYTHONPATH"], *sys.path)))
    root = make_davis2016(tmp_path / "set", (1, 2))
    answers = {"": [track(1)]}
    serial = run_benchmark("davis2016", root, Told(answers), tmp_path / "one")
    spread = run_benchmark("davis2016", root, Told(answers), tmp_path / "two", workers=2, begin=partial(Told, answers))
    assert (spread.scores, spread.row, spread.errors) == (serial.scores, serial.row, serial.errors)


def test_bad_sequences_are_told_counted_and_tried_again(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path / "set")
    first = root / "Annotations/480p/bear/00000.png"
    frame = root / "JPEGImages/480p/camel/00003.jpg"
    whole, good = first.read_bytes(), frame.read_bytes()
    cv2.imwrite(str(first), np.zeros(SIZE, np.uint8))
    cv2.imwrite(str(frame), np.zeros((20, 30, 3), np.uint8))
    report = run_benchmark("davis2016", root, ViLLa(light(ONE)), tmp_path / "run")
    bear, camel = (error["error"] for error in report.errors)
    assert "bear/00000.png: the mask of the first frame is empty" in bear
    assert "camel/00003.jpg: 30x20 px, the first frame is 60x40: wanted one size in a video" in camel
    assert (report.row["jf"], report.row["failed"]) == (0.0, 2)
    first.write_bytes(whole)
    frame.write_bytes(good)
    assert run_benchmark("davis2016", root, ViLLa(light(ONE)), tmp_path / "run").complete


def test_a_model_that_cannot_carry_a_mask_is_told(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path)
    task = VideoTask("davis2016", root, "val", "bear", None)
    with pytest.raises(ValueError, match="object has no `propagate` that carries one"):
        run_video(task, object())  # type: ignore[arg-type]


class _Short(Told):
    def propagate(self, frames, mask, *, fps=10.0):
        return list(super().propagate(frames, mask))[:-1]


def test_masks_that_do_not_fit_the_sequence_are_refused(tmp_path: Path) -> None:
    task = VideoTask("davis2016", make_davis2016(tmp_path), "val", "bear", None)
    with pytest.raises(ValueError, match=r"for 4 frames, the video has 5 frames of \(40, 60\) px"):
        run_video(task, _Short({"": [track(1)]}))
    with pytest.raises(ValueError, match=r"masks of \[\(8, 8\)\] px for 5 frames"):
        run_video(task, Told({"": [[np.ones((8, 8), np.bool_)] * FRAMES]}))


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_command_prints_the_table_and_writes_the_result(family: str, tmp_path: Path) -> None:
    root = make_davis2016(tmp_path / "set", (1, 2))
    FAMILIES[family]().save_pretrained(tmp_path / ("model.safetensors" if family == "light" else "model"))
    (checkpoint,) = tmp_path.glob("model*")
    run = villa(
        "--benchmark",
        "davis2016",
        "--root",
        root,
        "--first-mask",
        "--checkpoint",
        checkpoint,
        "--out",
        tmp_path / "run",
    )
    assert run.exit_code == 0, run.output
    written = json.loads((tmp_path / "run/result.json").read_text())
    assert written["benchmark"] == "davis2016"
    assert "davis2016, val, 2 videos:" in " ".join(run.output.split())
    for name in ("bear", "camel", "all"):
        (line,) = (line for line in run.output.splitlines() if line.split()[:1] == [name])
        row = written["row"] if name == "all" else written["row"]["parts"][name]
        assert [f"{row[measure]:.3f}" for measure in ("jf", "j", "f", "j_recall", "j_decay")] == line.split()[-5:]
    scored = open_benchmark("davis2016", root).videos
    assert [score["video"] for score in written["scores"]] == [video.name for video in scored]


@pytest.mark.slow
def test_the_shipped_model_carries_the_red_boxes(tmp_path: Path) -> None:
    root = make_davis2016(tmp_path / "set", (1, 2))
    run = villa("--benchmark", "davis2016", "--root", root, "--first-mask", "--out", tmp_path / "run")
    assert run.exit_code == 0, run.output
    row = json.loads((tmp_path / "run/result.json").read_text())["row"]
    assert row["jf"] > 0.9
    assert row["j_recall"] == 1.0


def test_a_folder_that_does_not_fit_is_told_before_the_model_loads(
    tmp_path: Path, fake_model: list[tuple[str, str]]
) -> None:
    root = make_davis2016(tmp_path)
    (root / "Annotations/480p/bear/00000.png").unlink()
    run = villa("--benchmark", "davis2016", "--root", root, "--first-mask")
    assert run.exit_code == 1
    assert "wanted the mask of the first frame" in " ".join(run.output.split())
    assert fake_model == []
