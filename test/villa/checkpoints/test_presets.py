"""Named configurations: what is read, what is refused, and that each one is as large as its parts say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import tiny_config
from tiny_parts import mllm_settings, parts_config, parts_model, sam2_settings

from villa.checkpoints import presets
from villa.checkpoints.byte_tokenizer import FAMILIES, family_tokenizer
from villa.config import CausalConfig, ConfigError, ViLLaConfig, VisionLanguageConfig
from villa.inference.video import segment
from villa.modeling.language.tokenizer import SEG, TokenizerError
from villa.training import model_size

CONFIGS = Path(__file__).resolve().parents[3] / "model" / "configs"
NAMES = presets.names(CONFIGS)
LARGE = [name for name in NAMES if name != "villa_small"]


def write(folder: Path, family: str = "qwen3_vl", **changes: object) -> Path:
    """A configuration of tiny parts."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    parts = {
        "eyes": {"repository": "a/b", "kind": family, "config": mllm_settings(family)},
        "hand": {"repository": "a/c", "kind": "sam2_video", "config": sam2_settings()},
    }
    for name, part in parts.items():
        (folder / "parts" / f"{name}.json").write_text(json.dumps(part))
    data = {
        "villa": json.loads(parts_config(family).to_json()),
        "parts": {"mllm": "eyes", "sam2": "hand"},
        "source": "x",
    }
    path = folder / "mine.json"
    path.write_text(json.dumps(data | changes))
    return path


# -- what ships -------------------------------------------------------------------------------------------------------


def test_the_names_that_the_documents_promise_are_there() -> None:
    assert set(NAMES) == {
        "villa_small", "sa2va-1b", "sa2va-4b", "sa2va-8b", "qwen3vl-2b-sam2-small", "qwen3vl-4b-sam2-large",
        "smolvlm-500m-sam2-tiny",
    }  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_configuration_is_as_large_as_its_parts_without_taking_memory(name: str) -> None:
    config = presets.read(name, CONFIGS)
    model = presets.build(config, device="meta", dtype=torch.bfloat16)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for role, module in (("mllm", model.language.mllm), ("sam2", model.segmenter.sam2)):
        part = json.loads((CONFIGS / "parts" / f"{config.parts[role].name}.json").read_text())
        assert sum(p.numel() for p in module.parameters()) == part["parameters_meta"]["total"], role
        assert config.parts[role].parameters == part["parameters_meta"]["total"]
        assert config.parts[role].repository == part["repository"]


@pytest.mark.parametrize("name", NAMES)
def test_every_configuration_says_where_its_numbers_are_from_and_survives_writing(name: str) -> None:
    config = presets.read(name, CONFIGS)
    assert ViLLaConfig.from_json(config.config.to_json()) == config.config
    assert bool(config.source) == (name != "villa_small")
    assert all(part.sources and part.licence for part in config.parts.values())


@pytest.mark.parametrize("name", [name for name in LARGE if name.startswith("sa2va")])
def test_sa2va_is_configured_as_sa2va_draws(name: str) -> None:
    config = presets.read(name, CONFIGS)
    assert config.converted_from == f"ByteDance/Sa2VA-{name.removeprefix('sa2va-').upper()}"
    assert "compat" in config.note
    shape = config.config
    assert (shape.clip_frames, shape.clip_choice, shape.seed_every_frame) == (5, "first", True)
    assert shape.least_presence == 0.0
    assert shape.segmenter.share_decoder
    assert shape.segmenter.seed_by == "prompt"
    assert not shape.segmenter.gate
    assert presets.build(config, device="meta").segmenter.own_decoder is None


def test_the_small_default_stays_readable_as_a_flat_configuration() -> None:
    text = (CONFIGS / "villa_small.json").read_text()
    config = presets.read("villa_small", CONFIGS)
    assert config.config == ViLLaConfig.from_json(text)
    assert config.parts == {}
    assert isinstance(config.config.language, CausalConfig)
    model = presets.build(config)
    assert sum(p.numel() for p in model.parameters()) == model_size.size_of(config).parameters
    assert model.codec.seg_id == config.config.language.vocabulary


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_lines_of_the_table_add_up_to_the_model(name: str) -> None:
    config = presets.read(name, CONFIGS)
    size = model_size.size_of(config)
    assert size.parameters == sum(p.numel() for p in presets.build(config, device="meta").parameters())
    assert size.weight_bytes("float32") == 2 * size.weight_bytes("bfloat16") == 4 * size.parameters


@pytest.mark.parametrize("name", LARGE)
def test_what_is_published_is_frozen_and_what_is_ours_learns(name: str) -> None:
    size = model_size.size_of(presets.read(name, CONFIGS))
    learns = {row.name: row.trained for row in size.rows}
    ours = {row.name for row in size.rows if row.part == "ViLLa"} | {"LoRA adapters", "rows of [SEG] and [FRM]"}
    if not name.startswith("sa2va"):
        ours.add("mask decoder copy, for answers")
    assert {row for row, trained in learns.items() if trained} == ours
    assert {"vision encoder", "projector", "language layers", "embeddings and head"} <= set(learns)
    assert {"SAM 2 image encoder", "SAM 2 mask decoder", "SAM 2 memory"} <= set(learns)
    assert size.trained < 0.1 * size.parameters


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_cache_are_counted_as_the_model_has_them(family: str, tmp_path: Path) -> None:
    model = parts_model(family)
    image = torch.zeros(480, 640, 3, dtype=torch.uint8).numpy()
    seen = model.language.see((image,), None, torch.zeros(1))
    size = model_size.size_of(presets.read(write(tmp_path, family), CONFIGS))
    assert size.visual_tokens == seen.grid[0] * seen.grid[1] == seen.tokens.shape[1]
    cache = model.language.new_cache()
    words = model.language.embed(model.language.ids([1, 2, 3]))
    model.language.read(model.language.text_inputs(words, 0), cache=cache)
    kept = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert size.cache_values * 3 == kept * size.prompt_tokens


def test_adapters_are_counted_as_peft_makes_them(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="no peft: pip install -r requirements/train.txt")
    path = write(tmp_path)
    assumed = model_size.size_of(presets.read(path, CONFIGS))
    data = json.loads(path.read_text())
    data["villa"]["language"]["lora_rank"] = assumed.lora_rank
    path.write_text(json.dumps(data))
    real = model_size.size_of(presets.read(path, CONFIGS))
    (guess,) = [row for row in assumed.rows if row.name == "LoRA adapters"]
    (made,) = [row for row in real.rows if row.name == "LoRA adapters"]
    assert guess.parameters == made.parameters
    assert (assumed.lora_assumed, real.lora_assumed) == (True, False)
    assert real.parameters == assumed.parameters + made.parameters


# -- building ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_is_built_in_its_type_and_answers(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = presets.build(presets.read(write(tmp_path, family), CONFIGS), dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert not any(p.requires_grad for p in model.parameters())
    # What rotates positions is exact in every type.
    assert {b.dtype for n, b in model.named_buffers() if "inv_freq" in n} == {torch.float32}
    video = [torch.full((48, 64, 3), 60 * t, dtype=torch.uint8).numpy() for t in range(3)]
    assert len(segment(model, video, "the mug").frames) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_image_tokens_have_the_ids_of_the_tokenizer_in_use(family: str, tmp_path: Path) -> None:
    config = presets.read(write(tmp_path, family), CONFIGS)
    for tokenizer in (None, family_tokenizer(family, "<one>", "<more>")):
        model = presets.build(config, tokenizer)
        words = model.codec.plain("<image>" if family == "smolvlm" else "<IMG_CONTEXT><|image_pad|>")
        assert model.language.mllm.config.image_token_id in words
        assert model.codec.plain(SEG) == [model.codec.seg_id]


def test_a_tokenizer_of_another_family_is_refused_by_the_token_it_lacks(tmp_path: Path) -> None:
    config = presets.read(write(tmp_path, "smolvlm"), CONFIGS)
    with pytest.raises((ConfigError, TokenizerError), match="<image>"):
        presets.build(config, family_tokenizer("internvl"))


# -- what is refused --------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no configuration is named 'qwen'.*qwen3vl-2b-sam2-small.*villa_small"):
        presets.read("qwen", CONFIGS)
    with pytest.raises(ConfigError, match=r"no configuration at nowhere/mine\.json"):
        presets.read("nowhere/mine.json", CONFIGS)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"villa": {"clip_frames": 0}}, "clip_frames is 0"),
        ({"parts": ["eyes"]}, "parts is list, wanted an object"),
        ({"parts": {"mllm": "ears", "sam2": "hand"}}, "no part is named 'ears'.*qwen3-vl-2b"),
        ({"parts": {"mllm": "eyes"}}, r"parts are \['mllm'\], wanted \['mllm', 'sam2'\]"),
        ({"parts": {"mllm": "hand", "sam2": "hand"}}, "part 'hand' is of kind 'sam2_video', wanted qwen3_vl"),
        ({"villa": {}}, r"parts are \['mllm', 'sam2'\], wanted none"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_by_name(
    changes: dict[str, object], wanted: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){wanted}"):
        presets.read(write(tmp_path, **changes), CONFIGS)


def test_files_that_are_no_json_are_refused_by_path(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "parts" / "eyes.json").write_text("{")
    with pytest.raises(ConfigError, match=r"eyes\.json is not JSON"):
        presets.read(path, CONFIGS)
    (tmp_path / "parts" / "eyes.json").write_text('{"repository": "a/b", "kind": "qwen3_vl"}')
    with pytest.raises(ConfigError, match=r"eyes\.json: config is None, wanted dict"):
        presets.read(path, CONFIGS)
    path.write_text("[]")
    with pytest.raises(ConfigError, match=r"mine\.json: wanted an object, saw list"):
        presets.read(path, CONFIGS)


def test_a_flat_configuration_needs_no_parts(tmp_path: Path) -> None:
    path = tmp_path / "flat.json"
    path.write_text(tiny_config().to_json())
    config = presets.read(path, CONFIGS)
    assert config.config == tiny_config()
    model = presets.build(config)
    assert model.codec.seg_id == config.config.language.vocabulary
    assert not isinstance(config.config.language, VisionLanguageConfig)
