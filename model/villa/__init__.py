"""ViLLa: video reasoning segmentation with a large language model (knows no ROS).

A video and a request in plain words go in; an answer in words and *tracklets* (one mask per frame and object,
one identity over time) come out. The design follows arXiv 2407.14500 under its names; see docs/model_card.md.

`from villa import ViLLa` is the public way in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["ViLLa"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from villa.predictor import ViLLa


def __getattr__(name: str) -> object:
    """Import the model where it is asked for: it brings torch, which `villa.masks` and the pipeline do without."""
    if name == "ViLLa":
        from villa.predictor import ViLLa

        return ViLLa
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
