"""LoRA (arXiv 2106.09685) on the language model inside a vision-language model, by peft.

The folder's own weights stay as they are; only the adapters are ours, and only they are saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from villa.config import VisionLanguageConfig

if TYPE_CHECKING:
    from villa.modeling.language.vision_language import VisionLanguageLLM

MARK = ".lora_"  # in the names of an adapter's tensors


class AdapterError(RuntimeError):
    """A model has adapters, and peft is not installed or finds nothing to adapt."""


def add(language: VisionLanguageLLM, config: VisionLanguageConfig) -> None:
    """Put adapters where the configuration says; untrained they change nothing.

    Raises:
        AdapterError: peft is missing, or no module has one of the names.
    """
    if not config.lora_rank:
        return
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise AdapterError("this model has LoRA adapters: pip install 'villa-ros[train]' (peft)") from error
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.lora_targets),
    )
    try:
        inject_adapter_in_model(settings, language.text)
    except ValueError as error:
        raise AdapterError(
            f"no module of the language model is named {', '.join(config.lora_targets)}: {error}"
        ) from error
