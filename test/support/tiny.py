"""A ViLLa of full structure and small size, with a tokenizer made on the spot."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from villa.checkpoints.build import small
from villa.config import (
    BlocksConfig,
    CausalConfig,
    DecoderConfig,
    EncoderConfig,
    LightConfig,
    PropagatorConfig,
    ProposalConfig,
    ViLLaConfig,
)
from villa.modeling.language.tokenizer import cut
from villa.modeling.villa import ViLLaModel

_WORDS = (
    "user assistant track the red mug and the blue bowl. There is no banana. all the mugs please "
    "something to drink from left of the plate. The green can. There are two mugs: "
)
VOCABULARY = 300


def tokenizer_json() -> str:
    """A byte-level tokenizer of `VOCABULARY` ids before cutting adds [SEG] and [FRM]."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY + 40,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_WORDS] * 4, trainer)
    return tokenizer.to_str()


def tiny_config() -> ViLLaConfig:
    """Everything there is, a few thousand times cheaper."""
    return ViLLaConfig(
        segmenter=LightConfig(
            encoder=EncoderConfig(height=64, width=96, channels=32, fine_channels=8),
            decoder=DecoderConfig(layers=2, heads=4, mlp=32),
            propagator=PropagatorConfig(memories=3, memory_channels=16, heads=4),
        ),
        language=CausalConfig(
            vocabulary=VOCABULARY,
            width=48,
            layers=2,
            heads=3,
            kv_heads=1,
            intermediate=64,
            visual_rows=2,
            visual_columns=3,
            things=ProposalConfig(count=6, width=24, heads=3, layers=2, pointer_layers=2, request_depth=1),
        ),
        blocks=BlocksConfig(synthesizer_width=16),
        clip_frames=3,
        max_new_tokens=12,
        max_request_tokens=64,
        least_presence=0.5,
    )


def tiny_model(seed: int = 0, config: ViLLaConfig | None = None) -> ViLLaModel:
    """A model with random weights, ready for inference."""
    torch.manual_seed(seed)
    model = small(config or tiny_config(), cut(tokenizer_json(), VOCABULARY))
    return model.eval().requires_grad_(False)
