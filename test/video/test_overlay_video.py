"""The contact sheet of a run."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from villa_ros.video.overlay_video import Caption, OverlayWriter

_WIDTH, _HEIGHT = 320, 240


def _sheet(folder: Path, requests: int, frames: int) -> np.ndarray:
    with OverlayWriter(folder, 10.0) as writer:
        for number in range(requests):
            for _ in range(frames):
                picture = np.full((_HEIGHT, _WIDTH, 3), 20 * number, np.uint8)
                writer.add(picture, (), Caption(f"request {number}", f"answer {number}"), number)
    sheet = cv2.imread(str(writer.sheet))
    assert sheet is not None
    return sheet


@pytest.mark.parametrize(("requests", "rows"), [(2, 2), (4, 4), (6, 2), (12, 3)])
def test_few_requests_get_a_row_each_and_many_a_tile_each(tmp_path: Path, requests: int, rows: int) -> None:
    sheet = _sheet(tmp_path, requests, 6)
    assert sheet.shape[1] // _WIDTH == 4
    assert sheet.shape[0] // _HEIGHT == rows


def test_one_published_frame_is_enough_for_a_tile(tmp_path: Path) -> None:
    assert _sheet(tmp_path, 6, 1).shape[0] >= _HEIGHT
