"""One file holds a model: tensors as safetensors, configuration and tokenizer in its header. Loading is strict."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from villa.config import ConfigError, ViLLaConfig
from villa.model import ViLLa
from villa.tokenizer import TextCodec, TokenizerError

FORMAT = "villa-1"


class CheckpointError(ValueError):
    """A checkpoint is missing, is no checkpoint of ours, or does not fit its own configuration."""


def save(model: ViLLa, path: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write `model` to `path`, floating tensors as `dtype`; the file appears whole or not at all."""
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    metadata = {
        "format": FORMAT,
        "config": model.config.to_json(),
        "tokenizer": model.codec.serialized,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, str(partial), metadata=metadata)
    os.replace(partial, path)  # noqa: PTH105 - atomic, and the same call for files of any kind


def channels_last(module: torch.nn.Module) -> None:
    """Lay convolution weights out for channels-last images: twice as fast on a CPU."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def load(path: Path, device: str = "cpu") -> ViLLa:
    """Read a checkpoint to float32 on `device`, ready for inference.

    Raises:
        CheckpointError: no such file, not a villa checkpoint, a key too many or too few, or a wrong shape.
    """
    if path.is_dir():
        path = path / "villa.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}: give the path of a .safetensors file written by `villa train`"
        )
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file, or is cut short: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a villa checkpoint: its header has format {metadata.get('format')!r}, wanted {FORMAT!r}"
        )
    try:
        model = ViLLa(ViLLaConfig.from_json(metadata["config"]), TextCodec(metadata["tokenizer"]))
    except (ConfigError, TokenizerError, KeyError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    wanted = model.state_dict()
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing:
        raise CheckpointError(f"{path} lacks {len(missing)} tensor(s), first {missing[0]!r}")
    if unknown:
        raise CheckpointError(f"{path} has {len(unknown)} unknown tensor(s), first {unknown[0]!r}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path}: {name!r} has shape {list(tensor.shape)}, wanted {list(wanted[name].shape)}"
            )
    model.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()})
    model.requires_grad_(False).eval().to(device)
    channels_last(model.encoder)
    return model
