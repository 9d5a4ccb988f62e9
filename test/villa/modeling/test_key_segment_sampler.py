"""Which frames the language model looks at."""

from __future__ import annotations

import numpy as np

from villa.modeling.key_segment_sampler import choose, even


def test_a_short_clip_is_taken_whole():
    assert choose([0.0, 0.1], None, 4) == [0, 1]


def test_even_choice_ends_at_the_newest():
    assert even(10, 4) == [0, 3, 6, 9]
    assert even(7, 1) == [6]


def test_each_segment_between_changes_is_seen():
    scenes = np.repeat(np.eye(4, dtype=np.float32), [5, 3, 8, 4], axis=0)
    chosen = choose([0.1 * i for i in range(20)], scenes, 4)
    assert [int(scenes[i].argmax()) for i in chosen] == [0, 1, 2, 3]
    assert chosen[-1] == 19


def test_a_long_gap_falls_back_to_even_spacing():
    stamps = [0.0, 0.1, 0.2, 0.3, 9.0, 9.1]
    scenes = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    assert choose(stamps, scenes, 3) == even(6, 3)


def test_of_hardly_more_frames_than_wanted_the_first_is_kept():
    scenes = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    assert choose([0.2 * i for i in range(16)], scenes, 8) == even(16, 8)
    longer = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    assert choose([0.2 * i for i in range(40)], longer, 8) != even(40, 8)
