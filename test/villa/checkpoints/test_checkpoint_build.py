"""Checkpoint folders of pretrained parts: strict, safetensors only, and what is wrong is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from answering_models import clip, says
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_parts import parts_config, parts_model, save_parts

from villa.checkpoints.build import from_folders
from villa.checkpoints.byte_tokenizer import FAMILIES, family_tokenizer
from villa.checkpoints.checkpoint import CheckpointError, load, save
from villa.checkpoints.pretrained_folder import PartError
from villa.config import ConfigError, ViLLaConfig, VisionLanguageConfig
from villa.inference.stream_session import StreamSession
from villa.interface import finish


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The two folders of one family as a hub gives them."""
    return save_parts(tmp_path_factory.mktemp("hub"), "qwen3_vl")


@pytest.fixture(scope="module")
def made(hub, tmp_path_factory):
    """A whole checkpoint folder."""
    folder = tmp_path_factory.mktemp("made") / "checkpoint"
    torch.manual_seed(5)
    model = from_folders(parts_config("qwen3_vl"), *hub, torch.float32)
    model.language.start_rows()
    save(model, folder, None)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(made, tmp_path / "checkpoint")


def test_a_folder_holds_the_parts_as_published_and_ours_beside_them(made, hub):
    assert sorted(p.name for p in made.iterdir()) == ["mllm", "sam2", "villa"]
    for part, published in zip(("mllm", "sam2"), hub, strict=True):
        for path in published.iterdir():
            assert (made / part / path.name).read_bytes() == path.read_bytes(), path.name
    with safe_open(str(made / "villa" / "model.safetensors"), "pt") as file:
        names = list(file.keys())
    assert not [n for n in names if n.startswith(("language.mllm.", "segmenter.sam2."))]
    assert {n.split(".")[0] for n in names} >= {
        "synthesizer",
        "synchronizer",
        "to_video_prompt",
        "segmenter",
        "language",
    }


def test_what_is_saved_comes_back_bit_for_bit(made, hub):
    torch.manual_seed(5)
    model = from_folders(parts_config("qwen3_vl"), *hub, torch.float32)
    model.language.start_rows()
    again = load(made)
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_the_same_before_and_after(family, tmp_path):
    mllm, sam2 = save_parts(tmp_path / "hub", family)
    torch.manual_seed(5)
    model = from_folders(parts_config(family, max_new_tokens=60), mllm, sam2, torch.float32).eval()
    save(model, tmp_path / "checkpoint")
    # What is ours was rounded to bfloat16 on the way.
    save(model, tmp_path / "exact", None)
    again = load(tmp_path / "exact")
    results = [
        finish(StreamSession(says(each, "The mug [SEG].")).request("the mug", clip(3))) for each in (model, again)
    ]
    assert results[0].text == results[1].text
    for a, b in zip(results[0].objects, results[1].objects, strict=True):
        for mine, theirs in zip(a.logits, b.logits, strict=True):
            assert (mine is None) == (theirs is None)
            assert mine is None or np.array_equal(mine, theirs)


def test_it_loads_in_the_type_that_is_asked_for(made):
    model = load(made, dtype=torch.bfloat16)
    kinds = {p.dtype for p in model.parameters()}
    assert kinds == {torch.bfloat16}
    result = finish(StreamSession(says(model, "ok")).request("the mug", clip(3)))
    assert result.text == "ok"


def test_bfloat16_answers_and_tracks(made):
    model = load(made, dtype=torch.bfloat16)
    for decoder in (model.segmenter.own_decoder, model.segmenter.sam2.mask_decoder):
        decoder.pred_obj_score_head.proj_out.bias.fill_(5.0)
    session = StreamSession(says(model, "mug [SEG]"))
    assert len(finish(session.request("the mug", clip(3))).objects) == 1
    features = model.encode(np.zeros((48, 64, 3), np.uint8))
    for t in range(20):
        (seen,) = session.step(features, 1_700_000_001.0 + 0.1 * t)
        assert seen.logits is None or np.isfinite(seen.logits).all()


def test_a_part_is_copied_once_and_then_left_alone(made, tmp_path):
    model = load(made)
    folder = tmp_path / "tuned"
    save(model, folder, None)
    marker = folder / "mllm" / "config.json"
    before = marker.stat().st_mtime_ns
    save(model, folder, None)
    assert marker.stat().st_mtime_ns == before


# -- what is wrong is named -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["villa/config.json", "villa/model.safetensors"])
def test_a_checkpoint_without_one_of_its_files_is_refused(folder, gone):
    (folder / gone).unlink()
    with pytest.raises(CheckpointError, match=gone):
        load(folder)


@pytest.mark.parametrize("part", ["mllm", "sam2"])
def test_a_missing_part_is_named(folder, part):
    shutil.rmtree(folder / part)
    with pytest.raises(CheckpointError, match=part):
        load(folder)


@pytest.mark.parametrize("part", ["mllm", "sam2"])
def test_a_part_without_weights_is_refused_and_pickles_are_not_read(folder, part):
    (folder / part / "model.safetensors").rename(folder / part / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"holds no weights.*pickled weights are not read"):
        load(folder)


def test_a_part_of_another_kind_is_named(folder):
    settings = json.loads((folder / "mllm" / "config.json").read_text())
    (folder / "mllm" / "config.json").write_text(json.dumps(settings | {"model_type": "llama"}))
    with pytest.raises(CheckpointError, match=r"model_type is 'llama', wanted 'qwen3_vl'"):
        load(folder)


def test_code_in_a_folder_is_never_run(folder):
    settings = json.loads((folder / "mllm" / "config.json").read_text())
    settings["auto_map"] = {"AutoModelForImageTextToText": "evil.Evil", "AutoConfig": "evil.Evil"}
    (folder / "mllm" / "config.json").write_text(json.dumps(settings))
    (folder / "mllm" / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\nclass Evil: ...\n")
    load(folder)
    assert not (folder / "ran").exists()


def _rewrite(path, change):
    with safe_open(str(path), "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata() or {})
    change(tensors)
    save_file(tensors, str(path), metadata)


@pytest.mark.parametrize(
    ("where", "name", "match"),
    [
        ("villa", "to_video_prompt.layers.0.weight", r"lacks 1 tensor.*to_video_prompt"),
        ("mllm", "model.language_model.norm.weight", r"lacks 1 tensor.*norm\.weight"),
        ("sam2", "no_memory_embedding", r"lacks 1 tensor.*no_memory_embedding"),
    ],
)
def test_a_missing_tensor_of_any_part_is_named(folder, where, name, match):
    _rewrite(folder / where / "model.safetensors", lambda tensors: tensors.pop(name))
    with pytest.raises(CheckpointError, match=match):
        load(folder)


@pytest.mark.parametrize("where", ["villa", "mllm", "sam2"])
def test_an_unknown_tensor_of_any_part_is_named(folder, where):
    _rewrite(folder / where / "model.safetensors", lambda tensors: tensors.update(surprise=torch.zeros(2)))
    with pytest.raises(CheckpointError, match=r"unknown.*surprise"):
        load(folder)


def test_a_tensor_of_another_shape_is_named(folder):
    _rewrite(folder / "sam2" / "model.safetensors", lambda t: t.update(no_memory_embedding=torch.zeros(1, 1, 3)))
    with pytest.raises(CheckpointError, match=r"misfits 1 tensor.*no_memory_embedding"):
        load(folder)


def test_mixed_types_in_what_is_ours_are_refused(folder):
    def half(tensors):
        tensors["synthesizer.gate"] = tensors["synthesizer.gate"].to(torch.float16)

    _rewrite(folder / "villa" / "model.safetensors", half)
    with pytest.raises(CheckpointError, match=r"mixes types.*float"):
        load(folder)


def test_integers_where_numbers_belong_are_refused(folder):
    _rewrite(
        folder / "villa" / "model.safetensors",
        lambda t: t.update({"synthesizer.gate": torch.zeros(1, dtype=torch.int8)}),
    )
    with pytest.raises(CheckpointError, match=r"synthesizer\.gate.*int8"):
        load(folder)


def test_a_damaged_file_is_named(folder):
    path = folder / "sam2" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="does not load as Sam2VideoModel"):
        load(folder)


def test_a_tokenizer_of_another_revision_is_refused_with_both_ids(folder):
    (folder / "mllm" / "tokenizer.json").write_text(family_tokenizer("qwen3_vl", "<|extra|>"))
    with pytest.raises(CheckpointError, match=r"new tokens the ids .*another revision"):
        load(folder)


def test_a_tokenizer_without_the_familys_tokens_is_refused(folder):
    data = json.loads(family_tokenizer("qwen3_vl"))
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] != "<|im_end|>"]
    (folder / "mllm" / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"no token '<\|im_end\|>'"):
        load(folder)


def test_a_folder_without_a_fast_tokenizer_is_refused(folder):
    (folder / "mllm" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json"):
        load(folder)


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "mllm").mkdir()
    with pytest.raises(PartError, match=r"no model folder: it holds no config\.json"):
        from_folders(parts_config(), tmp_path / "mllm", None, torch.float32)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load(tmp_path)


def test_a_configuration_field_that_does_not_exist_is_named():
    data = json.loads(parts_config().to_json())
    data["language"]["temperature"] = 0.7
    with pytest.raises(ConfigError, match=r"language: unknown field 'temperature'; known are"):
        ViLLaConfig.from_dict(data)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"segmenter": {"kind": "sam4"}}, r"segmenter: kind is 'sam4'; known are light, sam2"),
        ({"segmenter": {"kind": "sam2", "seed_by": "magic"}}, r"seed_by is 'magic'"),
        ({"language": {"kind": "vision-language", "family": "gpt"}}, r"family is 'gpt': known are qwen3_vl"),
        ({"language": {"kind": "causal"}}, r"language kind 'causal' reads the light segmenter"),
        ({"clip_choice": "random"}, r"clip_choice is 'random'"),
        ({"clip_frames": 0}, r"clip_frames is 0: wanted at least 1"),
        ({"segmenter": "sam2"}, r"segmenter: wanted an object, saw str"),
    ],
)
def test_values_that_cannot_be_are_refused(change, match):
    data = json.loads(parts_config().to_json()) | change
    with pytest.raises(ConfigError, match=match):
        ViLLaConfig.from_dict(data)


def test_a_configuration_of_parts_survives_json():
    assert ViLLaConfig.from_json(parts_config().to_json()) == parts_config()


def test_a_causal_model_has_no_folder(tmp_path):
    with pytest.raises(PartError, match="has no folder"):
        from_folders(ViLLaConfig(), tmp_path, None, torch.float32)


def test_pixels_are_normalised_as_the_folder_says(hub, tmp_path):
    mllm = shutil.copytree(hub[0], tmp_path / "mllm")
    (mllm / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}))
    model = from_folders(parts_config(), mllm, hub[1], torch.float32)
    assert model.language.pixel_norm.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert isinstance(model.config.language, VisionLanguageConfig)


def test_tokens_that_were_added_sit_behind_the_tokenizers_own():
    model = parts_model("internvl")
    assert model.codec.frm_id == model.codec.seg_id + 1 == len(model.codec) - 1
