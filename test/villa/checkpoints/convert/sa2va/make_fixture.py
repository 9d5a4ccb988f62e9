"""Makes the parity fixtures beside it: tiny Sa2VA models of the public code, their weights, inputs and outputs.

Needs a clone of github.com/bytedance/Sa2VA and an environment of its own, see README.md. Their classes are imported
from the clone and run as they are; what is changed on the way in is sizes, the device and the precision, each where it
says so.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from torchvision import transforms
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, Qwen2TokenizerFast

COMMIT = "9832e1a80e74ed513e8072bf882a09bdd80566c4"
T = 7  # frames; the first PROMPTED get the [SEG] embedding and go to the language model, the rest are propagated
PROMPTED = 5  # theirs: `if frame_idx < 5` in predict_forward
GREEDY = 12
REQUEST = "<image>\nSegment the disc and the box."
ANSWER = "It is [SEG], and [SEG].<|im_end|>"

# One id per printable character, then the special tokens: enough to write a prompt, small enough to keep.
SPECIAL = [
    *("<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    *("[SEG]", "<p>", "</p>", "<vp>", "</vp>"),
]
CHARACTERS = ["\n", *map(chr, range(32, 127))]
VOCABULARY = 128
IDS = {token: i for i, token in enumerate(CHARACTERS + SPECIAL)}


@dataclass
class SamSizes:
    """What is hard-coded in their SAM2 and its heads, smaller. The defaults are those of one fixture, the largest."""

    image_size: int = 64  # 1024
    hidden_dim: int = 32  # 256; a multiple of 16: eight heads at half the width in the mask decoder
    mem_dim: int = 8  # 64; a quarter of hidden_dim, so that a pointer is cut into four tokens as in the real model
    embed_dim: int = 4  # 144
    num_heads: int = 2  # 2
    stages: tuple[int, ...] = (1, 2, 3, 2)  # [2, 6, 36, 4]
    global_att_blocks: tuple[int, ...] = (5,)  # [23, 33, 43], all in the third stage
    window_spec: tuple[int, ...] = (
        8,
        4,
        2,
        2,
    )  # [8, 4, 16, 8]; divides every stage, as at 1024: nothing is padded
    memory_layers: int = 2  # 4
    memory_feedforward: int = 64  # 2048
    fuser_layers: int = 2  # 2
    decoder_mlp_dim: int = 64  # 2048, fixed in SAM2Base_._build_sam_heads
    iou_head_hidden_dim: int = 32  # 256, fixed there too

    def channels(self) -> list[int]:
        """Of the backbone's levels, coarsest first."""
        return [self.embed_dim * 2**i for i in (3, 2, 1, 0)]


# Narrower and shallower: the grounding encoder's code is the same file in every family, and one fixture has it in full.
NARROW = SamSizes(
    image_size=32,
    hidden_dim=16,
    mem_dim=4,
    stages=(1, 2, 2, 1),
    global_att_blocks=(4,),
    window_spec=(4, 2, 2, 1),
    memory_layers=1,
    memory_feedforward=32,
    fuser_layers=1,
    decoder_mlp_dim=32,
    iou_head_hidden_dim=16,
)

INTERN_VIT = {  # the shape of InternViT-300M: layer norm, biases, no norm of queries and keys
    "architectures": ["InternVisionModel"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "image_size": 32,
    "patch_size": 8,
    "qkv_bias": True,
    "qk_normalization": False,
    "norm_type": "layer_norm",
    "layer_norm_eps": 1e-6,
}
LANGUAGE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,  # theirs: the embeddings and the head are trained apart and saved both
}
QWEN_TOKENS = {
    "image_token_id": IDS["<|image_pad|>"],
    "video_token_id": IDS["<|video_pad|>"],
    "vision_start_token_id": IDS["<|vision_start|>"],
    "vision_end_token_id": IDS["<|vision_end|>"],
    "tie_word_embeddings": False,
}
MAX_PIXELS = 900  # of a frame for a Qwen vision tower, in the place of 2048 * 28 * 28: 24 x 32 come out of these frames


@dataclass
class Family:
    """One of their model classes, small."""

    folder: str  # under projects/sa2va/hf
    module: str
    seed: int  # chosen so that object scores have both signs and greedy text does not end early
    frame_size: tuple[int, int]
    sam: SamSizes
    config: dict[str, Any]
    text_gain: float = 3.0  # of the layers between a [SEG] state and the grounding encoder


FAMILIES = {
    "internvl_qwen2": Family(
        folder="models",
        module="modeling_sa2va_chat",
        seed=105,
        frame_size=(30, 52),
        sam=SamSizes(),
        config={
            "vision_config": INTERN_VIT,
            "llm_config": {**LANGUAGE, "architectures": ["Qwen2ForCausalLM"]},
            "template": "qwen_chat",
        },
    ),
    "internvl_internlm2": Family(
        folder="models",
        module="modeling_sa2va_chat",
        seed=128,
        frame_size=(20, 36),
        sam=NARROW,
        config={
            "vision_config": INTERN_VIT,
            "llm_config": {
                **LANGUAGE,
                "architectures": ["InternLM2ForCausalLM"],
                "bias": False,
                "rms_norm_eps": 1e-5,
                "rope_scaling": {
                    "type": "dynamic",
                    "factor": 2.0,
                },  # of use beyond max_position_embeddings only
            },
            "template": "internlm2_chat",
        },
    ),
    "qwen2_5_vl": Family(
        folder="models_qwen2_5_vl",
        module="modeling_sa2va_qwen",
        seed=211,
        frame_size=(20, 36),
        sam=NARROW,
        config={
            "text_config": {**LANGUAGE, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
            "vision_config": {
                "depth": 3,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_heads": 2,
                "out_hidden_size": 32,
                "patch_size": 4,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "window_size": 16,  # two merged patches: windows, and some of them cut off at the border
                "fullatt_block_indexes": [1],
            },
            **QWEN_TOKENS,
        },
    ),
    "qwen3_vl": Family(
        folder="models_qwen3vl",
        module="modeling_sa2va_qwen",
        seed=4,
        frame_size=(20, 36),
        sam=NARROW,
        text_gain=1.0,  # its states come without the last norm and are large
        config={
            "text_config": {
                **LANGUAGE,
                "num_hidden_layers": 3,  # the first two take deepstack features
                "head_dim": 16,  # said apart, and not hidden_size / heads, as in the real ones
                "rope_theta": 5000000.0,
                "rope_scaling": {
                    "rope_type": "default",
                    "mrope_section": [4, 2, 2],
                    "mrope_interleaved": True,
                },
            },
            "vision_config": {
                "depth": 3,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_heads": 2,
                "out_hidden_size": 32,
                "patch_size": 4,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0, 1],
            },
            **QWEN_TOKENS,
        },
    ),
}


# What goes in


def draw_frames(height: int, width: int) -> np.ndarray:
    """A disc and a box that move over a striped ground, uint8 [T, H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = (y + 0.5) / height, (x + 0.5) / width
    frames = []
    for t in range(T):
        ground = 90 + 60 * np.sin(9 * x + 5 * y + 0.3 * t)
        frame = np.stack([ground, 70 + 80 * y, 150 - 60 * x], axis=-1)
        disc = ((x - 0.25 - 0.07 * t) * width / height) ** 2 + (y - 0.4 - 0.04 * t) ** 2 < 0.05
        box = (abs(x - 0.8 + 0.06 * t) < 0.12) & (abs(y - 0.7) < 0.18)
        frame[disc] = [220, 60, 40]
        frame[box] = [40, 190, 90]
        frames.append(frame.round().clip(0, 255).astype(np.uint8))
    return np.stack(frames)


def make_tokenizer() -> Qwen2TokenizerFast:
    """A tokenizer of single characters and of their special tokens; the class is what the processors insist on."""
    tokenizer = Tokenizer(models.WordLevel({c: i for i, c in enumerate(CHARACTERS)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(SPECIAL)  # here, in their order, and not by what transformers adds first
    fast = Qwen2TokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL,
        clean_up_tokenization_spaces=False,
    )
    assert {token: fast.convert_tokens_to_ids(token) for token in IDS} == IDS
    return fast


# Their code, made small and moved to float32 on the CPU


def import_theirs(clone: Path, folder: str, module: str) -> tuple[ModuleType, ModuleType]:
    """Their modules as they stand in the clone; the folders have no __init__, so they are namespace packages."""
    sys.path.insert(0, str(clone / "projects" / "sa2va" / "hf"))
    return importlib.import_module(f"{folder}.{module}"), importlib.import_module(f"{folder}.sam2")


@contextlib.contextmanager
def small(sam2: ModuleType, sizes: SamSizes) -> Iterator[None]:
    """Lets their SAM2.__init__ run as it is, every flag included, while the sizes that it writes out are swapped.

    The names of the parts are wrapped only while the model is built: MemoryAttention.forward asks isinstance of one.
    """
    width = {256: sizes.hidden_dim, 64: sizes.mem_dim}
    swaps: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "Hiera": lambda given: {
            "embed_dim": sizes.embed_dim,
            "num_heads": sizes.num_heads,
            "stages": list(sizes.stages),
            "global_att_blocks": list(sizes.global_att_blocks),
            "window_spec": list(sizes.window_spec),
        },
        "FpnNeck": lambda given: {"d_model": sizes.hidden_dim, "backbone_channel_list": sizes.channels()},
        "PositionEmbeddingSine": lambda given: {"num_pos_feats": width[given["num_pos_feats"]]},
        "RoPEAttention": lambda given: {
            "embedding_dim": sizes.hidden_dim,
            **({"kv_in_dim": sizes.mem_dim} if "kv_in_dim" in given else {}),
        },
        "MemoryAttentionLayer": lambda given: {
            "d_model": sizes.hidden_dim,
            "dim_feedforward": sizes.memory_feedforward,
        },
        "MemoryAttention": lambda given: {"d_model": sizes.hidden_dim, "num_layers": sizes.memory_layers},
        "MaskDownSampler": lambda given: {"embed_dim": sizes.hidden_dim},  # 256 by default, they do not pass it
        "CXBlock": lambda given: {"dim": sizes.hidden_dim},
        "Fuser": lambda given: {"num_layers": sizes.fuser_layers},
        "MemoryEncoder": lambda given: {
            "in_dim": sizes.hidden_dim,
            "out_dim": sizes.mem_dim,
        },  # in_dim: likewise
        "SAM2VideoPredictor": lambda given: {"image_size": sizes.image_size},
        "TwoWayTransformer": lambda given: {"mlp_dim": sizes.decoder_mlp_dim},
        "MaskDecoder": lambda given: {"iou_head_hidden_dim": sizes.iou_head_hidden_dim},
    }

    def wrap(part: type[nn.Module], swap: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., nn.Module]:
        return lambda **given: part(**{**given, **swap(given)})

    theirs = {name: getattr(sam2, name) for name in swaps}
    try:
        for name, swap in swaps.items():
            setattr(sam2, name, wrap(theirs[name], swap))
        yield
    finally:
        for name, part in theirs.items():
            setattr(sam2, name, part)


def build(theirs: ModuleType, sam2: ModuleType, family: Family) -> nn.Module:
    with small(sam2, family.sam):
        if family.folder == "models":
            config = theirs.Sa2VAChatConfig(
                architectures=["Sa2VAChatModel"], force_image_size=32, ps_version="v2", **family.config
            )
            return theirs.Sa2VAChatModel(config, use_flash_attn=False).float().eval()
        config = theirs.Sa2VAChatConfigQwen(**family.config)
        model = theirs.Sa2VAChatModelQwen(config).float().eval()
        model.model.generation_config.eos_token_id = IDS["<|im_end|>"]
        model.model.generation_config.pad_token_id = IDS["<|endoftext|>"]
        return model


def storage_dtype(tensor: Tensor) -> torch.dtype:
    """Eight bits for what is large: random weights lose nothing by it, and the files have to stay small."""
    return torch.float8_e4m3fn if tensor.numel() >= 256 else torch.bfloat16


def gain(name: str, family: Family) -> float:
    """Louder where two [SEG] have to come out as two masks, and where a memory has to be seen in the next."""
    if "mask_decoder.transformer" in name:
        return 2.5 if "self_attn" in name else 0.8
    if name.startswith("text_hidden_fcs"):
        return family.text_gain
    if "cross_attn_image" in name or "obj_ptr_proj" in name:
        return 2.0
    if "image_encoder.neck" in name:
        return 0.5
    if "memory_encoder.out_proj" in name:
        return 0.25  # memories as loud as the pointers beside them
    return 1.6 if "language_model" in name else 1.2


def fill(model: nn.Module, family: Family, seed: int) -> dict[str, Tensor]:
    """Seeded normals for every parameter, also those that start at zero or one, rounded to how they are stored."""
    stored = {}
    for name, tensor in model.state_dict().items():
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()  # by name: an order of keys cannot change a value
        noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))
        last = name.rsplit(".", 1)[-1]
        if last in ("ls1", "ls2", "g_weight"):  # layer scales
            value = 0.5 + 0.2 * noise
        elif last == "weight" and tensor.ndim == 1:  # of norms
            value = 1.0 + 0.2 * noise
        elif last == "bias":
            value = 0.2 * noise
        elif "token" in name or "embed" in name or "_ptr" in last or "tpos" in last or "no_mem" in last:
            # Tables and single vectors. Convolutions and projections that carry such a name have four or two dimensions
            # and a fan-in worth dividing by.
            projects = last == "weight" and (tensor.ndim > 2 or "proj" in name)
            value = noise / math.sqrt(tensor[0].numel()) if projects else 0.5 * noise
        elif tensor.ndim > 1 and last == "weight":
            transposed = "output_upscaling" in name and tensor.ndim == 4  # ConvTranspose2d: inputs come first
            value = gain(name, family) * noise / math.sqrt(tensor.shape[0] if transposed else tensor[0].numel())
        else:  # the random matrix of position encodings
            assert last == "positional_encoding_gaussian_matrix", name
            value = noise
        stored[name] = value.to(storage_dtype(tensor))
    model.load_state_dict({name: value.float() for name, value in stored.items()})
    return stored


def on_the_cpu(model: nn.Module) -> list[dict[str, Any]]:
    """Keeps their path off CUDA and in float32; what they round to bfloat16 on the way stays rounded.

    Returns a list that gets every session of the grounding encoder as it is opened.
    """
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # theirs calls it on ids, images and memories
    predictor = model.grounding_encoder.sam2_model
    init_state = predictor.init_state
    sessions = []

    def open_on_cpu(images: Tensor) -> dict[str, Any]:
        state = init_state(images.float())  # they come as bfloat16
        state["device"] = state["storage_device"] = torch.device("cpu")
        sessions.append(state)
        return state

    predictor.init_state = open_on_cpu
    return sessions


# Recording


class Recorder:
    """Keeps what passes through their functions and modules while predict_forward runs."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Any]] = {}

    def keep(self, name: str, value: Any) -> None:
        self.seen.setdefault(name, []).append(value)

    def module(self, name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _, given, result: self.keep(name, (given, result)))

    def function(self, name: str, owner: Any, attribute: str) -> None:
        function = getattr(owner, attribute)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            self.keep(name, (args, kwargs, result))
            return result

        setattr(owner, attribute, recorded)


class Dictate(LogitsProcessor):
    """Leaves one token to choose at every step: random weights would never say [SEG]."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids
        self.step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        only = torch.full_like(scores, -math.inf)
        only[:, self.ids[self.step]] = 0.0
        self.step += 1
        return only


def dictated(owner: Any, answer: list[int], change: Callable[[dict[str, Any]], None]) -> None:
    """Has `owner.generate` say `answer`, and lets `change` see its arguments."""
    generate = owner.generate

    def generate_answer(*args: Any, **kwargs: Any) -> Any:
        change(kwargs)
        return generate(*args, logits_processor=LogitsProcessorList([Dictate(answer)]), **kwargs)

    owner.generate = generate_answer


def record_grounding(recorder: Recorder, model: nn.Module) -> None:
    predictor = model.grounding_encoder.sam2_model
    recorder.function("frame", predictor, "add_language_embd")
    recorder.function("video", predictor, "_get_orig_video_res_output")
    recorder.function("image", predictor, "forward_image")
    recorder.module("decoder", predictor.sam_mask_decoder)
    recorder.module("memory", predictor.memory_attention)
    recorder.module("text_hidden_fcs", model.text_hidden_fcs)


def grounding_outputs(recorder: Recorder, sessions: list[dict[str, Any]], full: bool) -> dict[str, Tensor]:
    """Two objects, each a session of its own, as in predict_forward."""
    seen = recorder.seen
    (((seg_hidden,), seg_embeddings),) = seen["text_hidden_fcs"]
    assert len(sessions) == 2
    assert len(seen["frame"]) == 2 * PROMPTED
    assert len(seen["decoder"]) == len(seen["video"]) == 2 * T
    every = [
        [{**s["output_dict"]["cond_frame_outputs"], **s["output_dict"]["non_cond_frame_outputs"]}[t] for t in range(T)]
        for s in sessions
    ]
    decoded = [result for _, result in seen["decoder"]]  # multimasks, ious, tokens, object score logits

    def per_object(values: list[Tensor]) -> Tensor:
        return torch.stack(values).unflatten(0, (2, len(values) // 2))

    maps = seen["image"][0][2]["backbone_fpn"]  # after conv_s0 and conv_s1, as the mask decoder reads them
    outputs = {
        "seg_hidden": seg_hidden,
        "seg_embeddings": seg_embeddings,
        "frame_logits": per_object([result[2][0, 0] for _, _, result in seen["frame"]]),
        "video_logits": per_object([given[1][0, 0] for given, _, _ in seen["video"]]),
        "ious": per_object([d[1][0] for d in decoded]),
        "object_score_logits": per_object([d[3][0, 0] for d in decoded]),
        "obj_ptr": torch.stack([torch.cat([out["obj_ptr"] for out in outs]) for outs in every]),
        "maskmem_features": torch.stack([torch.cat([out["maskmem_features"] for out in outs]) for outs in every]),
        "maskmem_pos_enc": every[0][0]["maskmem_pos_enc"][0][0],
        "memory_conditioned": per_object([result[:, 0] for _, result in seen["memory"]]),
        "fpn_0": maps[0][0],
        "fpn_1": maps[1][0],
        "fpn_2": maps[2][0],
    }
    assert torch.equal(outputs["video_logits"], torch.stack([torch.cat([o["pred_masks"][:, 0] for o in outs])
                                                              for outs in every]))  # fmt: skip
    if full:
        outputs["multimask_logits"] = decoded[0][0][0]
    return outputs


# The two kinds of model


def run_internvl(
    model: nn.Module, frames: list[Image.Image], size: int, full: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    recorder, sessions = Recorder(), on_the_cpu(model)
    tokenizer = make_tokenizer()
    model.preparing_for_generation(tokenizer)
    # It writes these out for 448 pixels and patches of 14, whatever the config says.
    model.image_size = model.config.vision_config.image_size
    model.patch_size = model.config.vision_config.patch_size
    model.patch_token = int((model.image_size // model.patch_size) ** 2 * model.downsample_ratio**2)
    model.transformer.transforms[1] = transforms.Resize(
        (model.image_size, model.image_size), interpolation=transforms.InterpolationMode.BICUBIC
    )
    model.extra_image_processor.target_length = size

    extract = model.extract_feature
    model.extract_feature = lambda pixels: extract(pixels.float())  # they come as bfloat16
    recorder.function("tokens", model, "extract_feature")
    recorder.function("generate", model, "generate")
    answer = tokenizer.encode(ANSWER)
    dictated(model.language_model, answer, lambda kwargs: recorder.keep("embeds", kwargs["inputs_embeds"]))
    record_grounding(recorder, model)
    result = model.predict_forward(video=frames, text=REQUEST, tokenizer=tokenizer)

    _, given, _ = recorder.seen["generate"][0]
    _, _, tokens = recorder.seen["tokens"][0]
    (embeds,) = recorder.seen["embeds"]
    outputs = grounding_outputs(recorder, sessions, full)
    inputs = {"pixel_values": given["pixel_values"], "input_ids": given["input_ids"][0]}
    outputs["vision_tokens"] = tokens

    # The same in one pass, without a cache and without generate.
    said = model.get_input_embeddings()(torch.tensor([answer]))
    hidden = model.language_model(inputs_embeds=torch.cat([embeds, said], 1), output_hidden_states=True)
    check_seg_hidden(hidden.hidden_states[-1][0], embeds.shape[1], answer, outputs["seg_hidden"])
    check_norm(model.lm_head, nn.Identity(), hidden)

    del model.language_model.generate  # no more dictation
    greedy = model.language_model.generate(
        inputs_embeds=embeds,
        attention_mask=given["attention_mask"],
        generation_config=GenerationConfig(
            max_new_tokens=GREEDY,
            do_sample=False,
            eos_token_id=IDS["<|im_end|>"],
            pad_token_id=IDS["<|endoftext|>"],
        ),
        output_hidden_states=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    outputs.update(greedy_outputs(greedy, greedy.sequences[0]))
    return finish(inputs, outputs, answer, result)


def run_qwen(
    model: nn.Module, frames: list[Image.Image], size: int, full: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    recorder, sessions = Recorder(), on_the_cpu(model)
    processor = make_processor(model)
    tokenizer = processor.tokenizer
    model.extra_image_processor.target_length = size
    model.min_pixels, model.max_pixels = 1, MAX_PIXELS

    def keep_inputs(kwargs: dict[str, Any]) -> None:
        kwargs["pixel_values"] = kwargs["pixel_values"].bfloat16().float()  # their vision tower, in bfloat16, does that
        recorder.keep("generate", dict(kwargs))

    answer = tokenizer.encode(ANSWER)
    dictated(model.model, answer, keep_inputs)
    recorder.module("tokens", model.model.model.visual)
    recorder.function("positions", model.model.model, "get_rope_index")
    record_grounding(recorder, model)
    result = model.predict_forward(video=frames, text=REQUEST, processor=processor)

    (given,) = recorder.seen["generate"]
    _, tokens = recorder.seen["tokens"][0]
    _, _, (positions, deltas) = recorder.seen["positions"][0]
    outputs = grounding_outputs(recorder, sessions, full)
    inputs = {
        "pixel_values": given["pixel_values"],
        "image_grid_thw": given["image_grid_thw"],
        "input_ids": given["input_ids"][0],
    }
    outputs["position_ids"] = positions[:, 0]
    outputs["rope_deltas"] = deltas[0]
    if isinstance(tokens, tuple):  # Qwen3-VL
        tokens, deep = tokens
        outputs["deepstack_tokens"] = torch.stack(deep).unflatten(1, (PROMPTED, -1))
    outputs["vision_tokens"] = tokens.unflatten(0, (PROMPTED, -1))

    # The same in one pass, without a cache and without generate.
    ids = torch.cat([given["input_ids"], torch.tensor([answer])], 1)
    hidden = model.model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=given["pixel_values"],
        image_grid_thw=given["image_grid_thw"],
        output_hidden_states=True,
    )
    check_seg_hidden(hidden.hidden_states[-1][0], len(inputs["input_ids"]), answer, outputs["seg_hidden"])
    # hidden_states[-1] is the state before the last norm in this one: transformers 4.57 records what the layers
    # return, and the norm is no layer. It is what the public code trains and runs on.
    skipped = model.model.model.language_model.norm if "deepstack_tokens" in outputs else nn.Identity()
    check_norm(model.lm_head, skipped, hidden)

    del model.model.generate  # no more dictation
    greedy = model.model.generate(**{**given, "max_new_tokens": GREEDY, "output_logits": True})
    outputs.update(greedy_outputs(greedy, greedy.sequences[0][len(inputs["input_ids"]) :]))
    return finish(inputs, outputs, answer, result)


def make_processor(model: nn.Module) -> Any:
    """The processor of transformers over small patches, with the chat template cut to what a request needs."""
    import transformers

    vision = model.config.vision_config
    fast = transformers.Qwen2VLImageProcessorFast  # what AutoProcessor of this version takes for both
    common = {
        "patch_size": vision.patch_size,
        "temporal_patch_size": vision.temporal_patch_size,
        "merge_size": vision.spatial_merge_size,
    }
    newer = model.config.model_type == "sa2va_chat" and hasattr(vision, "deepstack_visual_indexes")
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3} if newer else {}
    image = fast(min_pixels=1, max_pixels=MAX_PIXELS, **common, **half)
    kind = transformers.Qwen3VLProcessor if newer else transformers.Qwen2_5_VLProcessor
    video = (transformers.Qwen3VLVideoProcessor if newer else transformers.Qwen2VLVideoProcessor)(**common)
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
        "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}"
    )
    if not newer:  # Qwen2.5-VL's own template begins so where nobody says otherwise
        template = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + template
    return kind(image_processor=image, tokenizer=make_tokenizer(), video_processor=video, chat_template=template)


def check_seg_hidden(hidden: Tensor, prompt: int, answer: list[int], seg_hidden: Tensor) -> None:
    """The state at a [SEG] is the one at its own place in the text, where it goes in, not the one that said it."""
    places = [prompt + i for i, token in enumerate(answer) if token == IDS["[SEG]"]]
    assert len(places) == 2
    torch.testing.assert_close(hidden[places], seg_hidden, atol=1e-5, rtol=1e-4)


def check_norm(head: nn.Module, skipped: nn.Module, hidden: Any) -> None:
    """Says what lies between hidden_states[-1] and the logits: `skipped`."""
    torch.testing.assert_close(head(skipped(hidden.hidden_states[-1])), hidden.logits, atol=1e-4, rtol=1e-4)


def greedy_outputs(greedy: Any, ids: Tensor) -> dict[str, Tensor]:
    assert len(ids) == GREEDY, "the text ended early: choose another seed"
    top = torch.cat(greedy.logits).topk(2).values
    assert (top[:, 0] - top[:, 1]).min() > 1e-2, "two tokens are nearly level: choose another seed"
    last = torch.stack([states[-1][0, -1] for states in greedy.hidden_states])
    return {"greedy_ids": ids, "greedy_hidden": last}


def finish(
    inputs: dict[str, Tensor], outputs: dict[str, Tensor], answer: list[int], result: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    inputs["answer_ids"] = torch.tensor(answer)
    outputs["masks"] = torch.from_numpy(np.packbits(np.stack(result["prediction_masks"]), axis=-1))
    return inputs, outputs


def report(outputs: dict[str, Tensor]) -> None:
    scores, video = outputs["object_score_logits"], outputs["video_logits"]
    print(
        f"object scores {scores.min():.2f}..{scores.max():.2f}, {int((scores > 0).sum())} of {scores.numel()} above 0"
    )
    print(
        f"mask logits {video.min():.2f}..{video.max():.2f}, std {video.std():.2f}, {(video > 0).float().mean():.2f} on"
    )
    print(f"between frames {(video[:, 1:] - video[:, :-1]).abs().mean((0, 2, 3))}")
    print(f"between objects {(video[0] - video[1]).abs().mean((1, 2))}")
    print(f"best of three {outputs['ious'].argmax(-1).tolist()}, greedy {outputs['greedy_ids'].tolist()}")


def versions() -> dict[str, str]:
    names = ["torch", "torchvision", "transformers", "peft", "pillow", "numpy", "qwen-vl-utils"]
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {"python": ".".join(map(str, sys.version_info[:2])), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sa2va", type=Path, required=True, help="a clone of github.com/bytedance/Sa2VA")
    parser.add_argument("--family", choices=FAMILIES, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, help="another one than the fixture's")
    parser.add_argument("--keys", type=Path, help="also list the keys and shapes of the state dict here")
    args = parser.parse_args()

    found = subprocess.run(
        ["git", "-C", args.sa2va, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert found == COMMIT, f"the clone is at {found}"
    torch.set_num_threads(1)  # sums in one order
    torch.use_deterministic_algorithms(True)
    torch.set_grad_enabled(False)
    family = FAMILIES[args.family]
    seed = family.seed if args.seed is None else args.seed
    theirs, sam2 = import_theirs(args.sa2va, family.folder, family.module)
    model = build(theirs, sam2, family)
    stored = fill(model, family, seed)
    if args.keys:
        args.keys.write_text("".join(f"{k} {list(v.shape)} {v.dtype}\n" for k, v in stored.items()))

    frames = draw_frames(*family.frame_size)
    run = run_internvl if family.folder == "models" else run_qwen
    size = family.sam.image_size
    full = family.sam is not NARROW
    inputs, outputs = run(model, [Image.fromarray(frame) for frame in frames], size, full)
    report(outputs)

    # Their resize again, for the pixels before the mean and the deviation, which are smaller to keep.
    resize = theirs.DirectResize(size)
    grounding = np.stack([resize.apply_image(frame) for frame in frames])
    inputs["frames"] = torch.from_numpy(frames)
    inputs["g_frames"] = torch.from_numpy(grounding).permute(0, 3, 1, 2)
    normalised = model.grounding_encoder.preprocess_image(inputs["g_frames"][0]).bfloat16()
    inputs["g_pixel_values_corner"] = normalised[:, :8, :8]  # of frame 0: the whole would double what a video takes

    vision = model.config.vision_config
    language = model.config.llm_config if family.folder == "models" else model.config.text_config
    meta = {
        "family": args.family,
        "class": type(model).__name__,
        "commit": COMMIT,
        "versions": versions(),
        "seed": seed,
        "vision_config": {**family.config["vision_config"], "model_type": vision.model_type},
        "language_config": {
            **family.config["llm_config" if family.folder == "models" else "text_config"],
            "model_type": language.model_type,
        },
        "sam2": asdict(family.sam),
        "token_ids": {token: IDS[token] for token in SPECIAL},
        "characters": "".join(CHARACTERS),
        "request": REQUEST,
        "answer": ANSWER,
        "seg_hidden_after_norm": "deepstack_tokens" not in outputs,
        "prompt": make_tokenizer().decode(inputs["input_ids"]),
    }
    if family.folder == "models":
        meta.update({k: getattr(model.config, k) for k in ("select_layer", "ps_version", "downsample_ratio")})
        meta["template"] = family.config["template"]
    else:
        meta.update(QWEN_TOKENS, max_pixels=MAX_PIXELS)
    tensors = {f"weights/{name}": value for name, value in stored.items()}
    tensors |= {f"inputs/{name}": value for name, value in inputs.items()}
    tensors |= {f"outputs/{name}": value for name, value in outputs.items()}
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"sa2va_{args.family}.safetensors"
    save_file(tensors, path, metadata={"sa2va": json.dumps(meta, sort_keys=True)})
    print(f"{path.name}: {path.stat().st_size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
