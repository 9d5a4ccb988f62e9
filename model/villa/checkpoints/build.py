"""Pretrained parts: Hugging Face folders, or their configurations alone, -> the modules that ViLLa is made of.

Class by class, never `trust_remote_code`, never pickle. What the folder lacks or has too much of is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from villa.config import CausalConfig, LightConfig, Sam2Config, ViLLaConfig, VisionLanguageConfig
from villa.modeling.language import lora
from villa.modeling.language.causal import CausalLLM
from villa.modeling.language.tokenizer import TextCodec
from villa.modeling.segmenters.interface import Segmenter
from villa.modeling.segmenters.light.segmenter import LightSegmenter
from villa.modeling.segmenters.pixel_norm import PixelNorm
from villa.modeling.villa import ViLLaModel

if TYPE_CHECKING:
    from villa.modeling.language.vision_language import VisionLanguageLLM

MLLM, SAM2 = "mllm", "sam2"  # names of the folders in a checkpoint
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


class PartError(ValueError):
    """A folder of a pretrained part is missing, incomplete, or of another kind than the configuration says."""


def small(config: ViLLaConfig, tokenizer: str) -> ViLLaModel:
    """The default's shape, with random weights; `tokenizer` is a tokenizer.json that holds [SEG] and [FRM]."""
    if not isinstance(config.segmenter, LightConfig) or not isinstance(config.language, CausalConfig):
        raise PartError(
            f"segmenter kind {config.segmenter.kind!r} with language kind {config.language.kind!r} is made of "
            "pretrained parts: give their folders"
        )
    language = CausalLLM(config.language, config.segmenter.encoder, TextCodec(tokenizer))
    return ViLLaModel(config, LightSegmenter(config.segmenter), language)


def from_folders(
    config: ViLLaConfig, mllm: Path, sam2: Path | None, dtype: torch.dtype, attention: str = "sdpa"
) -> ViLLaModel:
    """Pretrained parts and new, untrained blocks between them.

    Raises:
        PartError: a folder is no model, is of another kind, or does not load completely.
    """
    if not isinstance(config.language, VisionLanguageConfig):
        raise PartError(f"language kind {config.language.kind!r} has no folder")
    language = language_of(config.language, mllm, dtype, attention)
    segmenter: Segmenter
    if isinstance(config.segmenter, Sam2Config):
        if sam2 is None:
            raise PartError("segmenter kind 'sam2' needs the folder of a SAM 2 video or SAM 3 tracker model")
        segmenter = segmenter_of(config.segmenter, sam2, dtype, attention)
    else:
        segmenter = LightSegmenter(config.segmenter)
    model = ViLLaModel(config, segmenter, language)
    to_type(model, dtype)
    return model


def to_type(model: ViLLaModel, dtype: torch.dtype) -> None:
    """Parameters and stored buffers become `dtype`; tables that are computed, not stored, stay as exact as they are.

    Rotary frequencies in bfloat16 would be wrong by a radian a thousand tokens on.
    """
    stored = model.state_dict().keys()
    computed = [(name, buffer) for name, buffer in model.named_buffers() if name not in stored]
    model.to(dtype)
    for name, buffer in computed:
        owner, _, own_name = name.rpartition(".")
        model.get_submodule(owner).register_buffer(own_name, buffer, persistent=False)


def language_of(
    config: VisionLanguageConfig, folder: Path, dtype: torch.dtype, attention: str = "sdpa"
) -> VisionLanguageLLM:
    """A vision-language model from its folder."""
    _settings(folder, (config.family,))
    mllm_class, own_class = classes(config.family)
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise PartError(f"{folder} holds no tokenizer.json: a fast tokenizer is needed, as the hub has it")
    language = own_class(config, _loaded(mllm_class, folder, dtype, attention), tokenizer.read_text("utf-8"))
    language.pixel_norm = PixelNorm(*_pixels(folder, language.mean, language.std))
    lora.add(language, config)
    return language


def segmenter_of(config: Sam2Config, folder: Path, dtype: torch.dtype, attention: str = "sdpa") -> Segmenter:
    """A SAM 2 video model, or the SAM 3 tracker, from its folder."""
    from transformers import Sam2VideoModel, Sam3TrackerVideoModel

    from villa.modeling.segmenters.sam2.segmenter import Sam2Segmenter

    kinds: dict[str, Any] = {"sam2_video": Sam2VideoModel, "sam3_tracker_video": Sam3TrackerVideoModel}
    settings = _settings(folder, tuple(kinds))
    segmenter = Sam2Segmenter(config, _loaded(kinds[settings["model_type"]], folder, dtype, attention))
    segmenter.pixel_norm = PixelNorm(*_pixels(folder, segmenter.mean, segmenter.std))
    return segmenter


def from_settings(
    config: ViLLaConfig,
    mllm: dict[str, Any],
    sam2: dict[str, Any] | None,
    tokenizer: str,
    dtype: torch.dtype | None = None,
) -> ViLLaModel:
    """Random weights in the shape of pretrained parts: their configurations as plain data, without any folder.

    The weights come into being on torch's default device. With `dtype`, those of the parts never exist in another type.
    """
    from transformers import AutoConfig, Sam2VideoModel, Sam3TrackerVideoModel

    from villa.modeling.segmenters.sam2.segmenter import Sam2Segmenter

    if not isinstance(config.language, VisionLanguageConfig):
        raise PartError(f"language kind {config.language.kind!r} has no configuration of its own")
    mllm_class, own_class = classes(config.language.family)
    segmenter: Segmenter
    with _default_type(dtype):
        language = own_class(config.language, mllm_class(_config(AutoConfig, mllm, config.language.family)), tokenizer)
        lora.add(language, config.language)
        if isinstance(config.segmenter, Sam2Config):
            settings = dict(sam2 or {})
            kind = Sam3TrackerVideoModel if settings.get("model_type") == "sam3_tracker_video" else Sam2VideoModel
            wanted = "sam3_tracker_video" if kind is Sam3TrackerVideoModel else "sam2_video"
            segmenter = Sam2Segmenter(config.segmenter, kind(_config(AutoConfig, settings, wanted)))
        else:
            segmenter = LightSegmenter(config.segmenter)
    # The blocks begin in float32: what they start from is not computed in bfloat16.
    model = ViLLaModel(config, segmenter, language)
    if dtype is not None:
        to_type(model, dtype)
    return model


@contextmanager
def _default_type(dtype: torch.dtype | None) -> Iterator[None]:
    """Floating tensors that name no type are made as `dtype`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype or before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _config(auto: Any, settings: dict[str, Any], kind: str) -> Any:
    values = {k: v for k, v in settings.items() if k != "model_type"}
    return auto.for_model(kind, **values)


def classes(family: str) -> tuple[Any, type[VisionLanguageLLM]]:
    """The class of transformers and ours."""
    import transformers

    from villa.modeling.language.internvl import InternVL
    from villa.modeling.language.qwen_vl import Qwen3VL, Qwen25VL
    from villa.modeling.language.smolvlm import SmolVLM

    names: dict[str, tuple[str, type[VisionLanguageLLM]]] = {
        "qwen3_vl": ("Qwen3VLForConditionalGeneration", Qwen3VL),
        "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", Qwen25VL),
        "internvl": ("InternVLForConditionalGeneration", InternVL),
        "smolvlm": ("SmolVLMForConditionalGeneration", SmolVLM),
    }
    name, own = names[family]
    return getattr(transformers, name), own


def _settings(folder: Path, kinds: Sequence[str]) -> dict[str, Any]:
    """A folder's config.json.

    Raises:
        PartError: there is none, it is no object, or its model_type is none of `kinds`.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise PartError(f"{folder} is no model folder: it holds no config.json")
    try:
        settings = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise PartError(f"{path} is not JSON: {error}") from error
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind not in kinds:
        raise PartError(f"{path}: model_type is {kind!r}, wanted {' or '.join(map(repr, kinds))}")
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise PartError(f"{folder} holds no weights: wanted {' or '.join(_WEIGHTS)} (pickled weights are not read)")
    return settings  # type: ignore[no-any-return]


def _loaded(kind: Any, folder: Path, dtype: torch.dtype, attention: str) -> Any:
    """All of a folder's weights, strictly.

    Raises:
        PartError: a tensor is missing, unknown or of another shape, or a file is damaged.
    """
    try:
        model, report = kind.from_pretrained(
            str(folder),
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    except Exception as error:  # the loaders of transformers raise whatever a damaged file brings up
        raise PartError(f"{folder} does not load as {kind.__name__}: {type(error).__name__}: {error}") from error
    for name, what in (("missing_keys", "lacks"), ("unexpected_keys", "has unknown"), ("mismatched_keys", "misfits")):
        if keys := sorted(map(str, report.get(name) or ())):
            raise PartError(f"{folder} {what} {len(keys)} tensor(s) for {kind.__name__}, first {keys[0]!r}")
    return model


def _pixels(folder: Path, mean: Sequence[float], std: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Normalisation of pixels as the folder says; else as given."""
    for name in ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if path.is_file():
            data = json.loads(path.read_text("utf-8"))
            for values in (data, data.get("image_processor"), data.get("video_processor")):
                if isinstance(values, dict) and "image_mean" in values and "image_std" in values:
                    return values["image_mean"], values["image_std"]
    return mean, std
