"""Real videos as a split: the outlines fit their videos, and other videos are refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from villa.data.real_videos import OUTLINES, RealVideoError, build
from villa.data.referring_videos import Expressions

ABOUT = json.loads(OUTLINES.read_text("utf-8"))


def _video(path: Path, frames: int, size: tuple[int, int]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, size)
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), number % 256, np.uint8))
    writer.release()


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Gray frames as long and large as the real ones; one of them gzipped, as Debian has it."""
    folder = tmp_path_factory.mktemp("videos")
    for entry in ABOUT.values():
        _video(folder / entry["file"], entry["frames"], (entry["width"], entry["height"]))
    packed = folder / "box.mp4"
    (folder / "box.mp4.gz").write_bytes(gzip.compress(packed.read_bytes(), 1))
    packed.unlink()
    return folder


def test_outlines_are_inside_and_of_frames_that_are_there() -> None:
    outlined = 0
    for entry in ABOUT.values():
        frames = {int(frame) for of_one in entry["outlines"].values() for frame in of_one}
        assert max(frames) < entry["frames"]
        outlined += len(frames)
        points = np.array([p for of in entry["outlines"].values() for ps in of.values() for line in ps for p in line])
        assert (points >= 0).all()
        assert (points < (entry["width"], entry["height"])).all()
        for asked in entry["requests"]:
            assert set(asked["objects"]) <= set(entry["outlines"])
            assert bool(asked["objects"]) == (asked["kind"] != "absent")
    assert outlined >= 20


def test_the_split_has_masks_where_frames_are_outlined(videos: Path, tmp_path: Path) -> None:
    assert build(videos, tmp_path) == tmp_path / "meta_expressions.json"
    data = Expressions(tmp_path)
    assert [video.name for video in data] == list(ABOUT)
    for video, entry in zip(data, ABOUT.values(), strict=True):
        shape = (entry["height"], entry["width"])
        assert data.rgb(video, len(video.frames) - 1).shape == (*shape, 3)
        assert len(video.scored) == 12
        for thing, of_one in entry["outlines"].items():
            for at in range(len(video.frames)):
                drawn = data.mask(f"{video.name}_{thing}", at, shape)
                frame = int(video.frames[at].stem)
                assert bool(drawn.any()) == bool(of_one.get(str(frame)))
        assert len(video.expressions) == len(entry["requests"])


def test_another_video_is_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(RealVideoError, match=r"neither .*cup\.mp4 nor cup\.mp4\.gz is there"):
        build(tmp_path, tmp_path / "out")
    _video(tmp_path / "cup.mp4", 5, (640, 480))
    with pytest.raises(RealVideoError, match="has 5 frames, the outlines are of a video of 217"):
        build(tmp_path, tmp_path / "out")
    _video(tmp_path / "cup.mp4", 5, (320, 240))
    with pytest.raises(RealVideoError, match="320x240 px, the outlines are of 640x480 px"):
        build(tmp_path, tmp_path / "out")
