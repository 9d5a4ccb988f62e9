"""villa_node with the fake model of the tests: everything but the model is the product."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes import BlobModel

from villa_ros.node.villa_node import VillaNode, spin


def load_blobs(checkpoint: str, device: str) -> BlobModel:
    """A checkpoint that is named must exist; "slow" takes its time in every step, "slow_end" in the last one."""
    if checkpoint and not Path(checkpoint).exists():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}")
    return BlobModel(sleep_s=0.05 if device == "slow" else 0.0, sleep_last_s=2.0 if device == "slow_end" else 0.0)


if __name__ == "__main__":
    sys.exit(spin(lambda: VillaNode(load_blobs)))
