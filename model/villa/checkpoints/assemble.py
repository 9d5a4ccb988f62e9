"""A checkpoint folder from published parts: `mllm/` and `sam2/` as they are, and new, untrained blocks in `villa/`."""

from __future__ import annotations

from pathlib import Path

import torch

from villa.checkpoints.build import MLLM, from_folders
from villa.checkpoints.checkpoint import OWN, save
from villa.checkpoints.presets import NamedConfig
from villa.checkpoints.segmenter_families import family_of
from villa.modeling.language.vision_language import VisionLanguageLLM


def assemble(named: NamedConfig, folder: Path) -> bool:
    """Make `folder`, which holds the parts, a checkpoint; False: it is one already, and is left as it is.

    Raises:
        PartError: a part is missing, incomplete or of another kind.
        AdapterError: the configuration has adapters and peft is not installed.
    """
    if (folder / OWN / "config.json").is_file():
        return False
    torch.manual_seed(0)  # the same blocks each time
    part = family_of(named.config.segmenter).part
    model = from_folders(named.config, folder / MLLM, folder / part if part in named.parts else None, torch.bfloat16)
    if isinstance(model.language, VisionLanguageLLM):
        model.language.start_rows()
    save(model, folder)
    return True
