"""Pretrained parts: Hugging Face folders, or their configurations alone, -> the modules that ViLLa is made of.

How a folder is read: `pretrained_folder`. Which family a segmenter is of: `segmenter_families`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from villa.checkpoints.pretrained_folder import PartError, config_of, load_whole, normalisation, settings_of
from villa.checkpoints.segmenter_families import family_of
from villa.config import CausalConfig, LightConfig, ViLLaConfig, VisionLanguageConfig
from villa.modeling.language import lora
from villa.modeling.language.causal import CausalLLM
from villa.modeling.language.tokenizer import TextCodec
from villa.modeling.segmenters.pixel_norm import PixelNorm
from villa.modeling.villa import ViLLaModel

if TYPE_CHECKING:
    from villa.modeling.language.vision_language import VisionLanguageLLM

MLLM = "mllm"  # name of its folder in a checkpoint; segmenters have theirs in `segmenter_families`


def small(config: ViLLaConfig, tokenizer: str) -> ViLLaModel:
    """The default's shape, with random weights; `tokenizer` is a tokenizer.json that holds [SEG] and [FRM]."""
    # a causal language model reads the features of the light segmenter, so they go together
    if not isinstance(config.segmenter, LightConfig) or not isinstance(config.language, CausalConfig):
        raise PartError(
            f"segmenter kind {config.segmenter.kind!r} with language kind {config.language.kind!r} is made of "
            "pretrained parts: give their folders"
        )
    # The order decides which random weights a seed gives to which part.
    language = CausalLLM(config.language, config.segmenter.encoder, TextCodec(tokenizer))
    segmenter = family_of(config.segmenter).make(config.segmenter, {})
    return ViLLaModel(config, segmenter, language)


def from_folders(
    config: ViLLaConfig, mllm: Path, segmenter_part: Path | None, dtype: torch.dtype, attention: str = "sdpa"
) -> ViLLaModel:
    """Pretrained parts and new, untrained blocks between them; `segmenter_part`: where the segmenter has one.

    Raises:
        PartError: a folder is no model, is of another kind, or does not load completely.
    """
    if not isinstance(config.language, VisionLanguageConfig):
        raise PartError(f"language kind {config.language.kind!r} has no folder")
    language = language_of(config.language, mllm, dtype, attention)
    family = family_of(config.segmenter)
    if family.load is None:
        segmenter = family.make(config.segmenter, {})
    else:
        check_part(config, segmenter_part)
        assert segmenter_part is not None
        segmenter = family.load(config.segmenter, segmenter_part, dtype, attention)
    model = ViLLaModel(config, segmenter, language)
    to_type(model, dtype)
    return model


def check_part(config: ViLLaConfig, segmenter_part: Path | None) -> None:
    """Is there a folder where the segmenter needs one?

    Raises:
        PartError: there is none.
    """
    family = family_of(config.segmenter)
    if family.load is not None and segmenter_part is None:
        raise PartError(f"segmenter kind {config.segmenter.kind!r} needs the folder of {family.published}")


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
    settings_of(folder, (config.family,))
    mllm_class, own_class = classes(config.family)
    tokenizer = tokenizer_of(folder)
    language = own_class(config, load_whole(mllm_class, folder, dtype, attention), tokenizer)
    language.pixel_norm = PixelNorm(*normalisation(folder, language.mean, language.std))
    lora.add(language, config)
    return language


def tokenizer_of(folder: Path) -> str:
    """The tokenizer.json of a folder.

    Raises:
        PartError: it has none that can be read.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise PartError(f"{folder} holds no tokenizer.json: a fast tokenizer is needed, as the hub has it")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise PartError(f"{path} is no tokenizer: {error}") from error


def from_settings(
    config: ViLLaConfig,
    mllm: dict[str, Any],
    segmenter_part: dict[str, Any] | None,
    tokenizer: str,
    dtype: torch.dtype | None = None,
) -> ViLLaModel:
    """Random weights in the shape of pretrained parts: their configurations as plain data, without any folder.

    The weights come into being on torch's default device. With `dtype`, those of the parts never exist in another type.
    """
    from transformers import AutoConfig

    if not isinstance(config.language, VisionLanguageConfig):
        raise PartError(f"language kind {config.language.kind!r} has no configuration of its own")
    mllm_class, own_class = classes(config.language.family)
    with _default_type(dtype):
        language = own_class(
            config.language, mllm_class(config_of(AutoConfig, mllm, config.language.family)), tokenizer
        )
        lora.add(language, config.language)
        segmenter = family_of(config.segmenter).make(config.segmenter, dict(segmenter_part or {}))
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
