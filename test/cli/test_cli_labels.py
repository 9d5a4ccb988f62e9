"""From a run to ground truth, as its user goes: replay drafts labels, a person corrects, an evaluation takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from small_bags import stamp, write_bag
from typer.testing import CliRunner

from villa_ros.cli.main import app


def villa(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_corrected_draft_is_ground_truth_for_an_evaluation(tmp_path: Path, fake_model: list[tuple[str, str]]) -> None:
    bag, folder = write_bag(tmp_path / "bag"), tmp_path / "labels"
    asked = ("--command", "the red box", "--at", "0.5")
    run = villa("replay", bag, *asked, "--draft-labels", folder, "--out", tmp_path / "replay", "--no-pictures")
    assert run.exit_code == 0, run.output
    assert "20 frames, 1 objects of 1 requests" in run.output

    path = folder / "Annotations" / f"{stamp(12)}.png"
    with Image.open(path) as image:
        numbers, palette = np.asarray(image).copy(), image.getpalette()
    numbers[:] = 0  # the person says: it is not there on this frame
    corrected = Image.fromarray(numbers).convert("P")
    corrected.putpalette(palette)
    corrected.save(path)

    told = villa("labels", folder, "--bag", bag, "--out", tmp_path / "truth")
    assert told.exit_code == 0, told.output
    assert "20 frames, 1 of them corrected, 1 objects" in told.output
    assert "'the red box'" in told.output
    assert (tmp_path / "truth" / "metadata.yaml").is_file()

    file = tmp_path / "scenario.yaml"
    file.write_text(
        "bags:\n"
        "- {path: bag, name: folder, requests: [{at: 0.5, text: the red box}], truth: {folder: labels}}\n"
        "- {path: truth, name: topic}\n"
        "criteria: [J&F >= 0.9]"
    )
    judged = villa("eval", file, "--out", tmp_path / "out", "--no-report")
    assert judged.exit_code == 0, judged.output
    for bag_result in json.loads((tmp_path / "out" / "scenario" / "result.json").read_text())["bags"]:
        assert not bag_result["failed"], bag_result["faults"]
        (red,) = bag_result["requests"]
        scores = {moment["stamp_ns"]: moment["j"] for moment in red["moments"]}
        assert scores[stamp(12)] == 0.0, "segmented, and not there by the correction"
        assert scores[stamp(13)] == 1.0
        assert red["jf"] == 14 / 15


def test_labels_are_never_written_over(tmp_path: Path, fake_model: list[tuple[str, str]]) -> None:
    bag = write_bag(tmp_path / "bag")
    (tmp_path / "labels").mkdir()
    run = villa("replay", bag, "--command", "the red box", "--draft-labels", tmp_path / "labels")
    assert run.exit_code == 2
    assert "may hold corrected labels" in run.output
    assert fake_model == []


def test_a_folder_without_labels_is_told(tmp_path: Path) -> None:
    run = villa("labels", tmp_path)
    assert run.exit_code == 1
    assert "labels.json" in run.output
