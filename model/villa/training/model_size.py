"""What a configuration amounts to: parameters part by part, which of them `villa tune` trains, and their memory.

Everything is counted on torch's meta device: no weight ever exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from villa.checkpoints.presets import NamedConfig, build
from villa.config import CausalConfig
from villa.modeling.language.causal import CausalLLM
from villa.modeling.language.interface import MultimodalLLM
from villa.modeling.language.lora import MARK
from villa.modeling.language.qwen_vl import Qwen3VL
from villa.modeling.language.smolvlm import SmolVLM
from villa.modeling.language.vision_language import VisionLanguageLLM
from villa.modeling.villa import ViLLaModel

BYTES = {"float32": 4, "bfloat16": 2}
LORA_RANK = 16  # of the adapters that are counted where the configuration has none yet
FRAME_PX = (480, 640)  # height and width of the frames that a prompt is counted for

# Beginnings of parameter names -> part and what it is; the longest that fits counts.
_PLACES = {
    "language.mllm.model.visual": ("language model", "vision encoder"),
    "language.mllm.model.vision_tower": ("language model", "vision encoder"),
    "language.mllm.model.vision_model": ("language model", "vision encoder"),
    "language.mllm.model.visual.merger": ("language model", "projector"),
    "language.mllm.model.visual.deepstack_merger_list": ("language model", "projector"),
    "language.mllm.model.multi_modal_projector": ("language model", "projector"),
    "language.mllm.model.connector": ("language model", "projector"),
    "language.mllm.model.language_model": ("language model", "language layers"),
    "language.mllm.model.text_model": ("language model", "language layers"),
    "language.mllm.model.language_model.embed_tokens": ("language model", "embeddings and head"),
    "language.mllm.model.text_model.embed_tokens": ("language model", "embeddings and head"),
    "language.mllm.lm_head": ("language model", "embeddings and head"),
    "language.finder": ("segmenter", "finder of things"),
    "language.recogniser": ("segmenter", "recogniser of common things"),
    "language.scene": ("ViLLa", "RelationEncoder"),
    "language.to_token": ("language model", "projector"),
    "language.projector": ("language model", "projector"),
    "language.llama": ("language model", "language layers"),
    "language.llama.embed_tokens": ("language model", "embeddings and head"),
    "language.new_": ("language model", "rows of [SEG] and [FRM]"),
    "segmenter.encoder": ("segmenter", "image encoder"),
    "segmenter.decoder": ("segmenter", "mask decoder"),
    "segmenter.propagator": ("segmenter", "memory"),
    "segmenter.no_memory": ("segmenter", "memory"),
    "segmenter.sam2.vision_encoder": ("segmenter", "SAM 2 image encoder"),
    "segmenter.sam2.mask_decoder": ("segmenter", "SAM 2 mask decoder"),
    "segmenter.own_decoder": ("segmenter", "mask decoder copy, for answers"),
    "segmenter.sam2.prompt_encoder": ("segmenter", "SAM 2 prompt encoder"),
    "segmenter.sam2": ("segmenter", "SAM 2 memory"),
    "sampler": ("ViLLa", "KeySegmentSampler"),
    "synthesizer": ("ViLLa", "ContextSynthesizer"),
    "frame_time": ("ViLLa", "[FRM] time"),
    "frame_state": ("ViLLa", "[FRM] state"),
    "to_video_prompt": ("ViLLa", "projection of [SEG]"),
    "to_frame_prompt": ("ViLLa", "projection of [FRM]"),
    "synchronizer": ("ViLLa", "HierarchicalTemporalSynchronizer"),
    "focus": ("ViLLa", "ReferringHead"),
    "pointer": ("ViLLa", "SegSelector"),
    "track_": ("ViLLa", "track tokens"),
}
_LAYERS, _ADAPTERS = "language layers", "LoRA adapters"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    part: str  # "language model", "segmenter", "ViLLa"
    name: str
    parameters: int
    trained: bool  # by `villa tune`, unless it is told otherwise


@dataclass(frozen=True)
class Size:
    """All of a model. Bytes are by type, "float32" and "bfloat16"."""

    rows: tuple[Row, ...]
    visual_tokens: int  # N_v of one frame of FRAME_PX
    frames: int  # T_l
    prompt_tokens: int  # the frames, the longest request, the longest answer
    cache_values: int  # of keys and values, for so many tokens
    lora_rank: int  # of the adapters in `rows`
    lora_assumed: bool  # the configuration has none; these are what `villa tune --lora-rank` would add

    @property
    def parameters(self) -> int:
        """Of the model as configured; adapters that it does not have yet are not among them."""
        return sum(row.parameters for row in self.rows if not (self.lora_assumed and row.name == _ADAPTERS))

    @property
    def trained(self) -> int:
        """Parameters that learn."""
        return sum(row.parameters for row in self.rows if row.trained)

    def weight_bytes(self, dtype: str) -> int:
        """Memory of the weights."""
        return self.parameters * BYTES[dtype]

    def cache_bytes(self, dtype: str) -> int:
        """Memory of the keys and values of the longest prompt and answer."""
        return self.cache_values * BYTES[dtype]


def size_of(named: NamedConfig) -> Size:
    """Count a configuration's parameters.

    Raises:
        ConfigError: the configuration cannot be built.
    """
    model = build(named, device="meta")
    config, language = model.config, model.language
    rows = list(_rows(model))
    rank, assumed = 0, False
    if not isinstance(config.language, CausalConfig):
        rank = config.language.lora_rank
        if not rank:
            rank, assumed = LORA_RANK, True
            after = next(i for i, row in enumerate(rows) if row.name == _LAYERS) + 1
            rows.insert(after, Row("language model", _ADAPTERS, _adapters(language, rank), True))
    visual = visual_tokens(language, *FRAME_PX)
    tokens = config.clip_frames * visual + config.max_request_tokens + config.max_new_tokens
    return Size(
        rows=tuple(rows),
        visual_tokens=visual,
        frames=config.clip_frames,
        prompt_tokens=tokens,
        cache_values=tokens * _cache_width(language),
        lora_rank=rank,
        lora_assumed=assumed,
    )


def _rows(model: ViLLaModel) -> Iterator[Row]:
    """Parts in the order in which they are used; a tied weight counts once."""
    from villa.training.tune import learns

    counts: dict[tuple[str, str, bool], int] = {}
    for name, parameter in model.named_parameters():
        part, what = _place(name)
        trained = learns(name, model.config)
        counts[part, what, trained] = counts.get((part, what, trained), 0) + parameter.numel()
    order = list(dict.fromkeys(_PLACES.values()))
    order.insert(order.index(("language model", _LAYERS)) + 1, ("language model", _ADAPTERS))
    for (part, what, trained), count in sorted(counts.items(), key=lambda item: order.index(item[0][:2])):
        yield Row(part, what, count, trained)


def _place(name: str) -> tuple[str, str]:
    if MARK in name:
        return "language model", _ADAPTERS
    fits = [start for start in _PLACES if name.startswith(start)]
    if not fits:
        raise KeyError(f"no part of the table holds the parameter {name!r}")
    return _PLACES[max(fits, key=len)]


def _adapters(language: MultimodalLLM, rank: int) -> int:
    """Parameters of LoRA adapters of this rank: two thin matrices beside each one that is adapted."""
    if not isinstance(language, VisionLanguageLLM):
        return 0
    targets = language.config.lora_targets
    adapted = [
        module
        for name, module in language.text.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in targets
    ]
    return sum(rank * (module.in_features + module.out_features) for module in adapted)


def visual_tokens(language: MultimodalLLM, height: int, width: int) -> int:
    """N_v: how many visual tokens a frame of this size in px becomes."""
    if isinstance(language, CausalLLM):
        return language.config.visual_tokens
    if not isinstance(language, VisionLanguageLLM):
        raise TypeError(f"no count is known for {type(language).__name__}")
    rows, columns = language.frame_size(height, width)
    settings: Any = language.mllm.config
    vision = settings.vision_config
    if isinstance(language, Qwen3VL):
        count = rows * columns / (vision.patch_size * vision.spatial_merge_size) ** 2
    elif isinstance(language, SmolVLM):
        count = rows * columns / (vision.patch_size * settings.scale_factor) ** 2
    else:
        patch_rows, patch_columns = vision.patch_size
        count = (rows // patch_rows) * (columns // patch_columns) * settings.downsample_ratio**2
    return int(count)


def _cache_width(language: MultimodalLLM) -> int:
    """Values that the cache keeps of one token: keys and values of all layers."""
    settings: Any
    if isinstance(language, CausalLLM):
        settings = language.llama.config
    elif isinstance(language, VisionLanguageLLM):
        settings = language.text.config
    else:
        raise TypeError(f"no cache is known for {type(language).__name__}")
    head = getattr(settings, "head_dim", None) or settings.hidden_size // settings.num_attention_heads
    return int(2 * settings.num_hidden_layers * settings.num_key_value_heads * head)


def gigabytes(count: int) -> str:
    """Bytes -> text, in units of 10^9."""
    return f"{count / 1e9:.2f} GB"
