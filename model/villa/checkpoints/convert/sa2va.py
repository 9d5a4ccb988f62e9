"""`villa convert`: a local Sa2VA checkpoint (arXiv 2501.04001, Apache-2.0) -> a checkpoint folder of ours.

Sa2VA is ViLLa's core without its blocks: a multimodal language model whose `[SEG]` state prompts SAM 2. Converted, it
gives its own masks before any training; the blocks are there, untrained, and change nothing. Written after the public
code (github.com/bytedance/Sa2VA, projects/sa2va/hf); never run on a real published checkpoint.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from villa.checkpoints.build import MLLM
from villa.checkpoints.convert import internvl, names, sam2
from villa.checkpoints.convert.names import ConvertError
from villa.config import BlocksConfig, Sam2Config, ViLLaConfig, VisionLanguageConfig
from villa.modeling.language.tokenizer import SEG

_SAM2 = "grounding_encoder.sam2_model."
_PART = "sam2"  # the segmenter's folder in our checkpoints
_PROMPT = "text_hidden_fcs."
_QWEN = "model."
_SEEN_FRAMES = 5  # that Sa2VA's language model looks at: the first ones
# Tensors that no part of ours has, and why they may be left out.
IGNORED = {
    r".*\.rotary_emb\.inv_freq": "computed from the configuration; old transformers saved it",
}
# What a family's own chat template says first where nobody says otherwise.
_SYSTEM = {"qwen2_5_vl": "You are a helpful assistant."}
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class Converted:
    """What was made."""

    folder: Path
    family: str
    tensors: int
    dtype: torch.dtype


def convert(source: Path, out: Path, sam2_settings: dict[str, Any], *, compatible: bool = True) -> Converted:
    """Sa2VA's folder -> ours at `out`, in the source's own floating type.

    `sam2_settings` is the configuration of its SAM 2 as transformers has it: Sa2VA's config.json does not say (the
    published ones use SAM 2.0 Hiera-L). `compatible`: frames, seeds and gating as Sa2VA has them; else ViLLa's own.

    Raises:
        ConvertError: a tensor that nothing uses, one that is missing, a shape or setting that does not fit.
        FileExistsError: `out` is there already.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already: name another folder")
    config = _config(source)
    tensors = _tensors(source)
    dtype = _one_type(tensors)
    family = _family(config)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        used = _write_parts(source, partial, config, family, tensors, sam2_settings)
        prompt = names.without_prefix(tensors, _PROMPT)
        used |= {_PROMPT + name for name in prompt}
        names.taken(tensors, used, IGNORED)
        _write_own(partial, family, prompt, dtype, compatible=compatible)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(out)
    return Converted(out, family, len(tensors), dtype)


def villa_config(family: str, *, compatible: bool = True) -> ViLLaConfig:
    """The configuration of a converted checkpoint; `compatible` is what the docs call `compat: sa2va`."""
    # Its decoder was tuned and is the propagator's as well: there is no other.
    if compatible:
        segmenter = Sam2Config(
            share_decoder=True, seed_by="prompt", gate=False, max_seeds=_SEEN_FRAMES, fill_resize="bicubic"
        )
    else:
        segmenter = Sam2Config(share_decoder=True)
    return ViLLaConfig(
        segmenter=segmenter,
        language=VisionLanguageConfig(
            family=family,
            timestamps=not compatible,
            # Its code asks for hidden_states[-1], which the transformers it names gave before the norm here.
            state_before_norm=family == "qwen3_vl",
            system=_SYSTEM.get(family, ""),
            # Sa2VA's bounds, in tokens of 28 x 28 px.
            min_pixels=512 * 28 * 28 if compatible else 56 * 56,
            max_pixels=2048 * 28 * 28 if compatible else 448 * 448,
        ),
        blocks=BlocksConfig(synthesizer_width=256, heads=8, track_tokens=True),
        clip_frames=_SEEN_FRAMES if compatible else 8,
        clip_choice="first" if compatible else "segments",
        seed_every_frame=compatible,
        max_new_tokens=128,
        least_presence=0.0 if compatible else 0.5,
    )


def _write_parts(
    source: Path,
    out: Path,
    config: dict[str, Any],
    family: str,
    tensors: dict[str, Tensor],
    sam2_settings: dict[str, Any],
) -> set[str]:
    """mllm/ and sam2/; returns the source tensors that went into them."""
    from transformers import AutoConfig, Sam2VideoModel

    from villa.checkpoints.build import classes

    tokenizer = _tokenizer(source, out / MLLM)
    if family == "internvl":
        image = _token(tokenizer, "<IMG_CONTEXT>")
        words = internvl.converted(tensors, config["llm_config"])
        settings = internvl.settings(config, image)
        used = {name for name in tensors if name.startswith(internvl.PREFIXES)}
    else:
        words = {_qwen_name(name): tensor for name, tensor in names.without_prefix(tensors, _QWEN).items()}
        settings = {k: v for k, v in config.items() if k in _QWEN_SETTINGS}
        used = {name for name in tensors if name.startswith(_QWEN)}
    mllm_class, _ = classes(family)
    made = AutoConfig.for_model(family, **{k: v for k, v in settings.items() if k != "model_type"})
    _fill(mllm_class, made, words, out / MLLM, "language model")
    grounding = names.without_prefix(tensors, _SAM2)
    plain = {k: v for k, v in sam2_settings.items() if k != "model_type"}
    _fill(Sam2VideoModel, AutoConfig.for_model("sam2_video", **plain), sam2.converted(grounding), out / _PART, "SAM 2")
    return used | {_SAM2 + name for name in grounding}


def _write_own(out: Path, family: str, prompt: dict[str, Tensor], dtype: torch.dtype, *, compatible: bool) -> None:
    """villa/: untrained blocks, and Sa2VA's projection of `[SEG]` states where ours is."""
    from villa.checkpoints.build import from_folders
    from villa.checkpoints.checkpoint import save

    torch.manual_seed(0)
    config = villa_config(family, compatible=compatible)
    model = from_folders(config, out / MLLM, out / _PART, dtype)
    rules = ((r"^0\.", "layers.0."), (r"^2\.", "layers.1."))
    ours = names.rename(prompt, rules)
    names.compare(ours, model.to_video_prompt.state_dict(), "projection of [SEG] states")
    model.to_video_prompt.load_state_dict(ours)
    model.to_frame_prompt.load_state_dict(ours)  # a start for training; behind a closed gate until then
    model.language.start_rows()  # type: ignore[operator]
    save(model, out, None)


def _fill(kind: Any, config: Any, tensors: dict[str, Tensor], folder: Path, what: str) -> None:
    """A model of transformers with exactly these tensors, written as its folder."""
    with torch.device("meta"):
        model = kind(config)
    wanted = model.state_dict()
    if getattr(config, "tie_word_embeddings", False):
        # Tied: the head is the embedding; a file may hold both, or one.
        head = "lm_head.weight"
        embedding = next(name for name in wanted if name.endswith("embed_tokens.weight"))
        if head in tensors and not torch.equal(tensors[head], tensors[embedding]):
            raise ConvertError(f"{what}: tied, but head and embedding differ")
        tensors = {**tensors, head: tensors[embedding]}
    names.compare(tensors, wanted, what)
    model.load_state_dict(tensors, assign=True)
    model.tie_weights()
    model.save_pretrained(str(folder))


def _config(source: Path) -> dict[str, Any]:
    path = source / "config.json"
    if not path.is_file():
        raise ConvertError(f"{source} is no model folder: it holds no config.json")
    data = json.loads(path.read_text("utf-8"))
    if not isinstance(data, dict):
        raise ConvertError(f"{path}: wanted an object, saw {type(data).__name__}")
    return data


def _family(config: dict[str, Any]) -> str:
    if "llm_config" in config:
        return "internvl"
    for family in ("qwen3_vl", "qwen2_5_vl"):
        kinds = [config.get("model_type"), (config.get("text_config") or {}).get("model_type")]
        if any(str(kind).startswith(family) for kind in kinds):
            return family
    raise ConvertError(
        f"config.json is of model_type {config.get('model_type')!r} with neither an llm_config nor a Qwen text_config: "
        "known are Sa2VA on InternVL 2.5/3, Qwen2.5-VL and Qwen3-VL"
    )


_QWEN_SETTINGS = (
    "text_config",
    "vision_config",
    "image_token_id",
    "video_token_id",
    "vision_start_token_id",
    "vision_end_token_id",
    "tie_word_embeddings",
)


def _qwen_name(name: str) -> str:
    """Older transformers kept the language model beside its head, and the eyes at the top."""
    if name.startswith(("lm_head.", "model.language_model.", "model.visual.")):
        return name
    if name.startswith("visual."):
        return f"model.{name}"
    return f"model.language_model.{name.removeprefix('model.')}"


def _tensors(source: Path) -> dict[str, Tensor]:
    files = sorted(source.glob("*.safetensors"))
    if not files:
        raise ConvertError(f"{source} holds no safetensors files (pickled weights are not read)")
    return {name: tensor for path in files for name, tensor in _file(path).items()}


def _file(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ConvertError(f"{path} is no safetensors file, or is cut short: {error}") from error


def _one_type(tensors: dict[str, Tensor]) -> torch.dtype:
    kinds = {tensor.dtype: name for name, tensor in tensors.items() if tensor.is_floating_point()}
    if len(kinds) != 1:
        shown = ", ".join(f"{name!r} is {kind}" for kind, name in kinds.items())
        raise ConvertError(f"wanted one floating type, saw {shown or 'none'}")
    return next(iter(kinds))


def _tokenizer(source: Path, folder: Path) -> dict[str, Any]:
    """The tokenizer's files, with a tokenizer.json made where there is none; returns that."""
    folder.mkdir(parents=True)
    for name in _TOKENIZERS:
        if (source / name).is_file():
            shutil.copy2(source / name, folder / name)
    if not (folder / "tokenizer.json").is_file():
        _make_tokenizer(source, folder)
    tokenizer: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    _token(tokenizer, SEG)
    return tokenizer


def _make_tokenizer(source: Path, folder: Path) -> None:
    """A tokenizer.json of what older checkpoints have."""
    from transformers import AutoTokenizer

    cause: object = "there is neither vocab.json nor tokenizer.model"
    if any((source / name).is_file() for name in ("vocab.json", "tokenizer.model")):
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(source), use_fast=True, local_files_only=True)
            tokenizer.save_pretrained(str(folder))
            return
        except Exception as error:  # whatever a tokenizer of another kind brings up
            cause = error
    raise ConvertError(
        f"{source} has no tokenizer.json and none could be made of what it has ({cause}): put one there, for "
        "InternLM2 as transformers' own conversion of InternVL makes it"
    )


def _token(tokenizer: dict[str, Any], token: str) -> int:
    for entry in tokenizer.get("added_tokens", ()):
        if entry["content"] == token:
            return int(entry["id"])
    raise ConvertError(f"the tokenizer has no token {token!r}: it is not Sa2VA's")
