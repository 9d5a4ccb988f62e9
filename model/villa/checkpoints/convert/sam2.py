"""SAM 2 as its authors name its tensors -> `Sam2VideoModel` of transformers.

Names read from github.com/facebookresearch/sam2 (sam2/modeling) and from projects/sa2va/hf/models/sam2.py of
github.com/bytedance/Sa2VA, which renames the memory fuser's `gamma` to `g_weight`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from villa.checkpoints.convert.names import ConvertError, Rules, rename

_POINTS = "sam_prompt_encoder.point_embeddings"
_GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_THREE = r"(output_hypernetworks_mlps\.\d+|iou_prediction_head|pred_obj_score_head|object_pointer_proj)"

RULES: Rules = (
    # the parts
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    # networks of two layers, and of three
    (r"(backbone\.blocks\.\d+|transformer\.layers\.\d+)\.mlp\.layers\.0\.", r"\1.mlp.proj_in."),
    (r"(backbone\.blocks\.\d+|transformer\.layers\.\d+)\.mlp\.layers\.1\.", r"\1.mlp.proj_out."),
    (_THREE + r"\.layers\.2\.", r"\1.proj_out."),
    (_THREE + r"\.layers\.0\.", r"\1.proj_in."),
    (_THREE + r"\.layers\.1\.", r"\1.layers.0."),
    # image encoder
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    # mask decoder and prompts
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    # memory
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"memory_fuser\.layers\.(\d+)\.(gamma|g_weight)$", r"memory_fuser.layers.\1.scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"mask_downsampler\.encoder\.12\.", "mask_downsampler.final_conv."),
    *(
        (rf"mask_downsampler\.encoder\.{3 * layer + at}\.", f"mask_downsampler.layers.{layer}.{part}.")
        for layer in range(4)
        for at, part in ((0, "conv"), (1, "layer_norm"))
    ),
    # norms and attentions everywhere
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.norm(\d?)\.(weight|bias)$", r".layer_norm\1.\2"),
    (r"(attn|attn_image|token_to_image|image_to_token)\.out_proj\.", r"\1.o_proj."),
)


def converted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """SAM 2's tensors -> transformers' names, every one of them used.

    Raises:
        ConvertError: the prompt encoder lacks what both its copies are made of.
    """
    rest = dict(tensors)
    try:
        points = [rest.pop(f"{_POINTS}.{index}.weight") for index in range(4)]
        gaussian = rest.pop(_GAUSSIAN)
    except KeyError as error:
        raise ConvertError(f"SAM 2: {error.args[0]!r} is missing") from error
    new = rename(rest, RULES)
    new["prompt_encoder.point_embed.weight"] = torch.cat(points)
    new["shared_image_embedding.positional_embedding"] = gaussian
    new["prompt_encoder.shared_embedding.positional_embedding"] = gaussian.clone()
    return new
