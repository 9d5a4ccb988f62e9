"""Real classes of transformers at a size that tests can afford, with tokenizers made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from villa.checkpoints.build import from_settings
from villa.checkpoints.byte_tokenizer import IMAGE_TOKEN, family_tokenizer
from villa.config import BlocksConfig, Sam2Config, ViLLaConfig, VisionLanguageConfig
from villa.modeling.villa import ViLLaModel


def _llama_like(kind: str, rows: int) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": rows,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
    }


def mllm_settings(family: str) -> dict[str, Any]:
    """Configuration of a tiny vision-language model; its embedding has spare rows, as published ones do."""
    tokenizer = Tokenizer.from_str(family_tokenizer(family))
    rows = tokenizer.get_vocab_size() + 11
    image = tokenizer.token_to_id(IMAGE_TOKEN[family])
    if family in ("qwen3_vl", "qwen2_5_vl"):
        text = _llama_like(f"{family}_text", rows) | {
            "head_dim": 12,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 2, 2],
                **({"mrope_interleaved": True} if family == "qwen3_vl" else {}),
            },
        }
        vision: dict[str, Any] = {
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "patch_size": 8,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "out_hidden_size": 48,
        }
        if family == "qwen3_vl":
            vision |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16}
        else:
            vision |= {"fullatt_block_indexes": [2], "window_size": 32, "tokens_per_second": 2}
        return {
            "text_config": text,
            "vision_config": vision,
            "image_token_id": image,
            "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
            "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
            "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
            "tie_word_embeddings": family == "qwen3_vl",
        }
    if family == "internvl":
        return {
            "text_config": _llama_like("qwen2", rows) | {"tie_word_embeddings": False},
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": [32, 32],
                "patch_size": [8, 8],
            },
            "image_token_id": image,
            "image_seq_length": 4,
            "tie_word_embeddings": False,
        }
    return {
        "text_config": _llama_like("llama", rows) | {"head_dim": 12, "tie_word_embeddings": False},
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        "image_token_id": image,
        "scale_factor": 2,
        "tie_word_embeddings": False,
    }


def sam2_settings(kind: str = "sam2_video", *, newest: bool = True) -> dict[str, Any]:
    """Configuration of a tiny SAM 2 video model or SAM 3 tracker; `newest`: SAM 2.1, else 2.0."""
    head = {"hidden_size": 128, "num_attention_heads": 4, "mlp_dim": 48, "iou_head_hidden_dim": 32}
    common = {
        "model_type": kind,
        "image_size": 64,
        "memory_attention_hidden_size": 128,
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": 48,
        "memory_attention_rope_feat_sizes": [4, 4],
        "memory_encoder_hidden_size": 128,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": 128,
        "memory_fuser_embed_dim": 128,
        "memory_fuser_intermediate_dim": 48,
        "memory_fuser_num_layers": 1,
        "enable_occlusion_spatial_embedding": newest,
        "enable_temporal_pos_encoding_for_object_pointers": newest,
        "mask_decoder_config": {"model_type": f"{kind}_mask_decoder", **head},
    }
    if kind == "sam2_video":
        return common | {
            "prompt_encoder_config": {"hidden_size": 128, "image_size": 64, "patch_size": 16},
            "vision_config": {
                "model_type": "sam2_vision_model",
                "backbone_config": {
                    "model_type": "sam2_hiera_det_model",
                    "hidden_size": 8,
                    "image_size": [64, 64],
                    "blocks_per_stage": [1, 1, 2, 1],
                    "embed_dim_per_stage": [8, 16, 32, 64],
                    "num_attention_heads_per_stage": [1, 1, 2, 2],
                    "window_size_per_stage": [4, 4, 4, 2],
                    "global_attention_blocks": [3],
                    "window_positional_embedding_background_size": [4, 4],
                },
                "backbone_channel_list": [64, 32, 16, 8],
                "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
                "fpn_hidden_size": 128,
            },
        }
    return common | {
        "image_size": 56,
        "prompt_encoder_config": {"hidden_size": 128, "image_size": 56, "patch_size": 14},
        "vision_config": {
            "model_type": "sam3_vision_model",
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 56,
                "pretrain_image_size": 28,
                "patch_size": 14,
                "window_size": 2,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": 128,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
    }


def shaken(module: torch.nn.Module, seed: int) -> None:
    """Random values for all parameters: fresh models have tables of zeros, which would hide a missing term."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale = 0.1 if parameter.ndim == 1 else 0.7 * parameter.shape[-1] ** -0.5
            noise = torch.randn(parameter.shape, generator=generator) * scale
            base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(base + noise)


def parts_config(family: str = "qwen3_vl", **changes: Any) -> ViLLaConfig:
    """A ViLLa over tiny parts."""
    values: dict[str, Any] = {
        "segmenter": Sam2Config(),
        "language": VisionLanguageConfig(family=family, max_pixels=32 * 48, min_pixels=16 * 16),
        "blocks": BlocksConfig(synthesizer_width=16, heads=4, track_tokens=True),
        "clip_frames": 3,
        "max_new_tokens": 12,
        "max_request_tokens": 400,
        "least_presence": 0.5,
    }
    return ViLLaConfig(**(values | changes))


def parts_model(family: str = "qwen3_vl", seed: int = 0, sam: str = "sam2_video", **changes: Any) -> ViLLaModel:
    """A ViLLa of tiny parts with random weights, ready for inference."""
    torch.manual_seed(seed)
    config = parts_config(family, **changes)
    model = from_settings(config, mllm_settings(family), sam2_settings(sam), family_tokenizer(family))
    shaken(model.segmenter.sam2, seed + 1)
    shaken(model.language.mllm, seed + 2)
    if model.segmenter.own_decoder is not None:
        model.segmenter.own_decoder.load_state_dict(model.segmenter.sam2.mask_decoder.state_dict())
    model.language.start_rows()
    return model.eval().requires_grad_(False)


def save_parts(folder: Path, family: str = "qwen3_vl", seed: int = 0) -> tuple[Path, Path]:
    """The two Hugging Face folders of `parts_model`, as a hub would give them: (mllm, sam2)."""
    model = parts_model(family, seed)
    mllm, sam2 = folder / "mllm", folder / "sam2"
    model.language.mllm.save_pretrained(mllm)
    (mllm / "tokenizer.json").write_text(family_tokenizer(family))
    model.segmenter.sam2.save_pretrained(sam2)
    return mllm, sam2
