"""The sample bag of a real camera holds the video, the requests and the outlines that it says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from villa.data.real_videos import RealVideoError, outlined_video
from villa.masks import decode
from villa_ros.bags.reader import Bag
from villa_ros.bags.sample import COMMAND_TOPIC, IMAGE_TOPIC, SampleBagError, stamp_ns
from villa_ros.bags.sample_video import BAG_NAME, REQUESTS, build_video_sample
from villa_ros.evaluation.demo import demo_scenario
from villa_ros.evaluation.ground_truth import all_objects
from villa_ros.evaluation.recording_inputs import window_of
from villa_ros.runtime.package_share import share_path

FRAMES, SIZE = 217, (640, 480)  # of cup.mp4


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film as long and large as the real one, each frame of another gray."""
    folder = tmp_path_factory.mktemp("videos")
    writer = cv2.VideoWriter(str(folder / "cup.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, SIZE)
    for number in range(FRAMES):
        writer.write(np.full((SIZE[1], SIZE[0], 3), number, np.uint8))
    writer.release()
    return folder


def test_the_shipped_bag_is_what_its_builder_writes(videos: Path, tmp_path: Path) -> None:
    """Of another film: the same times, requests and outlines."""
    built = build_video_sample(videos, tmp_path)
    shipped = share_path("sample", BAG_NAME)
    listed = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert [line.split()[1] for line in listed] == ["cup/cup.mcap", "cup/metadata.yaml"]
    with Bag(built) as mine, Bag(shipped) as theirs:
        assert mine.topics == theirs.topics
        stamps = [frame.header.stamp_ns for frame in theirs.frames(IMAGE_TOPIC, "camera")]
        assert [frame.header.stamp_ns for frame in mine.frames(IMAGE_TOPIC, "camera")] == stamps
        asked = list(theirs.commands(COMMAND_TOPIC, "camera"))
        assert list(map(repr, asked)) == list(map(repr, mine.commands(COMMAND_TOPIC, "camera")))  # no NaN is itself
        drawn, known = all_objects(mine), all_objects(theirs)
        assert drawn is not None
        assert known is not None
        assert (drawn.stamps, drawn.objects) == (known.stamps, known.objects)
    assert [(one.text, one.stamp_ns) for one in asked] == [(one.text, stamp_ns(one.time_s)) for one in REQUESTS]


def test_its_truth_is_what_a_person_outlined(videos: Path) -> None:
    video = outlined_video(videos, "cup")
    outlined = {n: drawn for n in range(FRAMES) if (drawn := video.instances(n)) is not None}
    with Bag(share_path("sample", BAG_NAME)) as bag:
        truth = all_objects(bag)
    assert truth is not None
    (masks,) = truth.objects.values()
    assert [stamp_ns(number / video.fps) for number in outlined] == sorted(masks)
    for number, drawn in outlined.items():
        assert np.array_equal(decode(masks[stamp_ns(number / video.fps)]) > 0, drawn == 1)


def test_each_request_has_outlines_in_its_time() -> None:
    given = demo_scenario(share_path("sample", BAG_NAME))
    wanted = {request.request_id: bool(request.targets) for request in REQUESTS}
    assert {name: truth.present for name, truth in given.opened.truths.items()} == wanted
    assert all(len(truth.stamps) >= 3 for truth in given.opened.truths.values())


def test_the_frames_between_outlines_count_for_coverage_and_rate() -> None:
    opened = demo_scenario(share_path("sample", BAG_NAME)).opened
    for request in opened.requests:
        truth = opened.truths[request.request_id]
        window = window_of(request, opened, truth, "preempt")
        assert set(truth.stamps) <= set(window)
        assert window[-1] == truth.stamps[-1]
        every = [stamp for stamp in opened.stamps["camera"] if request.stamp_ns <= stamp <= window[-1]]
        assert list(window) == every
        assert len(window) > 5 * len(truth.stamps)


def test_nothing_is_overwritten_and_a_missing_video_is_named(videos: Path, tmp_path: Path) -> None:
    (tmp_path / BAG_NAME).mkdir()
    with pytest.raises(SampleBagError, match="exists already"):
        build_video_sample(videos, tmp_path)
    with pytest.raises(RealVideoError, match=r"cup\.mp4"):
        build_video_sample(tmp_path, tmp_path / "out")
