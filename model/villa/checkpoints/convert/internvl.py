"""InternVL 2.5 and 3 as their authors name their tensors -> `InternVLForConditionalGeneration` of transformers.

Names read from projects/sa2va/hf/models of github.com/bytedance/Sa2VA (modeling_intern_vit.py, modeling_internlm2.py,
modeling_sa2va_chat.py). The language model is a Qwen2, or an InternLM2, whose fused query-key-value matrix is split
onto the Llama class.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from villa.checkpoints.convert.names import ConvertError, Rules, rename, without_prefix

_VISION: Rules = (
    (r"^embeddings\.class_embedding$", "embeddings.cls_token"),
    (r"^embeddings\.position_embedding$", "embeddings.position_embeddings"),
    (r"^embeddings\.patch_embedding\.", "embeddings.patch_embeddings.projection."),
    (r"^encoder\.layers\.", "encoder.layer."),
    (r"\.ls(\d)$", r".lambda_\1"),
    (r"\.attn\.proj\.", ".attention.projection_layer."),
    (r"\.attn\.([qk])_norm\.", r".attention.\1_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
)
_PROJECTOR: Rules = ((r"^0\.", "layer_norm."), (r"^1\.", "linear_1."), (r"^3\.", "linear_2."))
_INTERNLM2: Rules = (
    (r"^model\.tok_embeddings\.", "model.embed_tokens."),
    (r"^output\.", "lm_head."),
    (r"\.attention\.wo\.", ".self_attn.o_proj."),
    (r"\.feed_forward\.w1\.", ".mlp.gate_proj."),
    (r"\.feed_forward\.w3\.", ".mlp.up_proj."),
    (r"\.feed_forward\.w2\.", ".mlp.down_proj."),
    (r"\.attention_norm\.", ".input_layernorm."),
    (r"\.ffn_norm\.", ".post_attention_layernorm."),
)
PREFIXES = ("vision_model.", "mlp1.", "language_model.")


def converted(tensors: dict[str, Tensor], language: dict[str, Any]) -> dict[str, Tensor]:
    """InternVL's tensors and its language model's configuration -> transformers' names."""
    new: dict[str, Tensor] = {}
    for name, tensor in rename(without_prefix(tensors, "vision_model."), _VISION).items():
        new |= _vision_split(f"model.vision_tower.{name}", tensor)
    for name, tensor in rename(without_prefix(tensors, "mlp1."), _PROJECTOR).items():
        new[f"model.multi_modal_projector.{name}"] = tensor
    words = without_prefix(tensors, "language_model.")
    if language.get("model_type") == "internlm2":
        words = rename(_internlm2_split(words, language), _INTERNLM2)
    for name, tensor in words.items():
        new[name if name.startswith("lm_head.") else f"model.language_model.{name.removeprefix('model.')}"] = tensor
    return new


def settings(config: dict[str, Any], image_token: int) -> dict[str, Any]:
    """Sa2VA's (InternVL's) config.json -> configuration of transformers' class.

    Raises:
        ConvertError: a setting that transformers' class cannot have.
    """
    vision, language = config["vision_config"], config["llm_config"]
    if config.get("ps_version", "v2") != "v2":
        raise ConvertError(f"ps_version is {config['ps_version']!r}: only 'v2' exists in transformers")
    if language.get("model_type") not in ("qwen2", "internlm2"):
        raise ConvertError(f"the language model is {language.get('model_type')!r}: known are qwen2 and internlm2")
    size = int(config.get("force_image_size") or vision["image_size"])
    ratio = float(config.get("downsample_ratio", 0.5))
    return {
        "model_type": "internvl",
        "vision_config": {
            "hidden_size": vision["hidden_size"],
            "intermediate_size": vision["intermediate_size"],
            "num_hidden_layers": vision["num_hidden_layers"],
            "num_attention_heads": vision["num_attention_heads"],
            "attention_bias": bool(vision.get("qkv_bias", False)),
            "use_qk_norm": bool(vision.get("qk_normalization", False)),
            "norm_type": vision.get("norm_type", "layer_norm"),
            "layer_norm_eps": vision.get("layer_norm_eps", 1e-6),
            "hidden_act": vision.get("hidden_act", "gelu"),
            "image_size": [size, size],
            "patch_size": [vision["patch_size"]] * 2,
        },
        "text_config": _language_settings(language),
        "image_token_id": image_token,
        "image_seq_length": int((size // vision["patch_size"]) ** 2 * ratio**2),
        "downsample_ratio": ratio,
        "vision_feature_layer": config.get("select_layer", -1),
        "tie_word_embeddings": bool(language.get("tie_word_embeddings", False)),
    }


_SAME = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


def _language_settings(language: dict[str, Any]) -> dict[str, Any]:
    same = {name: language[name] for name in _SAME if name in language}
    scaling = language.get("rope_scaling") or {}
    kind = scaling.get("type", scaling.get("rope_type", "default"))
    rope = {"rope_type": kind, "rope_theta": language.get("rope_theta", 10_000.0)}
    if "factor" in scaling:
        rope["factor"] = scaling["factor"]
    llama = language["model_type"] == "internlm2"
    own: dict[str, Any] = (
        {"attention_bias": bool(language.get("bias", False))} if llama else {"use_sliding_window": False}
    )
    if not llama and language.get("use_sliding_window"):
        raise ConvertError("the language model slides a window: that is not supported here")
    return {
        "model_type": "llama" if llama else "qwen2",
        **same,
        **own,
        "rope_parameters": rope,
        "tie_word_embeddings": bool(language.get("tie_word_embeddings", False)),
    }


def _vision_split(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One matrix for query, key and value -> three."""
    if ".attn.qkv." not in name:
        return {name: tensor}
    parts = tensor.chunk(3)
    return {
        name.replace(".attn.qkv.", f".attention.{which}_proj."): part.contiguous()
        for which, part in zip("qkv", parts, strict=True)
    }


def _internlm2_split(words: dict[str, Tensor], language: dict[str, Any]) -> dict[str, Tensor]:
    """wqkv holds, for each key-value head, its group of query heads, then the key, then the value."""
    heads, groups = int(language["num_attention_heads"]), int(language["num_key_value_heads"])
    size = int(language["hidden_size"]) // heads
    queries = heads // groups
    new: dict[str, Tensor] = {}
    for name, tensor in words.items():
        if ".attention.wqkv." not in name:
            new[name] = tensor
            continue
        blocks = tensor.reshape(groups, queries + 2, size, *tensor.shape[1:])
        split = {"q": blocks[:, :queries], "k": blocks[:, queries], "v": blocks[:, queries + 1]}
        for which, part in split.items():
            rows = part.reshape(-1, *tensor.shape[1:]).contiguous()
            new[name.replace(".attention.wqkv.", f".self_attn.{which}_proj.")] = rows
    return new
