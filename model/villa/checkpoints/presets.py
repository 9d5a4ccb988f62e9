"""Named configurations: the shape of a ViLLa, and which pretrained parts it is made of.

A file is either flat, a `ViLLaConfig` as it stands (the small default, which has no parts), or

    {"villa": {...}, "parts": {"mllm": "qwen3-vl-2b", "sam2": "sam2.1-hiera-small"}, "source": "..."}

with the parts' own configurations in `parts/` beside it. Nothing here needs weights or a network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from villa.checkpoints.build import MLLM, from_settings, small
from villa.checkpoints.byte_tokenizer import byte_tokenizer, with_ids_of
from villa.checkpoints.segmenter_families import family_of
from villa.config import CausalConfig, ConfigError, ViLLaConfig, VisionLanguageConfig
from villa.modeling.villa import ViLLaModel

PARTS = "parts"  # the folder of part files beside the configurations
_KEYS = ("villa", "parts", "converted_from", "note", "source")


@dataclass(frozen=True)
class Part:
    """A published model that a ViLLa is made of, without its weights."""

    name: str
    repository: str  # on the Hugging Face hub
    kind: str  # model_type of its class in transformers
    licence: str
    licence_doubt: str  # what speaks against it; empty: nothing known
    settings: dict[str, Any]  # its configuration
    parameters: int | None  # counted when the file was made
    published: str  # number of parameters as its makers say; empty: they do not
    sources: dict[str, str]  # where each number is from


@dataclass(frozen=True)
class NamedConfig:
    """A configuration under a name."""

    name: str
    config: ViLLaConfig
    parts: dict[str, Part] = field(default_factory=dict)  # by the folder they have in a checkpoint: mllm, sam2
    converted_from: str = ""  # the repository that `villa convert` makes the parts of; empty: they are published
    note: str = ""
    source: str = ""


def names(folder: Path) -> tuple[str, ...]:
    """Names of the configurations in a folder, in alphabetical order."""
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def read(name_or_path: str | Path, folder: Path) -> NamedConfig:
    """A configuration by its name in `folder`, or by the path of its file.

    Raises:
        ConfigError: no such configuration or part, or one that cannot be.
    """
    path = Path(name_or_path)
    if not path.is_file():
        if path.suffix or len(path.parts) > 1:
            raise ConfigError(f"no configuration at {path}: give the path of a JSON file, or one of {_known(folder)}")
        path = folder / f"{path}.json"
        if not path.is_file():
            raise ConfigError(f"no configuration is named {str(name_or_path)!r}: known are {_known(folder)}")
    data = _json(path)
    if "villa" not in data:
        return NamedConfig(path.stem, _config(data, path))
    if unknown := sorted(set(data) - set(_KEYS)):
        raise ConfigError(f"{path}: unknown field {unknown[0]!r}; known are {', '.join(_KEYS)}")
    parts = data.get("parts", {})
    if not isinstance(parts, dict):
        raise ConfigError(f"{path}: parts is {type(parts).__name__}, wanted an object such as {{'mllm': NAME}}")
    named = NamedConfig(
        path.stem,
        _config(data["villa"], path),
        {role: _part(str(part), (path.parent / PARTS, folder / PARTS)) for role, part in parts.items()},
        *(str(data.get(key, "")) for key in ("converted_from", "note", "source")),
    )
    _check(named, path)
    return named


def build(
    named: NamedConfig,
    tokenizer: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ViLLaModel:
    """The model with random weights at its real size, made on `device` and in `dtype` at once, ready for inference.

    On device "meta" it takes no memory. `tokenizer` is a tokenizer.json; without one, words are spelt byte by byte.

    Raises:
        ConfigError: the tokenizer lacks a token that the parts need.
        TokenizerError: it lacks a token that the chat needs.
    """
    config = named.config
    words = byte_tokenizer(config) if tokenizer is None else tokenizer
    with torch.device(device):
        if isinstance(config.language, VisionLanguageConfig):
            settings = with_ids_of(named.parts[MLLM].settings, config.language.family, words)
            part = named.parts.get(family_of(config.segmenter).part)
            model = from_settings(config, settings, None if part is None else part.settings, words, dtype)
        else:
            model = small(config, words).to(dtype)
    return model.eval().requires_grad_(False)


# -- files ------------------------------------------------------------------------------------------------------------


def _known(folder: Path) -> str:
    return ", ".join(names(folder)) or f"none, {folder} holds no JSON file"


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: wanted an object, saw {type(data).__name__}")
    return data


def _config(data: object, path: Path) -> ViLLaConfig:
    try:
        return ViLLaConfig.from_dict(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _part(name: str, folders: tuple[Path, ...]) -> Part:
    for folder in folders:
        if (path := folder / f"{name}.json").is_file():
            data = _json(path)
            break
    else:
        known = ", ".join(names(folders[-1]))
        raise ConfigError(f"no part is named {name!r} in {' or '.join(map(str, folders))}: known are {known}")
    for key, kind in (("repository", str), ("kind", str), ("config", dict)):
        if not isinstance(data.get(key), kind):
            raise ConfigError(f"{path}: {key} is {data.get(key)!r}, wanted {kind.__name__}")
    counted = data.get("parameters_meta") or {}
    return Part(
        name=name,
        repository=data["repository"],
        kind=data["kind"],
        licence=str(data.get("licence") or ""),
        licence_doubt=str(data.get("licence_doubt") or ""),
        settings=data["config"],
        parameters=counted.get("total"),
        published=str(data.get("parameters_published") or ""),
        sources=dict(data.get("sources") or {}),
    )


def _check(named: NamedConfig, path: Path) -> None:
    """Are the parts those that the configuration speaks of?"""
    config = named.config
    if isinstance(config.language, CausalConfig):
        wanted: dict[str, tuple[str, ...]] = {}
    else:
        wanted = {MLLM: (config.language.family,)}
        family = family_of(config.segmenter)
        if family.part:
            wanted[family.part] = family.model_types
    if set(named.parts) != set(wanted):
        raise ConfigError(
            f"{path}: parts are {sorted(named.parts) or 'none'}, wanted {sorted(wanted) or 'none'} for language kind "
            f"{config.language.kind!r} and segmenter kind {config.segmenter.kind!r}"
        )
    for role, kinds in wanted.items():
        if (part := named.parts[role]).kind not in kinds:
            raise ConfigError(f"{path}: part {part.name!r} is of kind {part.kind!r}, wanted {' or '.join(kinds)}")
