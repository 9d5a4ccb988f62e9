from __future__ import annotations

import numpy as np
from fakes import frame, painted

from villa_ros.pipeline.clip_buffer import ClipBuffer, Ingested


def ring(frames: int = 8, nbytes: int = 10**9, features: int = 3) -> ClipBuffer:
    return ClipBuffer(frames, nbytes, features)


def indices(buffer: ClipBuffer, duration_s: float = 1e6, candidates: int = 1000) -> list[int]:
    return [round((entry.stamp_s - 1.0) * 10) for entry in buffer.clip(duration_s, candidates)]


def test_the_ring_never_holds_more_frames_than_its_bound() -> None:
    buffer = ring(frames=5)
    for index in range(1000):
        buffer.add(frame(index))
        assert len(buffer) <= 5
    assert indices(buffer) == [995, 996, 997, 998, 999]


def test_the_ring_never_holds_more_bytes_than_its_bound() -> None:
    buffer = ring(frames=100, nbytes=1000)
    for index in range(50):
        buffer.add(frame(index, nbytes=300 if index % 2 else 100))
        assert buffer.nbytes <= 1000
    assert buffer.nbytes == 800
    assert indices(buffer) == [46, 47, 48, 49]


def test_a_frame_over_the_byte_bound_is_refused_and_the_others_stay() -> None:
    buffer = ring(nbytes=1000)
    buffer.add(frame(0, nbytes=500))
    assert buffer.add(frame(1, nbytes=1001)) is Ingested.TOO_LARGE
    assert indices(buffer) == [0]


def test_an_equal_stamp_is_refused_and_the_first_frame_stays() -> None:
    buffer = ring()
    first = frame(3)
    buffer.add(first)
    assert buffer.add(frame(3, painted(blue=(0, 0, 4, 4)))) is Ingested.DUPLICATE_STAMP
    newest = buffer.newest
    assert newest is not None
    assert newest.frame is first


def test_a_clock_that_jumps_back_clears_the_ring_and_says_so() -> None:
    buffer = ring()
    for index in (10, 11, 12):
        buffer.add(frame(index))
    assert buffer.add(frame(2)) is Ingested.CLOCK_JUMP
    assert indices(buffer) == [2]
    assert buffer.nbytes == frame(2).nbytes
    assert buffer.add(frame(3)) is Ingested.KEPT


def test_a_clip_is_spread_evenly_and_ends_with_the_newest() -> None:
    buffer = ring(frames=64)
    for index in range(60):
        buffer.add(frame(index))
    chosen = indices(buffer, candidates=7)
    assert len(chosen) == 7
    assert (chosen[0], chosen[-1]) == (0, 59)
    assert set(np.diff(chosen)) <= {9, 10}
    assert indices(buffer, candidates=1) == [59]


def test_a_clip_reaches_back_only_as_far_as_asked() -> None:
    buffer = ring(frames=64)
    for index in range(60):
        buffer.add(frame(index))
    assert indices(buffer, duration_s=0.5) == [54, 55, 56, 57, 58, 59]


def test_a_clip_has_one_size_the_newest_frames() -> None:
    buffer = ring()
    buffer.add(frame(0))
    buffer.add(frame(1, painted(96, 128)))
    buffer.add(frame(2))
    assert indices(buffer) == [0, 2]


def test_features_are_kept_for_the_newest_encoded_frames_only() -> None:
    buffer = ring(frames=64, features=3)
    for index in range(20):
        buffer.add(frame(index))
        newest = buffer.newest
        assert newest is not None
        buffer.keep_features(newest, f"features of {index}")
    kept = [entry.features for entry in buffer.clip(1e6, 100) if entry.features is not None]
    assert kept == ["features of 17", "features of 18", "features of 19"]


def test_a_frame_that_left_the_ring_takes_no_features_with_it() -> None:
    buffer = ring(frames=2)
    buffer.add(frame(0))
    gone = buffer.newest
    assert gone is not None
    for index in (1, 2):
        buffer.add(frame(index))
    buffer.keep_features(gone, "late")
    assert gone.features is None
