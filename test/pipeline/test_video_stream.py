"""Streams of H.264 and H.265: entered at a key frame, decoded one by one, and what is lost is told until the next."""

from __future__ import annotations

import random

import numpy as np
import pytest
from fakes import painted
from videos import packets

from villa_ros.pipeline.h264 import FrameNumbers, begins_h264, begins_h265, units
from villa_ros.pipeline.image_view import ImageError
from villa_ros.pipeline.video_stream import VideoStream

PICTURES = [painted(96, 128, red=(4 + 3 * index, 20, 24, 24), blue=(80, 50, 30, 24)) for index in range(30)]
KINDS = [("libx264", "h264"), ("libx264", "h264;yuv420p;bgr8;bgr8"), ("libx265", "hevc"), ("libx265", "H265")]


def decoded(sent: list[bytes], encoding: str = "h264") -> list[np.ndarray | str]:
    """Each packet's picture, or why there is none."""
    stream = VideoStream()

    def one(packet: bytes) -> np.ndarray | str:
        try:
            return stream.picture(packet, encoding)
        except ImageError as error:
            return error.reason

    return [one(packet) for packet in sent]


def reasons(out: list[np.ndarray | str]) -> list[str]:
    return [one if isinstance(one, str) else "" for one in out]


@pytest.mark.parametrize(("encoder", "encoding"), KINDS)
def test_each_packet_is_the_picture_that_went_in(encoder: str, encoding: str) -> None:
    found = decoded(packets(PICTURES, encoder), encoding)
    assert len(found) == 30
    for given, got in zip(PICTURES, found, strict=True):
        assert isinstance(got, np.ndarray)
        assert got.shape == given.shape
        assert np.abs(got.astype(int) - given).mean() < 12


@pytest.mark.parametrize(("encoder", "encoding"), KINDS)
def test_a_stream_is_entered_at_a_key_frame(encoder: str, encoding: str) -> None:
    found = decoded(packets(PICTURES, encoder)[3:], encoding)
    assert reasons(found) == ["no_key_frame"] * 7 + [""] * 20


@pytest.mark.parametrize(("encoder", "encoding"), KINDS)
def test_a_packet_that_is_lost_is_told_until_the_next_key_frame(encoder: str, encoding: str) -> None:
    sent = packets(PICTURES, encoder)
    found = decoded(sent[:5] + sent[6:], encoding)
    assert reasons(found) == [""] * 5 + ["lost_packets"] * 4 + [""] * 20
    for given, got in zip(PICTURES[10:], found[9:], strict=True):
        assert np.abs(np.asarray(got).astype(int) - given).mean() < 12


def test_a_lost_key_frame_is_told_too() -> None:
    sent = packets(PICTURES)
    assert reasons(decoded(sent[:10] + sent[11:]))[10:] == ["lost_packets"] * 9 + [""] * 10


@pytest.mark.parametrize("options", [{}, {"profile": "high"}, {"full": "yes"}, {"x264-params": "cqm=jvt:ref=3"}])
def test_numbers_of_pictures_are_read_in_every_profile(options: dict[str, str]) -> None:
    sent = packets(PICTURES, "libx264", key_every=40, **options)
    numbers = FrameNumbers()
    assert all(numbers.follows(packet) for packet in sent)
    numbers = FrameNumbers()
    followed = [numbers.follows(packet) for packet in sent[:12] + sent[13:]]
    assert followed == [True] * 12 + [False] + [True] * 16


def test_numbers_begin_again_after_their_largest() -> None:
    sent = packets([PICTURES[index % 30] for index in range(80)], key_every=200)
    numbers = FrameNumbers()
    assert all(numbers.follows(packet) for packet in sent)


def test_pictures_that_are_held_back_are_refused_with_the_setting_to_change() -> None:
    sent = packets(PICTURES, tune="film", b_frames="3", **{"x264-params": "bframes=3:b-adapt=0"})
    stream = VideoStream()
    with pytest.raises(ImageError, match="zero latency") as seen:
        stream.picture(sent[0], "h264")
    assert seen.value.reason == "delayed"


def test_damaged_packets_cost_their_picture_and_no_more() -> None:
    rng = random.Random(0)
    sent = packets(PICTURES)
    for _ in range(60):
        spoilt = bytearray(sent[14])
        for _ in range(rng.randint(1, 8)):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        cut = spoilt[: rng.randint(0, len(spoilt))] if rng.random() < 0.5 else spoilt
        found = decoded([*sent[:14], bytes(cut), *sent[15:]])
        assert reasons(found)[:14] == [""] * 14
        assert reasons(found)[20:] == [""] * 10


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x00\x00\x01", b"\x00\x00\x01\x67", b"no video", b"\x00\x00\x01\x65" + b"\xff" * 64]
)
def test_bytes_that_are_no_video_are_named(data: bytes) -> None:
    for encoding in ("h264", "h265"):
        with pytest.raises(ImageError) as seen:
            VideoStream().picture(data, encoding)
        assert seen.value.reason in ("no_key_frame", "undecodable", "delayed", "lost_packets")
    assert not list(units(b"no video"))


def test_other_codecs_are_named_with_what_is_wanted() -> None:
    with pytest.raises(ImageError, match="the video is in 'vp9', wanted h264 or h265"):
        VideoStream().picture(b"", "vp9")


def test_key_frames_are_known_by_their_units() -> None:
    assert [begins_h264(packet) for packet in packets(PICTURES)] == [index % 10 == 0 for index in range(30)]
    assert [begins_h265(packet) for packet in packets(PICTURES, "libx265")] == [index % 10 == 0 for index in range(30)]


def test_without_pyav_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ImageError, match=r"pip install 'villa-ros\[video\]'") as seen:
        VideoStream().picture(b"", "h264")
    assert seen.value.reason == "no_pyav"
