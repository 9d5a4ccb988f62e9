"""From a checkpoint's path to a loaded model. The only place in this package that imports the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from villa.interface import SegmentationModel


def load_model(checkpoint: str, device: str) -> SegmentationModel:
    """Load ViLLa from `checkpoint`, a file or folder; empty means the default that ships with the package.

    Raises:
        FileNotFoundError: nothing is at that path.
        ValueError: the checkpoint does not fit the model; the message names the key or shape.
    """
    from villa.model import ViLLa  # torch takes seconds to import
    from villa_ros.share import share_path

    path = checkpoint or str(share_path("weights"))
    return ViLLa.from_pretrained(path, device=device)


def limit_threads(count: int) -> None:
    """Give one torch operation at most `count` threads in this process; 0 leaves torch's choice."""
    if count:
        import torch

        torch.set_num_threads(count)
