"""A checkpoint is one strict file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import tiny_config, tiny_model

from villa.checkpoints.checkpoint import CheckpointError, load, save
from villa.config import ConfigError, ViLLaConfig


@pytest.fixture
def path(tmp_path):
    save(tiny_model(), tmp_path / "villa.safetensors", torch.float32)
    return tmp_path / "villa.safetensors"


def _rewrite(path, change):
    with safe_open(str(path), "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata())
    change(tensors, metadata)
    save_file(tensors, str(path), metadata)


def test_what_is_saved_comes_back(path):
    before, after = tiny_model(), load(path)
    assert after.config == before.config
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name]), name


def test_the_loaded_model_gives_the_same_features(path):
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    a, b = tiny_model().encode(image), load(path).encode(image)
    torch.testing.assert_close(a.tokens, b.tokens, atol=1e-5, rtol=1e-4)


def test_a_folder_with_a_checkpoint_is_as_good_as_its_file(path):
    assert load(path.parent).config == load(path).config


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nothing\.safetensors"):
        load(tmp_path / "nothing.safetensors")


def test_a_missing_tensor_is_named(path):
    _rewrite(path, lambda tensors, _: tensors.pop("segmenter.no_memory"))
    with pytest.raises(CheckpointError, match=r"lacks 1 tensor.*no_memory"):
        load(path)


def test_an_unknown_tensor_is_named(path):
    _rewrite(path, lambda tensors, _: tensors.update(surprise=torch.zeros(1)))
    with pytest.raises(CheckpointError, match=r"unknown tensor.*surprise"):
        load(path)


def test_a_wrong_shape_is_named_with_both_shapes(path):
    _rewrite(path, lambda tensors, _: tensors.update({"segmenter.no_memory": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match=r"no_memory.*\[3\], wanted \[32\]"):
        load(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(path, number):
    def lost(tensors, _):
        tensors["segmenter.no_memory"][0] = number

    _rewrite(path, lost)
    with pytest.raises(CheckpointError, match=r"'segmenter\.no_memory' holds NaN or infinity"):
        load(path)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("language", "intermediate"), 100_000_000, "has shape"),
        (("language", "layers"), 10**12, "layers is 1000000000000, wanted a number up to 512"),
        (("segmenter", "encoder", "height"), 10**6, "height is 1000000, wanted a number up to 8192"),
        (("segmenter", "encoder", "channels"), "many", "channels: Expected `int`, got `str`"),
        (("language", "heads"), 0, "no model|shape"),
        (("language", "heads"), 7, "of no model: .*not a multiple of the number of attention heads"),
        (("language", "norm_eps"), 4, "of no model: .*norm_eps"),
        (("clip_frames",), None, "clip_frames: Expected `int`, got `null`"),
        (("language", "kind"), [], r"kind is \[\]"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_a_configuration_is_compared_with_the_weights_before_anything_is_made(path, place, value, told):
    def other(_, metadata):
        data = json.loads(metadata["config"])
        holder = data
        for name in place[:-1]:
            holder = holder[name]
        holder[place[-1]] = value
        metadata["config"] = json.dumps(data)

    _rewrite(path, other)
    with pytest.raises(CheckpointError, match=f"(?s){told}"):
        load(path)


def test_a_file_cut_short_is_refused(path):
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cut short"):
        load(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, str(tmp_path / "x.safetensors"))
    with pytest.raises(CheckpointError, match="not a villa checkpoint"):
        load(tmp_path / "x.safetensors")


def test_an_unknown_configuration_field_is_named():
    data = json.loads(ViLLaConfig().to_json())
    data["segmenter"]["encoder"]["depth"] = 3
    with pytest.raises(ConfigError, match="encoder: unknown field 'depth'"):
        ViLLaConfig.from_json(json.dumps(data))


def test_a_configuration_survives_json():
    assert ViLLaConfig.from_json(ViLLaConfig().to_json()) == ViLLaConfig()


def test_the_named_configuration_is_the_default():
    text = (Path(__file__).parents[3] / "model" / "configs" / "villa_small.json").read_text()
    assert ViLLaConfig.from_json(text) == ViLLaConfig()


def test_a_file_from_before_things_were_told_reads_as_it_was(tmp_path):
    path = tmp_path / "villa.safetensors"
    config = tiny_config()
    plain = replace(config, language=replace(config.language, things=None))
    save(tiny_model(config=plain), path, torch.float32)

    def older(_, metadata):
        data = json.loads(metadata["config"])
        del data["language"]["things"]
        metadata.update(format="villa-2", config=json.dumps(data))

    _rewrite(path, older)
    assert load(path).config == plain


@pytest.mark.parametrize(
    ("version", "lacking"),
    [("villa-3", {"request_depth": 0, "speeds": False}), ("villa-4", {"speeds": False})],
    ids=["focus read embeddings alone", "scene reader knew no speeds"],
)
def test_a_file_whose_model_lacked_something_reads_as_it_was(tmp_path, version, lacking):
    path = tmp_path / "villa.safetensors"
    config = tiny_config()
    things = replace(config.language.things, **lacking)
    plain = replace(config, language=replace(config.language, things=things))
    save(tiny_model(config=plain), path, torch.float32)

    def older(_, metadata):
        data = json.loads(metadata["config"])
        for name in lacking:
            del data["language"]["things"][name]
        metadata.update(format=version, config=json.dumps(data))

    _rewrite(path, older)
    assert load(path).config == plain
