"""Checkpoint files of earlier versions, read as if they were of this one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

_FIRST = "villa-1"  # encoder, decoder, propagator and projector stood beside each other
_PICTURE_ONLY = (_FIRST, "villa-2")  # a causal language model was told of the whole picture only, never of things
# What there was not yet where a model is told of things: a focus that hears words in company, a reader of speeds.
_LACKING: dict[str, dict[str, Any]] = {
    "villa-3": {"request_depth": 0, "speeds": False},
    "villa-4": {"speeds": False},
}
_MOVED = {
    "encoder.": "segmenter.encoder.",
    "decoder.": "segmenter.decoder.",
    "propagator.": "segmenter.propagator.",
    "no_memory": "segmenter.no_memory",
    "projector.": "language.projector.",
}


def upgraded(
    version: str, config: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of a file of `version` -> those of the present one; others come back as they are."""
    if version == _FIRST:
        config, tensors = _from_first(config, tensors)
    if version in _PICTURE_ONLY and config.get("language", {}).get("kind") == "causal":
        config = {**config, "language": {"things": None, **config["language"]}}
    if version in _LACKING and (things := config.get("language", {}).get("things")):
        config = {**config, "language": {**config["language"], "things": {**_LACKING[version], **things}}}
    return config, tensors


def _from_first(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    config = dict(config)
    decoder = dict(config.pop("decoder", {}))
    inner = decoder.pop("synthesizer_width", 128)
    config["blocks"] = {"synthesizer_width": inner}
    config["segmenter"] = {
        "kind": "light",
        "encoder": config.pop("encoder", {}),
        "decoder": decoder,
        "propagator": config.pop("propagator", {}),
    }
    config["language"] = {"kind": "causal", **config.get("language", {})}
    moved = {_moved(name): tensor for name, tensor in tensors.items()}
    width = moved.get("frame_state.weight")
    channels = moved.get("segmenter.no_memory")
    if width is not None and channels is not None:
        # Relevance was not there yet: untrained it adds nothing.
        moved.setdefault("sampler.relevance.weight", channels.new_zeros(len(channels), width.shape[0]))
    return config, moved


def _moved(name: str) -> str:
    for old, new in _MOVED.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name
