"""`villa eval`, `villa data` and `villa train` on clips drawn here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from drawn_clips import HEIGHT, WIDTH, draw_clip
from mevis import draw
from test_cli import villa
from tiny import tiny_model

from villa import ViLLa
from villa.checkpoints.checkpoint import save
from villa.data.benchmark import annotate
from villa.data.real_clips.listing import HALVES
from villa.data.splits import SPLITS
from villa.evaluation.split_evaluation import Score, evaluate_video
from villa_ros.cli.training import HalfName, SplitName


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for seed in (1, 2):
        draw_clip(tmp_path / "clips" / f"{seed:07d}", seed)
    annotate(tmp_path / "clips", SPLITS["val"])
    return tmp_path / "clips"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save(tiny_model(), tmp_path / "villa.safetensors", torch.float32)
    return tmp_path


def test_eval_scores_every_clip_and_writes_what_it_prints(clips: Path, tmp_path: Path, checkpoint: Path) -> None:
    file = tmp_path / "scores" / "eval.json"
    sheet = tmp_path / "scores" / "sheet.png"
    given = ("eval", "--data", clips, "--checkpoint", checkpoint, "--requests", "3", "--out", file, "--picture", sheet)
    code, told, complained = villa(*given)
    assert code == 0, complained
    assert cv2.imread(str(sheet)) is not None
    content = json.loads(file.read_text())
    assert [score["video"] for score in content["scores"]] == ["0000001"] * 3 + ["0000002"] * 3
    assert content["rows"][-1]["kind"] == "all"
    for row in content["rows"]:
        assert row["kind"] in told


def test_eval_keeps_the_scores_of_the_clips_that_can_be_read(clips: Path, tmp_path: Path, checkpoint: Path) -> None:
    damaged = sorted(clips.rglob("0000002/*.jpg"))[0]
    damaged.write_bytes(b"")
    file = tmp_path / "eval.json"
    code, _, complained = villa("eval", "--data", clips, "--checkpoint", checkpoint, "--requests", "2", "--out", file)
    assert code == 1
    assert "0000002" in complained
    assert [score["video"] for score in json.loads(file.read_text())["scores"]] == ["0000001"] * 2


def test_eval_with_a_least_presence_of_its_own(
    clips: Path, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[float] = []

    def scored(model: ViLLa, *about: Any, **more: Any) -> list[Score]:
        used.append(model.config.least_presence)
        return evaluate_video(model, *about, **more)

    monkeypatch.setattr("villa.evaluation.split_evaluation.evaluate_video", scored)
    options = ("--limit", "1", "--requests", "1", "--checkpoint", checkpoint, "--out", tmp_path / "eval.json")
    given = ("eval", "--data", clips, *options)
    assert villa(*given)[0] == 0
    assert villa(*given, "--least-presence", "0.7")[0] == 0
    assert used == [tiny_model().config.least_presence, 0.7]


def test_eval_runs_a_public_benchmark_and_writes_its_submission(tmp_path: Path, checkpoint: Path) -> None:
    root = tmp_path / "mevis"
    draw(root / "valid_u", answers=False)
    given = ("eval", "--benchmark", "mevis", "--root", root, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    code, told, complained = villa(*given)
    assert code == 0, complained
    assert "mevis, valid_u" in told
    values = json.loads((tmp_path / "out" / "result.json").read_text())
    assert values["kind"] == "benchmark"
    assert len(values["scores"]) == 4
    assert (tmp_path / "out" / "submission.zip").stat().st_size > 0


def test_eval_of_a_folder_without_clips_says_how_to_make_some(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, complained = villa("eval", "--data", tmp_path / "empty", "--checkpoint", checkpoint)
    assert code == 1
    assert "villa data build" in complained


def test_real_videos_that_are_not_there_are_named(tmp_path: Path) -> None:
    code, _, complained = villa("data", "real", "--out", tmp_path / "real", "--videos", tmp_path)
    assert code == 1
    assert "cup.mp4" in complained
    assert "opencv-doc" in complained


def test_real_clips_that_are_not_there_are_named(tmp_path: Path) -> None:
    asked = ("data", "real-clips", "--out", tmp_path / "cache", "--from", tmp_path, "--half", "seen", "--no-fetch")
    code, _, complained = villa(*asked)
    assert code == 1
    for name in ("cup", "box", "fruit", "arms", "blocks", "worker"):
        assert f"{name}: " in complained
    assert "held" not in complained


def test_the_command_knows_both_halves() -> None:
    assert [name.value for name in HalfName] == list(HALVES)


def test_the_command_knows_every_split() -> None:
    assert [name.value for name in SplitName] == list(SPLITS)


def test_show_lists_the_objects_and_draws_their_masks(clips: Path) -> None:
    code, told, _ = villa("data", "show", clips / "0000001")
    assert code == 0
    for name in ("red mug", "blue bowl", "green can"):
        assert name in told
    sheet = cv2.imread(str(clips / "0000001" / "sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] > WIDTH
    assert sheet.shape[0] > HEIGHT


def test_training_that_cannot_start_is_one_message(tmp_path: Path) -> None:
    """Without clips, or before that without the packages that training begins from."""
    (tmp_path / "empty").mkdir()
    code, told, complained = villa("train", "--data", tmp_path / "empty", "--out", tmp_path / "run", "--steps", "1")
    assert code == 1
    assert complained.count("villa:") == 1
    assert "Traceback" not in told + complained
