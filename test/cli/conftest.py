"""A small bag, and `villa` commands that get the fake model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fakes import BlobModel
from small_bags import stamp, write_bag

from villa_ros.pipeline.request import Request


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """20 frames with a moving red box, and a command for it after half a second."""
    return write_bag(tmp_path / "bag", commands=[Request("red", "the red box", stamp_ns=stamp(5))])


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """`villa` commands get the fake model; returns what they asked for."""
    import villa_ros.cli.bench
    import villa_ros.cli.evaluate
    import villa_ros.cli.main

    asked: list[tuple[str, str]] = []

    def load(checkpoint: str, device: str, threads: int = 0) -> BlobModel:
        asked.append((checkpoint, device))
        return BlobModel()

    for module in (villa_ros.cli.main, villa_ros.cli.bench, villa_ros.cli.evaluate):
        monkeypatch.setattr(module, "open_model", load)
    return asked
