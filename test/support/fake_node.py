"""villa_node with the fake model of the tests: everything but the model is the product."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fakes import BlobModel

from villa_ros.node.villa_node import VillaNode, spin

_loaded = 0


def _compute() -> None:
    """Call after call into C++, as a forward pass does."""
    import torch  # two seconds of a core, and few tests need it

    until_s = time.monotonic() + 3600.0
    while time.monotonic() < until_s:
        torch.linalg.svd(torch.rand(400, 400))


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.005)


def load_blobs(checkpoint: str, device: str) -> BlobModel:
    """A checkpoint that is named must exist; "slow" takes its time in every step, "slow_end" in the last one.

    "until:PATH" waits in its last step for a file, "torch" computes for an hour there, and "hangs" sleeps; of
    "hangs_once" only the first model.
    """
    global _loaded
    _loaded += 1
    if checkpoint and not Path(checkpoint).exists():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}")
    if device.startswith("until:"):
        return BlobModel(on_last=lambda: _wait_for(Path(device.removeprefix("until:"))))
    if device == "torch":
        return BlobModel(on_last=_compute)
    hangs = device == "hangs" or (device == "hangs_once" and _loaded == 1)
    last_s = 3600.0 if hangs else 2.0 if device == "slow_end" else 0.0
    return BlobModel(sleep_s=0.05 if device == "slow" else 0.0, sleep_last_s=last_s)


if __name__ == "__main__":
    sys.exit(spin(lambda: VillaNode(load_blobs)))
