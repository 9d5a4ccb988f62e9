"""The families of segmenters: which configuration makes which, and where a checkpoint keeps what others published.

A new family is an entry in `FAMILIES`, its configuration in `villa.config`, and a module that implements
`villa.modeling.segmenters.interface`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from villa.checkpoints.pretrained_folder import config_of, load_whole, normalisation, settings_of
from villa.config import LightConfig, Sam2Config
from villa.modeling.segmenters.interface import Segmenter
from villa.modeling.segmenters.light.segmenter import LightSegmenter
from villa.modeling.segmenters.pixel_norm import PixelNorm

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SegmenterFamily:
    """One family.

    Attributes:
        config: Class of its configuration.
        make: (configuration, settings of its published part) -> the segmenter with random weights.
        part: Folder of a checkpoint that holds what others published, and its module's name in the segmenter; empty:
            all tensors are ours, and are in the checkpoint's own file.
        model_types: What transformers calls the published models that fit.
        published: The same for people.
        load: (configuration, folder, dtype, attention) -> the segmenter with published weights; None without a part.
    """

    config: type[Any]
    make: Callable[[Any, dict[str, Any]], Segmenter]
    part: str = ""
    model_types: tuple[str, ...] = ()
    published: str = ""
    load: Callable[[Any, Path, torch.dtype, str], Segmenter] | None = None


def family_of(config: object) -> SegmenterFamily:
    """The family of a configuration.

    Raises:
        KeyError: it is of none.
    """
    return next(family for family in FAMILIES if isinstance(config, family.config))


def _light(config: LightConfig, settings: dict[str, Any]) -> Segmenter:
    return LightSegmenter(config)


def _sam2(config: Sam2Config, settings: dict[str, Any]) -> Segmenter:
    from transformers import AutoConfig

    from villa.modeling.segmenters.sam2.segmenter import Sam2Segmenter

    kinds = _sam2_classes()
    wanted = str(settings.get("model_type", _SAM2_TYPES[0]))
    kind = wanted if wanted in kinds else _SAM2_TYPES[0]
    return Sam2Segmenter(config, kinds[kind](config_of(AutoConfig, settings, kind)))


def _sam2_from(config: Sam2Config, folder: Path, dtype: torch.dtype, attention: str) -> Segmenter:
    from villa.modeling.segmenters.sam2.segmenter import Sam2Segmenter

    settings = settings_of(folder, _SAM2_TYPES)
    published = load_whole(_sam2_classes()[settings["model_type"]], folder, dtype, attention)
    segmenter = Sam2Segmenter(config, published)
    segmenter.pixel_norm = PixelNorm(*normalisation(folder, segmenter.mean, segmenter.std))
    return segmenter


def _sam2_classes() -> dict[str, Any]:
    from transformers import Sam2VideoModel, Sam3TrackerVideoModel

    return dict(zip(_SAM2_TYPES, (Sam2VideoModel, Sam3TrackerVideoModel), strict=True))


_SAM2_TYPES = ("sam2_video", "sam3_tracker_video")
FAMILIES = (
    SegmenterFamily(LightConfig, _light),
    SegmenterFamily(Sam2Config, _sam2, "sam2", _SAM2_TYPES, "a SAM 2 video or SAM 3 tracker model", _sam2_from),
)
