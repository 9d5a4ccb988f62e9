"""Made-up tokenizers: one token a byte, and the special tokens that a family's chat and images need.

For models with random weights (sizes, speed, tests of form); a published tokenizer needs three to five times fewer
tokens for the same words.
"""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from villa.config import CausalConfig, ConfigError, ViLLaConfig
from villa.modeling.language.tokenizer import cut

_CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_SPECIAL = {
    "qwen3_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "internvl": ("<img>", "</img>", "<IMG_CONTEXT>"),
    "smolvlm": ("<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>"),
}
IMAGE_TOKEN = {
    "qwen3_vl": "<|image_pad|>",
    "qwen2_5_vl": "<|image_pad|>",
    "internvl": "<IMG_CONTEXT>",
    "smolvlm": "<image>",
}
FAMILIES = tuple(_SPECIAL)
# Fields of a configuration that hold the id of a token; None: the family's image token.
_ID_FIELDS = {
    "image_token_id": None,
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}


def byte_tokenizer(config: ViLLaConfig) -> str:
    """Tokenizer JSON for a language model of this kind; the small default's has as many ids as it has rows."""
    if isinstance(config.language, CausalConfig):
        wanted = config.language.vocabulary
        # Ids that no text becomes, but that a model with random weights may say.
        fill = [f"Ġ{number:x}" for number in range(wanted - len(_alphabet()) - len(_CHAT))]
        return cut(_serialized([*_alphabet(), *_CHAT, *fill], _CHAT), wanted)
    return family_tokenizer(config.language.family)


def family_tokenizer(family: str, *more: str) -> str:
    """Tokenizer JSON for a family of vision-language models; `more` special tokens come last."""
    return _serialized(_alphabet(), (*_CHAT, *_SPECIAL[family], *more))


def with_ids_of(settings: dict[str, Any], family: str, serialized: str) -> dict[str, Any]:
    """A model's configuration with the ids that its image tokens have in this tokenizer.

    Raises:
        ConfigError: the tokenizer lacks one of them.
    """
    tokenizer = Tokenizer.from_str(serialized)
    changed = dict(settings)
    for field, token in _ID_FIELDS.items():
        if field in settings:
            name = token or IMAGE_TOKEN[family]
            changed[field] = tokenizer.token_to_id(name)
            if changed[field] is None:
                raise ConfigError(f"the tokenizer has no token {name!r}, which {family} models need for {field}")
    return changed


def _alphabet() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _serialized(vocabulary: list[str], special: tuple[str, ...]) -> str:
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(vocabulary)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    return json.dumps(json.loads(tokenizer.to_str()))
