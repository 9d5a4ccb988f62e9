"""The mean of two checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_config, tiny_model
from typer.testing import CliRunner

from villa.checkpoints.checkpoint import load, save
from villa.training.weight_averaging import AverageError, average
from villa_ros.cli.main import app


def test_every_weight_lies_between_the_two() -> None:
    before, after = tiny_model(1), tiny_model(2)
    wanted = {
        name: 0.75 * tensor + 0.25 * after.state_dict()[name]
        for name, tensor in before.state_dict().items()
        if tensor.is_floating_point()
    }
    mean = average(before, after, 0.25)
    for name, tensor in wanted.items():
        torch.testing.assert_close(mean.state_dict()[name], tensor)


def test_what_the_weights_before_lack_stays_as_it_was_learnt() -> None:
    config = tiny_config()
    things = replace(config.language.things, speeds=False)
    before = tiny_model(1, replace(config, language=replace(config.language, things=things)))
    after = tiny_model(2)
    learnt = {name: tensor.clone() for name, tensor in after.state_dict().items() if ".speeds." in name}
    assert learnt
    mean = average(before, after, 0.5).state_dict()
    for name, tensor in learnt.items():
        assert torch.equal(mean[name], tensor)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_of_nothing_or_of_all_is_no_mean(share: float) -> None:
    with pytest.raises(AverageError, match=r"more than 0"):
        average(tiny_model(1), tiny_model(2), share)


def test_the_command_writes_a_checkpoint_that_loads(tmp_path: Path) -> None:
    before, after, out = (tmp_path / f"{name}.safetensors" for name in ("before", "after", "mean"))
    save(tiny_model(1), before, torch.float32)
    save(tiny_model(2), after, torch.float32)
    done = CliRunner().invoke(app, ["average", str(before), str(after), "--out", str(out), "--share", "0.25"])
    assert done.exit_code == 0, done.output
    name = "focus.score.weight"
    wanted = 0.75 * load(before).state_dict()[name].float() + 0.25 * load(after).state_dict()[name].float()
    torch.testing.assert_close(load(out).state_dict()[name].float(), wanted, atol=1e-2, rtol=1e-2)
    wrong = CliRunner().invoke(app, ["average", str(before), str(after), "--out", str(out), "--share", "1.5"])
    assert wrong.exit_code != 0
    assert "less than 1" in " ".join(wrong.output.split())
