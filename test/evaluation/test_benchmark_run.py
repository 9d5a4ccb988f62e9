"""A run over each tiny set: the truth scores one, the masks lie where they should, and an interrupted run goes on."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import zipfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from tiny import tiny_model
from tiny_sets import FRAMES, MAKERS, NAMES, OTHERS, WORDS, Choosing, Told, labels, make_mevis, track, truth_of

from villa import ViLLa
from villa.evaluation.benchmarks import BENCHMARKS, BenchmarkError, open_benchmark
from villa.evaluation.davis_objects import merged
from villa_ros.evaluation.benchmark_run import (
    BenchmarkReport,
    BenchmarkRunError,
    VideoTask,
    benchmark_table,
    model_fingerprint,
    run_benchmark,
    run_video,
)

SCORED = [name for name in MAKERS if name != "ref-youtube-vos"]


@pytest.fixture(params=SCORED)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, MAKERS[request.param](tmp_path / "set")


def printed(report: BenchmarkReport, width: int = 200) -> str:
    page = io.StringIO()
    Console(file=page, width=width).print(benchmark_table(report))
    return page.getvalue()


def test_the_truth_scores_one_in_every_set(made: tuple[str, Path], tmp_path: Path) -> None:
    name, root = made
    report = run_benchmark(name, root, Told(truth_of(open_benchmark(name, root))), tmp_path / "run")
    # Where masks overlap in Ref-DAVIS17 a px belongs to one object; here none do, and void px count nowhere.
    assert report.row["jf"] == pytest.approx(1.0)
    assert report.errors == []
    assert report.complete
    for score in report.scores:
        assert score["j"] == pytest.approx(1.0)
        assert score["jf"] == pytest.approx(1.0)
        assert score["target"] == score["answered"]
    for part in report.row.get("parts", {}).values():
        assert part.get("jf", 1.0) == pytest.approx(1.0)


def test_a_model_that_sees_nothing_scores_nothing_but_is_right_about_what_is_not_there(
    made: tuple[str, Path], tmp_path: Path
) -> None:
    name, root = made
    report = run_benchmark(name, root, Told({}), tmp_path / "run")
    for score in report.scores:
        # The box that hides on one frame is answered right on that one.
        assert score["jf"] <= 1 / FRAMES if score["target"] else score["jf"] == 1.0
        assert not score["answered"]
    if "n_acc" in report.row and report.row["n_acc"] is not None:
        assert (report.row["n_acc"], report.row["t_acc"]) == (1.0, 0.0)


def test_the_result_file_says_what_the_report_says(made: tuple[str, Path], tmp_path: Path) -> None:
    name, root = made
    report = run_benchmark(name, root, Told({}), tmp_path / "run", model_name="told")
    written = json.loads(report.result.read_text())
    assert report.result == tmp_path / "run/result.json"
    assert (written["schema"], written["kind"]) == (1, "benchmark")
    assert (written["benchmark"], written["split"], written["model"]) == (name, BENCHMARKS[name].splits[0], "told")
    assert written["row"] == json.loads(json.dumps(report.row))
    assert written["scores"] == json.loads(json.dumps(report.scores))
    assert written["errors"] == []
    for score in written["scores"]:
        assert {"video", "key", "kind", "request", "j", "f", "jf"} <= set(score)


def test_every_set_has_a_table(made: tuple[str, Path], tmp_path: Path) -> None:
    name, root = made
    report = run_benchmark(name, root, Told({}), tmp_path / "run", model_name="told")
    text = printed(report)
    assert f"{name}, {report.split}, {len(open_benchmark(name, root).videos)} videos: told" in text
    assert "\u2026" not in printed(report, width=80)  # nothing is cut short
    assert f"{report.row['jf']:.3f}" in text.rstrip().splitlines()[-1]
    for part in report.row.get("parts", {}):
        assert part in text


# -- masks for the servers -------------------------------------------------------------------------------------------


def test_mevis_is_zipped_as_its_server_wants_it_with_or_without_true_masks(tmp_path: Path) -> None:
    root = make_mevis(tmp_path / "set")
    model = Told({"the red box": [[np.ones((64, 96), np.bool_)] * FRAMES]})
    for split in ("valid_u", "valid"):
        report = run_benchmark("mevis", root, model, tmp_path / split, split=split)
        assert report.submission == tmp_path / split / "submission.zip"
        with zipfile.ZipFile(report.submission) as archive:
            assert set(archive.namelist()) == {
                f"video{v}/{key}/{name}.png" for v in range(2) for key in "0123" for name in NAMES
            }
            red, blue = (archive.read(f"video0/{key}/00001.png") for key in "01")
        red, blue = (cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) for png in (red, blue))
        assert (np.unique(red).tolist(), np.unique(blue).tolist()) == ([255], [0])
        assert red.shape == (64, 96)
    assert report.row == {"videos": 2, "expressions": 8, "answered": 0.25}
    assert "j" not in report.scores[0]


def test_ref_youtube_vos_is_zipped_below_annotations(tmp_path: Path) -> None:
    root = MAKERS["ref-youtube-vos"](tmp_path / "set")
    report = run_benchmark("ref-youtube-vos", root, Told({}), tmp_path / "run")
    with zipfile.ZipFile(report.submission) as archive:
        assert archive.namelist() == [f"Annotations/b/{key}/{name}.png" for key in "01" for name in NAMES]
    train = run_benchmark("ref-youtube-vos", root, Told({}), tmp_path / "train", split="train", submit=False)
    assert train.row["jf"] == 0.0
    assert train.submission is None
    assert not (tmp_path / "train/submission").exists()


def test_ref_davis_gets_one_label_image_for_each_set_of_expressions(tmp_path: Path) -> None:
    root = MAKERS["ref-davis17"](tmp_path / "set")
    answers = {WORDS[0]: [track(1)], OTHERS[0]: [track(2)], WORDS[1]: [track(2)], OTHERS[1]: [track(1)]}
    report = run_benchmark("ref-davis17", root, Told(answers), tmp_path / "run")
    assert report.submission == tmp_path / "run/submission"
    for t, name in enumerate(NAMES):
        with Image.open(report.submission / "anno_0/goat" / f"{name}.png") as image:
            assert np.array_equal(np.asarray(image), merged([track(1)[t], track(2)[t]], labels()[t].shape))
    assert len(list(report.submission.rglob("*.png"))) == 4 * FRAMES
    # Swapped labels are matched to their objects, as in the unsupervised task of DAVIS; one by one they miss.
    by_kind = report.row["parts"]
    assert by_kind["annotator 1, first"]["jf"] == pytest.approx(1.0)
    assert by_kind["annotator 1, full"]["jf"] == pytest.approx(1.0)
    assert by_kind["annotator 1, full"]["jf_direct"] < 0.3
    assert by_kind["annotator 2, full"]["jf"] == pytest.approx(0.0)
    assert report.row["jf"] == pytest.approx(0.5)


def test_reason_vos_lies_as_its_evaluator_wants_it(tmp_path: Path) -> None:
    root = MAKERS["reason-vos"](tmp_path / "set")
    report = run_benchmark("reason-vos", root, Told({}), tmp_path / "run")
    found = {path.relative_to(report.submission).parent.as_posix() for path in report.submission.rglob("*.png")}
    assert found == {"BURST_a_b_1/0", "BURST_a_b_2/0"}


# -- several tracklets, follow-ups, choices --------------------------------------------------------------------------


def test_tracklets_of_an_answer_are_taken_together(tmp_path: Path) -> None:
    root = make_mevis(tmp_path / "set", videos=1)
    benchmark = open_benchmark("mevis", root)
    truth = truth_of(benchmark)
    apart = truth | {"both boxes": [*truth["the red box"], *truth["the blue box"]]}
    assert run_benchmark("mevis", root, Told(apart), tmp_path / "run").row["jf"] == pytest.approx(1.0)


def test_a_follow_up_hears_the_models_own_answer_to_what_came_before(tmp_path: Path) -> None:
    root = MAKERS["tabletop"](tmp_path / "set")
    model = Told({})
    report = run_benchmark("tabletop", root, model, tmp_path / "run")
    assert model.heard == ["the red box", "the blue box", "both boxes", "the banana"]
    assert model.histories[1] == (("the red box", "about the red box"),)
    assert [score["key"] for score in report.scores] == ["1", "2", "3"]


def test_multiple_choice_is_asked_of_models_that_can_rank(tmp_path: Path) -> None:
    root = MAKERS["video-reason-seg"](tmp_path / "set")
    report = run_benchmark("video-reason-seg", root, Choosing({}), tmp_path / "ranks")
    assert report.row["choice"] == 0.5
    assert (report.row["parts"]["short"]["choice"], report.row["parts"]["long"]["choice"]) == (1.0, 0.0)
    assert run_benchmark("video-reason-seg", root, Told({}), tmp_path / "none").row["choice"] is None


# -- going on, and going wrong ---------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    root = make_mevis(tmp_path / "set", videos=3)
    stopped = Told({}, breaks_at="both boxes", error=KeyboardInterrupt)
    stopped.heard = ["the red box"]
    first = Told({})
    run_benchmark("mevis", root, first, tmp_path / "run", limit=1)
    assert len(first.heard) == 4
    with pytest.raises(KeyboardInterrupt):
        run_benchmark("mevis", root, stopped, tmp_path / "run")
    told: list[tuple[int, int]] = []
    second = Told({})
    report = run_benchmark("mevis", root, second, tmp_path / "run", progress=lambda *done: told.append(done))
    assert len(second.heard) == 8  # of the two videos that were not done
    assert told == [(1, 3), (2, 3), (3, 3)]
    whole = run_benchmark("mevis", root, Told({}), tmp_path / "at once")
    assert report.scores == whole.scores
    assert report.row == whole.row
    assert report.submission.read_bytes() == whole.submission.read_bytes()
    again = Told({})
    assert run_benchmark("mevis", root, again, tmp_path / "run").row == whole.row
    assert again.heard == []


def test_a_run_does_not_mix_models_sets_or_settings(tmp_path: Path) -> None:
    root = make_mevis(tmp_path / "set")
    run = tmp_path / "run"
    run_benchmark("mevis", root, Told({}), run, limit=1, model_name="one")
    with pytest.raises(BenchmarkRunError, match=r"holds a run with model 'one', wanted 'two': choose another folder"):
        run_benchmark("mevis", root, Told({}), run, model_name="two")
    with pytest.raises(BenchmarkRunError, match="run with fingerprint"):
        run_benchmark("mevis", root, Choosing({}), run, model_name="one")
    with pytest.raises(BenchmarkRunError, match="run with split 'valid_u', wanted 'valid'"):
        run_benchmark("mevis", root, Told({}), run, model_name="one", split="valid")
    with pytest.raises(BenchmarkRunError, match="run with submit True, wanted False"):
        run_benchmark("mevis", root, Told({}), run, model_name="one", submit=False)
    other = make_mevis(tmp_path / "other", videos=1)
    with pytest.raises(BenchmarkRunError, match="run with data"):
        run_benchmark("mevis", other, Told({}), run, model_name="one")
    (run / "submission/video0/0/00000.png").unlink()
    with pytest.raises(BenchmarkRunError, match="holds 19 of the 20 masks"):
        run_benchmark("mevis", root, Told({}), run, model_name="one")
    (run / "result.json").write_text("[]")
    with pytest.raises(BenchmarkRunError, match="is no result of a run"):
        run_benchmark("mevis", root, Told({}), run, model_name="one")


def test_a_bad_video_is_told_counted_and_tried_again(tmp_path: Path) -> None:
    root = make_mevis(tmp_path / "set")
    benchmark = open_benchmark("mevis", root)
    damaged = benchmark.videos[0].frames[0]
    whole = damaged.read_bytes()
    model = Told(truth_of(benchmark))
    damaged.write_bytes(b"")
    report = run_benchmark("mevis", root, model, tmp_path / "run")
    (error,) = report.errors
    assert (error["video"], error["expressions"]) == ("video0", 4)
    assert "00000.jpg: wanted an image" in error["error"]
    assert not report.complete
    assert report.row["failed"] == 4
    assert report.row["jf"] == pytest.approx(0.5)  # as the evaluation of MeViS counts a video without predictions
    assert [score["video"] for score in report.scores if score.get("failed")] == ["video0"] * 4
    assert "1 of 2 videos: Told" in printed(report)
    damaged.write_bytes(whole)
    mended = run_benchmark("mevis", root, model, tmp_path / "run")
    assert mended.errors == []
    assert mended.complete
    assert mended.row["jf"] == pytest.approx(1.0)


def test_masks_that_do_not_fit_the_video_are_an_error_of_that_video(tmp_path: Path) -> None:
    root = make_mevis(tmp_path / "set", videos=1)
    small = [[np.ones((8, 8), np.bool_)] * FRAMES]
    report = run_benchmark("mevis", root, Told({"the red box": small}), tmp_path / "run")
    assert "(8, 8)" in report.errors[0]["error"]
    assert "(64, 96)" in report.errors[0]["error"]
    assert report.submission is None


def test_two_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((os.environ["PYTHONPATH"], *sys.path)))
    root = make_mevis(tmp_path / "set", videos=3)
    open_benchmark("mevis", root).videos[1].frames[0].write_bytes(b"")
    serial = run_benchmark("mevis", root, Told({}), tmp_path / "one")
    told: list[tuple[int, int]] = []
    spread = run_benchmark(
        "mevis", root, Told({}), tmp_path / "two", workers=2, begin=partial(Told, {}),
        progress=lambda *done: told.append(done),
    )  # fmt: skip
    assert (spread.scores, spread.row, spread.errors) == (serial.scores, serial.row, serial.errors)
    assert spread.submission.read_bytes() == serial.submission.read_bytes()
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_video_can_be_run_in_a_process_of_its_own(tmp_path: Path) -> None:
    root = make_mevis(tmp_path / "set")
    task = pickle.loads(pickle.dumps(VideoTask("mevis", root, "valid_u", "video1", tmp_path / "masks")))
    result = pickle.loads(pickle.dumps(run_video))(task, Told({}))
    assert result == json.loads(json.dumps(result))
    assert {score["video"] for score in result["scores"]} == {"video1"}
    assert len(result["files"]) == 4 * FRAMES
    assert all(Path(file).is_file() for file in result["files"])
    with pytest.raises(BenchmarkError, match="wanted video 'video9'"):
        run_video(VideoTask("mevis", root, "valid_u", "video9", None), Told({}))


def test_fingerprints_tell_models_apart_by_weights_and_configuration() -> None:
    model = ViLLa(tiny_model())
    before = model_fingerprint(model)
    assert model_fingerprint(ViLLa(tiny_model())) == before
    with_other = ViLLa(tiny_model())
    weight = next(iter(with_other.network.state_dict().values()))
    weight.view(-1)[0] += 1
    assert model_fingerprint(with_other) != before
    assert model_fingerprint(Told({})) == model_fingerprint(Told({"a": []}))


def test_a_real_model_runs(tmp_path: Path) -> None:
    root = make_mevis(tmp_path / "set", videos=1)
    report = run_benchmark("mevis", root, ViLLa(tiny_model()), tmp_path / "run")
    assert report.errors == []
    assert all(0 <= score["jf"] <= 1 for score in report.scores)
