"""Any video, folder of images or camera: frames in, overlay and tracks out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import BlobModel, painted

from villa.masks import RleMask, decode
from villa_ros.bags.run import read_run
from villa_ros.replay.video_segmentation import SegmentError, segment
from villa_ros.video.source import SourceError, open_source


def picture(index: int) -> np.ndarray:
    return painted(red=(2 + index, 10, 12, 12))[..., ::-1]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """20 frames at 20 fps of a red box that moves right; the codec is lossless, so that colours stay."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 20.0, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no FFV1 video")
    for index in range(20):
        writer.write(picture(index))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same as images; their names sort wrongly as text."""
    path = tmp_path / "images"
    path.mkdir()
    for index in range(12):
        cv2.imwrite(str(path / f"shot{index}.png"), picture(index))
    (path / "notes.txt").write_text("not a picture")
    return path


def test_a_video_is_followed_from_the_request_to_its_end(video: Path, tmp_path: Path) -> None:
    done = segment(open_source(str(video), "camera"), "the red box", BlobModel(), tmp_path / "out", at_s=0.25)
    assert done.answer == "the red box"
    assert done.found
    assert (done.frames, done.frames_with_mask) == (20, 15)
    content = json.loads(done.tracks_json.read_text())
    assert (content["schema"], content["request"], content["fps"]) == ("villa-tracks-1", "the red box", 20.0)
    assert [frame["stamp_s"] for frame in content["frames"][:3]] == [0.0, 0.05, 0.1]
    (instance,) = content["frames"][12]["instances"]
    x, y, width, height = instance["box"]
    mask = decode(RleMask(48, 64, x, y, width, height, np.array(instance["runs"], np.uint32), instance["area"]))
    assert np.count_nonzero(mask[10:22, 14:26]) >= 0.8 * instance["area"]


def test_the_overlay_has_every_frame_at_the_videos_rate(video: Path, tmp_path: Path) -> None:
    done = segment(open_source(str(video), "camera"), "the red box", BlobModel(), tmp_path / "out")
    overlay = cv2.VideoCapture(str(done.overlay))
    assert int(overlay.get(cv2.CAP_PROP_FRAME_COUNT)) == 20
    assert overlay.get(cv2.CAP_PROP_FPS) == pytest.approx(20.0, abs=0.1)
    assert cv2.imread(str(done.contact_sheet)) is not None
    assert len(read_run(done.bag).tracks) == 10 + 1


def test_a_folder_is_read_in_natural_order(folder: Path, tmp_path: Path) -> None:
    source = open_source(str(folder), "camera", fps=4.0)
    starts = [int(np.flatnonzero(frame.rgb()[15, :, 0])[0]) for frame in source.frames]
    assert starts == [2 + index for index in range(12)]
    assert (source.fps, source.count) == (4.0, 12)


def test_a_clip_shorter_than_the_moment_of_the_request_is_asked_at_its_end(folder: Path, tmp_path: Path) -> None:
    done = segment(open_source(str(folder), "camera"), "the red box", BlobModel(), tmp_path / "out", at_s=60.0)
    assert done.answer == "the red box"
    assert (done.frames, done.frames_with_mask) == (12, 1)


def test_one_image_is_enough(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), picture(3))
    done = segment(open_source(str(tmp_path / "one.png"), "camera"), "the red box", BlobModel(), tmp_path / "out")
    assert (done.frames, done.frames_with_mask, done.found) == (1, 1, True)


def test_what_is_not_there_is_an_answer_and_no_error(video: Path, tmp_path: Path) -> None:
    done = segment(open_source(str(video), "camera"), "the green box", BlobModel(), tmp_path / "out")
    assert not done.found
    assert done.frames_with_mask == 0
    assert done.answer.startswith("There is no")


def test_seconds_end_a_video_early(video: Path) -> None:
    assert len(list(open_source(str(video), "camera", seconds=0.5).frames)) == 10


def test_a_refused_request_is_an_error(video: Path, tmp_path: Path) -> None:
    with pytest.raises(SegmentError, match=r"rejected: text is empty|rejected: .*empty"):
        segment(open_source(str(video), "camera"), "  ", BlobModel(), tmp_path / "out")


def test_a_failing_model_is_an_error_that_says_so(video: Path, tmp_path: Path) -> None:
    model = BlobModel(slow=ValueError("out of luck"))
    with pytest.raises(SegmentError, match="out of luck"):
        segment(open_source(str(video), "camera"), "the red box", model, tmp_path / "out")


def test_images_of_different_sizes_are_refused_by_name(folder: Path) -> None:
    cv2.imwrite(str(folder / "shot5.png"), np.zeros((10, 20, 3), np.uint8))
    with pytest.raises(SourceError, match=r"shot5\.png is 20x10 px, the first image is 64x48"):
        list(open_source(str(folder), "camera").frames)


def test_a_broken_image_is_named(folder: Path) -> None:
    (folder / "shot7.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(SourceError, match=r"shot7\.png is no image"):
        list(open_source(str(folder), "camera").frames)


def test_sources_that_are_none_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video, folder or camera"):
        open_source(str(tmp_path / "gone.mp4"), "camera")
    with pytest.raises(SourceError, match="holds no image"):
        open_source(str(tmp_path), "camera")
    (tmp_path / "text.mp4").write_bytes(b"hello" * 99)
    with pytest.raises(SourceError, match="is no video"):
        list(open_source(str(tmp_path / "text.mp4"), "camera").frames)
    with pytest.raises(SourceError, match="no camera 973"):
        open_source("973", "camera")
