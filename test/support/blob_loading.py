"""The fake model, for workers to load."""

from __future__ import annotations

from fakes import BlobModel


def load_blobs(checkpoint: str, device: str, threads: int) -> BlobModel:
    return BlobModel()
