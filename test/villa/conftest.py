"""Makes the tiny model importable by the tests beside it, and draws clips to train on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from drawn_clips import draw_clip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for seed in range(2):
        draw_clip(root / f"{seed:07d}", seed)
    return root
