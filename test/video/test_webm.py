"""Videos that browsers play."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from evaluated_bag import FRAMES, decoded_frames, evaluate_small_bag
from small_bags import stamp

from villa_ros.video.overlay_video import Caption, OverlayWriter, PictureError
from villa_ros.video.webm import WebVideoWriter, read_web_video


def test_a_video_has_a_picture_for_each_stamp(tmp_path: Path) -> None:
    video = read_web_video(evaluate_small_bag(tmp_path).folder / "table top" / "camera.webm")
    assert video.fps == 10.0
    assert video.stamps_ns == tuple(stamp(index) for index in range(FRAMES))


def test_a_large_picture_is_shrunk_for_the_video(tmp_path: Path) -> None:
    with WebVideoWriter(tmp_path / "wide.webm", 5.0) as writer:
        for _ in range(3):
            writer.add(np.full((724, 1281, 3), 90, np.uint8), (), Caption("what is this?"), 0)
    assert [frame.shape for frame in decoded_frames(tmp_path / "wide.webm")] == [(362, 640, 3)] * 3


def test_a_video_is_webm_with_vp8_and_nothing_is_printed_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with WebVideoWriter(tmp_path / "short.webm", 5.0) as writer, OverlayWriter(tmp_path, 5.0) as overlay:
        for _ in range(3):
            for each in (writer, overlay):
                each.add(np.full((48, 64, 3), 90, np.uint8), (), Caption("what is this?", "a wall"), 0)
    assert capfd.readouterr() == ("", "")
    written = (tmp_path / "short.webm").read_bytes()
    assert b"\x42\x82\x84webm" in written[:64]
    assert b"V_VP8" in written
    assert b"matroska" not in written
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "contact_sheet.png",
        "overlay.mp4",
        "short.webm",
        "short.webm.json",
    ]
    assert len(decoded_frames(tmp_path / "short.webm")) == 3


def test_a_video_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    writer = WebVideoWriter(tmp_path / "short.webm", 5.0)
    with suppress(KeyError), writer:
        writer.add(np.full((48, 64, 3), 90, np.uint8), (), Caption(), 0)
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_an_evaluation_prints_nothing_of_opencv(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    evaluate_small_bag(tmp_path)
    assert "OpenCV" not in "".join(capfd.readouterr())


def test_a_video_for_browsers_has_to_be_webm(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"'\.mp4'.*has to end with \.webm"):
        WebVideoWriter(tmp_path / "overlay.mp4", 5.0)
