"""`villa eval`, `villa data` and `villa train` on clips drawn here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import pytest
import torch
from test_cli import FakeModel, villa

from villa.checkpoint import save
from villa.evaluate import Score
from villa.model import ViLLa

sys.path.insert(0, str(Path(__file__).parents[1] / "villa"))

from drawn_clips import HEIGHT, WIDTH, draw_clip
from tiny import tiny_model


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for seed in (1, 2):
        draw_clip(tmp_path / "clips" / f"{seed:07d}", seed)
    return tmp_path / "clips"


def test_eval_scores_every_clip_and_writes_what_it_prints(clips: Path, tmp_path: Path, fake_model: FakeModel) -> None:
    file = tmp_path / "scores" / "eval.json"
    code, told, complained = villa("eval", "--data", clips, "--requests", "3", "--frames", "4", "--out", file)
    assert code == 0, complained
    content = json.loads(file.read_text())
    assert {score["clip"] for score in content["scores"]} == {"0000001", "0000002"}
    assert "all" in content["summary"]
    for kind in content["summary"]:
        assert kind in told


def test_eval_with_a_least_presence_of_its_own(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tiny_model(), tmp_path / "villa.safetensors", torch.float32)
    used: list[float] = []

    def scored(model: ViLLa, *_: object) -> list[Score]:
        used.append(model.config.least_presence)
        return []

    monkeypatch.setattr("villa.evaluate.evaluate", scored)
    monkeypatch.setattr("villa.evaluate.summary", lambda scores: {"all": {"requests": 0.0}})
    given = ("eval", "--data", clips, "--checkpoint", tmp_path, "--out", tmp_path / "eval.json")
    assert villa(*given)[0] == 0
    assert villa(*given, "--least-presence", "0.7")[0] == 0
    assert used == [tiny_model().config.least_presence, 0.7]


def test_eval_of_a_folder_without_clips_says_how_to_make_some(tmp_path: Path, fake_model: FakeModel) -> None:
    (tmp_path / "empty").mkdir()
    code, _, complained = villa("eval", "--data", tmp_path / "empty", "--out", tmp_path / "eval.json")
    assert code == 1
    assert "villa data build" in complained


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
