"""Checkpoints, strict in both directions, safetensors only.

The small default is one file: tensors, with configuration and tokenizer in its header. A model of pretrained parts is a
folder: `mllm/` and `sam2/` as their makers published them, and `villa/` with `config.json` and `model.safetensors`,
which hold only what is ours (blocks, decoder copy, rows of new tokens, adapters).
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from villa.checkpoints.build import MLLM, check_part, from_folders, from_settings, small, tokenizer_of
from villa.checkpoints.migration import upgraded
from villa.checkpoints.pretrained_folder import PartError, bounded, settings_of
from villa.checkpoints.segmenter_families import FAMILIES, family_of
from villa.config import CausalConfig, ConfigError, ViLLaConfig, VisionLanguageConfig
from villa.files.plain_data import PlainDataError, from_json, read_json
from villa.files.whole import appearing, write_text
from villa.modeling.language.lora import MARK, AdapterError
from villa.modeling.language.tokenizer import TokenizerError
from villa.modeling.language.vision_language import VisionLanguageLLM
from villa.modeling.villa import ViLLaModel

FORMAT = "villa-5"
READABLE = (FORMAT, "villa-4", "villa-3", "villa-2", "villa-1")
_FOLDERS = READABLE[:-1]  # the first format had no folders, and the others' are as they are today
OWN = "villa"  # the folder of what is ours
# Folders of what others published, and where their tensors are in the model.
_PARTS = {MLLM: "language.mllm."} | {family.part: f"segmenter.{family.part}." for family in FAMILIES if family.part}


class CheckpointError(ValueError):
    """A checkpoint is missing, is no checkpoint of ours, or does not fit its own configuration."""


def save(model: ViLLaModel, path: Path, dtype: torch.dtype | None = torch.bfloat16, *, link: bool = False) -> None:
    """Write `model` to `path`, floating tensors as `dtype` (None: as they are); it appears whole or not at all.

    The small default becomes one file; another model a folder, whose parts are copied once from where they came, or
    linked to with `link`.
    """
    if isinstance(model.config.language, CausalConfig):
        metadata = {"format": FORMAT, "config": model.config.to_json(), "tokenizer": model.codec.serialized}
        _write(_plain(model.state_dict(), dtype), path, metadata)
        return
    for name in _PARTS:
        _save_part(model, name, path / name, link=link)
    own = {name: tensor for name, tensor in model.state_dict().items() if is_own(name)}
    head = {"format": FORMAT, "config": json.loads(model.config.to_json()), "tokens": _new_tokens(model)}
    (path / OWN).mkdir(parents=True, exist_ok=True)
    _write(_plain(own, dtype), path / OWN / "model.safetensors", {"format": FORMAT})
    write_text(path / OWN / "config.json", json.dumps(head, indent=2))


def load(path: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> ViLLaModel:
    """Read a checkpoint, ready for inference; `dtype` None is float32 on a CPU and bfloat16 elsewhere.

    The small default is always float32: it is made for a CPU.

    Raises:
        CheckpointError: no such file, not a villa checkpoint, a key too many or too few, or a wrong shape.
    """
    if path.is_dir() and (path / OWN).is_dir():
        dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
        model = _load_folder(path, dtype)
    else:
        model = _load_file(path / "villa.safetensors" if path.is_dir() else path)
    model.requires_grad_(False).eval().to(device)
    _check_finite(model, path)
    if isinstance(model.config.language, CausalConfig):
        channels_last(model.segmenter.encoder)  # type: ignore[arg-type]
    return model


def is_own(name: str) -> bool:
    """Is this tensor ours, not a published part's?"""
    return not name.startswith(tuple(_PARTS.values())) or MARK in name


def channels_last(module: torch.nn.Module) -> None:
    """Lay convolution weights out for channels-last images: twice as fast on a CPU."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# -- one file -------------------------------------------------------------------------------------------------------


def _load_file(path: Path) -> ViLLaModel:
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}: give the path of a .safetensors file written by `villa train`, or of a folder "
            f"that holds {OWN}/ and the folders of its parts, such as {MLLM}/"
        )
    tensors, metadata = _read(path)
    version = metadata.get("format")
    if version not in READABLE:
        raise CheckpointError(
            f"{path} is not a villa checkpoint: its header has format {version!r}, wanted {' or '.join(READABLE)}"
        )
    try:
        config, tensors = _of_today(version, from_json(metadata["config"]), tensors)
        shape, tokenizer = ViLLaConfig.from_dict(config), metadata["tokenizer"]
        _check(_outline(shape, tokenizer), tensors, path)
        model = small(shape, tokenizer)
    except KeyError as error:
        raise CheckpointError(f"{path}: its header has no {error}") from error
    except (ConfigError, TokenizerError, PartError, PlainDataError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    _fill(model, tensors)
    return model


def _of_today(version: str, config: Any, tensors: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    try:
        return upgraded(version, config, tensors)
    except (AttributeError, TypeError, ValueError, LookupError, RuntimeError) as error:
        raise CheckpointError(f"its configuration is none of format {version}: {error}") from error


def _outline(config: ViLLaConfig, tokenizer: str) -> dict[str, Tensor]:
    """Names, shapes and types of a model that is not made: one of another size than its file may not fit into memory.

    Raises:
        CheckpointError: no model is of this configuration.
    """
    return _made_without_memory(lambda: small(config, tokenizer))


def _made_without_memory(make: Callable[[], ViLLaModel]) -> dict[str, Tensor]:
    try:
        with torch.device("meta"), bounded(), warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # torch warns of parts without a single weight
            return make().state_dict()
    except Exception as error:  # transformers checks its part of it with errors of several packages
        if isinstance(error, (AdapterError, TokenizerError, PartError, ConfigError)):
            raise
        raise CheckpointError(f"its configuration is of no model: {error}") from error


def _outline_of_folders(config: ViLLaConfig, mllm: Path, part: Path | None) -> dict[str, Tensor]:
    """The same of a model of pretrained parts, by their configurations."""
    if not isinstance(config.language, VisionLanguageConfig):
        raise PartError(f"language kind {config.language.kind!r} has no folder")
    check_part(config, part)
    language, tokenizer = settings_of(mllm, (config.language.family,)), tokenizer_of(mllm)
    segmenter = None if part is None else settings_of(part, family_of(config.segmenter).model_types)
    return _made_without_memory(lambda: from_settings(config, language, segmenter, tokenizer))


# -- a folder -------------------------------------------------------------------------------------------------------


def _load_folder(path: Path, dtype: torch.dtype) -> ViLLaModel:
    own = path / OWN
    for needed in (own / "config.json", own / "model.safetensors"):
        if not needed.is_file():
            raise CheckpointError(f"{path} is not complete: {needed} is missing")
    try:
        head = read_json(own / "config.json")
        if not isinstance(head, dict) or head.get("format") not in _FOLDERS:
            seen = head.get("format") if isinstance(head, dict) else head
            raise CheckpointError(
                f"{own / 'config.json'}: format is {seen!r}, wanted {' or '.join(map(repr, _FOLDERS))}"
            )
        config = ViLLaConfig.from_dict(head.get("config"))
        part = family_of(config.segmenter).part
        part_folder = path / part if part and (path / part).is_dir() else None
        tensors, _ = _read(own / "model.safetensors")
        _check(_own(_outline_of_folders(config, path / MLLM, part_folder)), tensors, own)
        model = from_folders(config, path / MLLM, part_folder, dtype)
    except (AdapterError, ConfigError, TokenizerError, PartError, PlainDataError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if (seen := _new_tokens(model)) != head.get("tokens"):
        raise CheckpointError(
            f"{path}: the tokenizer in {MLLM}/ gives new tokens the ids {seen}, the checkpoint was made with "
            f"{head.get('tokens')}: it is another revision of the model"
        )
    _check(_own(model.state_dict()), tensors, own)
    _fill(model, tensors)
    return model


def _own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if is_own(name)}


def _new_tokens(model: ViLLaModel) -> dict[str, int]:
    language = model.language
    return dict(language.added) if isinstance(language, VisionLanguageLLM) else {}


def _save_part(model: ViLLaModel, name: str, folder: Path, *, link: bool) -> None:
    """A part as its maker published it: copied from where it was loaded; made anew where it has no folder."""
    module: Any = getattr(model.language, MLLM, None) if name == MLLM else getattr(model.segmenter, name, None)
    if module is None or (folder / "config.json").is_file():
        return
    source = Path(str(getattr(module, "name_or_path", "")))
    if (source / "config.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        if link:
            folder.symlink_to(source.resolve(), target_is_directory=True)
        else:
            shutil.copytree(source, folder)
        return
    module.save_pretrained(str(folder))
    if isinstance(model.language, VisionLanguageLLM) and name == MLLM:
        write_text(folder / "tokenizer.json", model.language.published_tokenizer)


# -- tensors --------------------------------------------------------------------------------------------------------


def _plain(tensors: dict[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        name: tensor.detach().to("cpu", dtype if dtype and tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in tensors.items()
    }


def _write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as part:
        save_file(tensors, str(part), metadata=metadata)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file, or is cut short: {error}") from error


def _check(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: Path) -> None:
    """Are `tensors` exactly the `wanted` ones, in their shapes, and one floating type for all?"""
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing:
        raise CheckpointError(f"{where} lacks {len(missing)} tensor(s), first {missing[0]!r}")
    if unknown:
        raise CheckpointError(f"{where} has {len(unknown)} unknown tensor(s), first {unknown[0]!r}")
    kinds: dict[torch.dtype, str] = {}
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{where}: {name!r} has shape {list(tensor.shape)}, wanted {list(wanted[name].shape)}"
            )
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            raise CheckpointError(f"{where}: {name!r} is of type {tensor.dtype}, wanted {wanted[name].dtype}")
        if tensor.is_floating_point():
            kinds.setdefault(tensor.dtype, name)
    if len(kinds) > 1:
        (a, first), (b, second) = list(kinds.items())[:2]
        raise CheckpointError(f"{where} mixes types: {first!r} is {a}, {second!r} is {b}; save it again in one of them")


def _fill(model: ViLLaModel, tensors: Mapping[str, Tensor]) -> None:
    wanted = model.state_dict()
    casted = {name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()}
    model.load_state_dict(casted, strict=False)  # the names were compared before


def _check_finite(model: ViLLaModel, path: Path) -> None:
    """A number that is none spreads to every answer, and each of them is "there is no ..."."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path}: {name!r} holds NaN or infinity: the file is damaged, or its training went wrong; get it anew"
            )
