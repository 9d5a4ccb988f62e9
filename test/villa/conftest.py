"""Clips to train on."""

from __future__ import annotations

import pytest
from drawn_clips import draw_clip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for seed in range(2):
        draw_clip(root / f"{seed:07d}", seed)
    return root
