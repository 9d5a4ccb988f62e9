"""Folders of models as transformers publishes them: read class by class, whole or not at all.

Never `trust_remote_code`, never pickle. What a folder lacks or has too much of is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.nn.modules.module import register_module_module_registration_hook

from villa.files.plain_data import PlainDataError, read_json

_LARGER, _LARGER_BY = 1.25, 10**6  # what is tied may be stored once; and the smallest of models are nobody's trouble
# Of a configuration: what a part is repeated by, and any number.
_REPEATED, _MOST_REPEATED, _MOST = ("layers", "depth", "blocks", "stages", "experts", "levels"), 1024, 10**10
_MOST_MODULES = 100_000
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


class PartError(ValueError):
    """A folder of a pretrained part is missing, incomplete, or of another kind than the configuration says."""


def config_of(auto: Any, settings: dict[str, Any], kind: str) -> Any:
    """Settings as plain data -> the configuration of transformers' model type `kind`; `auto` is its AutoConfig."""
    values = {k: v for k, v in settings.items() if k != "model_type"}
    return auto.for_model(kind, **values)


def settings_of(folder: Path, kinds: Sequence[str]) -> dict[str, Any]:
    """A folder's config.json.

    Raises:
        PartError: there is none, it is no object, its model_type is none of `kinds`, or a number in it cannot be.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise PartError(f"{folder} is no model folder: it holds no config.json")
    settings = _json(path)
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind not in kinds:
        raise PartError(f"{path}: model_type is {kind!r}, wanted {' or '.join(map(repr, kinds))}")
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise PartError(f"{folder} holds no weights: wanted {' or '.join(_WEIGHTS)} (pickled weights are not read)")
    _check_counts(settings, path)
    return settings  # type: ignore[no-any-return]


def load_whole(kind: Any, folder: Path, dtype: torch.dtype, attention: str) -> Any:
    """All of a folder's weights, strictly.

    Raises:
        PartError: a tensor is missing, unknown or of another shape, or a file is damaged.
    """
    _check_size(kind, folder)
    try:
        model, report = kind.from_pretrained(
            str(folder),
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    except Exception as error:  # the loaders of transformers raise whatever a damaged file brings up
        raise PartError(f"{folder} does not load as {kind.__name__}: {type(error).__name__}: {error}") from error
    for name, what in (("missing_keys", "lacks"), ("unexpected_keys", "has unknown"), ("mismatched_keys", "misfits")):
        if keys := sorted(map(str, report.get(name) or ())):
            raise PartError(f"{folder} {what} {len(keys)} tensor(s) for {kind.__name__}, first {keys[0]!r}")
    return model


def _check_size(kind: Any, folder: Path) -> None:
    """Is the model of the configuration about as large as the weights beside it? It is made before they are compared,
    and what a damaged configuration leaves out has the size of somebody's largest model.

    Raises:
        PartError: it is much larger, or cannot be made at all.
    """
    try:
        config = kind.config_class.from_pretrained(str(folder), local_files_only=True)
        with torch.device("meta"), bounded():
            wanted = sum(parameter.numel() for parameter in kind(config).parameters())
        stored = _stored_values(folder)
    except Exception as error:  # as below
        raise PartError(f"{folder} does not load as {kind.__name__}: {type(error).__name__}: {error}") from error
    if wanted > _LARGER * stored + _LARGER_BY:
        raise PartError(
            f"{folder}: config.json is of a {kind.__name__} of {wanted:,} values, and the weights beside it hold "
            f"{stored:,}: one of them is damaged, or of another model"
        )


def _check_counts(settings: Any, path: Path) -> None:
    if isinstance(settings, list):
        for value in settings:
            _check_counts(value, path)
    if not isinstance(settings, dict):
        return
    for name, value in settings.items():
        repeated = any(word in name for word in _REPEATED)
        if isinstance(value, (int, float)) and abs(value) > (_MOST_REPEATED if repeated else _MOST):
            raise PartError(f"{path}: {name} is {value}, wanted a number up to {_MOST_REPEATED if repeated else _MOST}")
        _check_counts(value, path)


@contextmanager
def bounded() -> Iterator[None]:
    """Within it, a model of endless parts ends in a ValueError."""
    made = 0

    def count(*_: object) -> None:
        nonlocal made
        made += 1
        if made > _MOST_MODULES:
            raise ValueError(f"it has more than {_MOST_MODULES:,} parts")

    handle = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _stored_values(folder: Path) -> int:
    """How many numbers its weights are, by the heads of the files."""
    names = [_WEIGHTS[0]]
    if (folder / _WEIGHTS[1]).is_file():
        names = sorted(set(_json(folder / _WEIGHTS[1])["weight_map"].values()))
    total = 0
    for name in names:
        with safe_open(str(folder / name), framework="pt", device="cpu") as file:
            total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    return total


def normalisation(folder: Path, mean: Sequence[float], std: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Normalisation of pixels as the folder says; else as given.

    Raises:
        PartError: the folder says nothing that can be read.
    """
    for name in ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if path.is_file():
            data = _json(path)
            if not isinstance(data, dict):
                raise PartError(f"{path}: wanted an object, saw {type(data).__name__}")
            for values in (data, data.get("image_processor"), data.get("video_processor")):
                if isinstance(values, dict) and "image_mean" in values and "image_std" in values:
                    return _of_colours(values, "image_mean", path), _of_colours(values, "image_std", path)
    return mean, std


def _of_colours(values: dict[str, Any], name: str, path: Path) -> list[float]:
    seen = values[name]
    numbers = isinstance(seen, list) and all(type(one) in (int, float) and math.isfinite(one) for one in seen)
    if not numbers or len(seen) != 3 or (name == "image_std" and min(seen) <= 0):
        raise PartError(f"{path}: {name} is {seen!r}, wanted one number for each of red, green and blue")
    return [float(one) for one in seen]


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except PlainDataError as error:
        raise PartError(f"{path} cannot be read: {error}") from error
