"""From a checkpoint's path to a loaded model: how the node and every command that runs a model get one.

Training, tuning and `villa average` load checkpoints with `villa.checkpoints`, and `villa bench --models` builds models
with random weights; they do not come through here.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from villa_ros.runtime.allocator import resident_mb

if TYPE_CHECKING:
    from villa.interface import SegmentationModel


def load_model(checkpoint: str, device: str) -> SegmentationModel:
    """Load ViLLa from `checkpoint`, a file or folder; empty means the default that ships with the package.

    Raises:
        FileNotFoundError: nothing is at that path.
        ValueError: the checkpoint does not fit the model; the message names the key or shape.
    """
    from villa import ViLLa  # torch takes seconds to import
    from villa_ros.runtime.package_share import share_path

    path = checkpoint or str(share_path("weights"))
    return ViLLa.from_pretrained(path, device=device)


def limit_threads(count: int) -> None:
    """Give one torch operation at most `count` threads in this process; 0 leaves torch's choice."""
    if count:
        import torch

        torch.set_num_threads(count)


def free_memory() -> None:
    """Give what nothing refers to any more back: a model that was let go lies in cycles of references."""
    gc.collect()
    if "torch" in sys.modules:
        from villa.inference.out_of_memory import release

        release()


def memory_mb(device: str) -> dict[str, float]:
    """What this process holds, MB (10^6 bytes): resident memory, and that of a CUDA device where torch uses one."""
    held = {}
    if sys.platform.startswith("linux"):
        held["resident"] = resident_mb()
    if device.startswith("cuda") and "torch" in sys.modules:
        import torch

        held["device"] = torch.cuda.memory_allocated(device) / 1e6
        held["device_reserved"] = torch.cuda.memory_reserved(device) / 1e6
    return held
