"""Streaming sessions of a tiny model: steps, cancelling, bounded memory, determinism."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_model

from villa.inference.stream_session import StreamSession
from villa.interface import ClipFrame, RequestResult, Stage, Turn
from villa.modeling.segmenters.light.memory import SPREAD_S, TrackMemory
from villa.modeling.segmenters.light.propagator import MemoryFrame


def _image(seed: int, height: int = 48, width: int = 64):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def _clip(count: int, start_s: float = 1_700_000_000.0):
    return [ClipFrame(start_s + 0.1 * i, lambda i=i: _image(i)) for i in range(count)]


def _finish(steps):
    seen = []
    try:
        while True:
            seen.append(next(steps))
    except StopIteration as done:
        return done.value, seen


@pytest.fixture
def eager_model():
    """Answers every request with one [SEG] that is seen everywhere: weights bent so that the path is exercised."""
    model = tiny_model()
    seg, end = model.codec.seg_id, model.codec.end_id
    said = iter(())
    original = model.language.logits

    def logits(states):
        nonlocal said
        out = original(states) * 0
        token = next(said, None)
        if token is None:
            said = iter((end,))
            token = seg
        out[..., token] = 50.0
        return out

    model.language.logits = logits
    model.pointer.none.layers[-1].bias.fill_(-20.0)
    model.segmenter.decoder.present.layers[-1].bias.fill_(5.0)
    model.segmenter.decoder.iou.layers[-1].bias.fill_(5.0)
    return model


def test_a_request_goes_through_its_stages_in_order_and_seeds_a_track(eager_model):
    session = StreamSession(eager_model)
    result, steps = _finish(session.request("track the red mug", _clip(5)))
    assert isinstance(result, RequestResult)
    stages = [step.stage for step in steps]
    assert stages == sorted(stages)
    assert set(stages) >= {Stage.BUFFERING, Stage.DECODING, Stage.SEGMENTING}
    assert len(result.clip_index) == 3
    assert result.clip_index[-1] == 4
    (thing,) = result.objects
    assert session.keys == (thing.key,)
    assert thing.logits[0].shape == (16, 24)


def test_closing_a_pass_leaves_the_session_as_it_was(eager_model):
    session = StreamSession(eager_model)
    steps = session.request("track the red mug", _clip(4))
    while next(steps).stage != Stage.SEGMENTING:
        pass
    steps.close()
    assert session.keys == ()


def test_inference_mode_does_not_leak_between_steps(eager_model):
    steps = StreamSession(eager_model).request("track the red mug", _clip(4))
    next(steps)
    assert not torch.is_inference_mode_enabled()
    steps.close()


def test_a_clip_of_one_frame_is_enough(eager_model):
    result, _ = _finish(StreamSession(eager_model).request("mug", _clip(1)))
    assert result.clip_index == (0,)
    assert len(result.objects) == 1


def test_an_empty_clip_is_refused():
    with pytest.raises(ValueError, match="wanted at least one"):
        next(StreamSession(tiny_model()).request("mug", []))


def test_the_same_request_gives_the_same_answer_twice(eager_model):
    first, _ = _finish(StreamSession(eager_model).request("track the red mug", _clip(5)))
    second, _ = _finish(StreamSession(eager_model).request("track the red mug", _clip(5)))
    assert first.text == second.text
    for a, b in zip(first.objects[0].logits, second.objects[0].logits, strict=True):
        assert np.array_equal(a, b)


def test_absent_by_score_is_said_in_words(eager_model):
    eager_model.pointer.none.layers[-1].bias.fill_(50.0)
    session = StreamSession(eager_model)
    result, _ = _finish(session.request("track the red mug", _clip(3)))
    assert result.objects == ()
    assert result.text == "I do not see that here."
    assert session.keys == ()


def test_an_object_that_is_not_likely_enough_to_be_there_is_not_reported(eager_model):
    # Six things that are as likely as none of them: 6 / 7 is 0.86.
    pointer, finder = eager_model.pointer, eager_model.language.finder
    for layer in (pointer.score, pointer.none.layers[-1]):
        layer.weight.fill_(0.0)
    pointer.score.bias.fill_(6.0)  # against the focus, which has marked nothing
    pointer.none.layers[-1].bias.fill_(0.0)
    eager_model.focus.score.bias.fill_(-60.0)
    finder.heat.weight.fill_(0.0)
    finder.heat.bias.fill_(20.0)
    for least, reported in ((0.8, 1), (0.9, 0)):
        eager_model.config = replace(eager_model.config, least_presence=least)
        session = StreamSession(eager_model)
        result, _ = _finish(session.request("track the red mug", _clip(3)))
        assert len(result.objects) == len(session.keys) == reported
    assert result.text == "I do not see that here."


def test_tracks_go_on_and_are_dropped(eager_model):
    session = StreamSession(eager_model)
    _finish(session.request("mug", _clip(3)))
    _finish(session.request("bowl", _clip(3)))
    features = eager_model.encode(_image(9))
    outputs = session.step(features, 1_700_000_001.0)
    assert [output.key for output in outputs] == list(session.keys)
    assert all(0 <= output.mask_score <= 1 for output in outputs)
    gone, kept = session.keys
    session.drop([gone, 999])
    assert session.keys == (kept,)
    assert [output.key for output in session.step(features, 1_700_000_001.1)] == [kept]


def test_memory_stays_bounded_over_a_long_stream(eager_model):
    session = StreamSession(eager_model)
    _finish(session.request("mug", _clip(3)))
    for index in range(200):
        session.step(eager_model.encode(_image(index)), 1_700_000_001.0 + 0.1 * index)
    (track,) = session._tracks.values()
    assert track.memory.frames <= eager_model.config.segmenter.propagator.memories


def test_earlier_turns_are_read(eager_model):
    turn = Turn("track the red mug", "The red mug.")
    result, _ = _finish(StreamSession(eager_model).request("now the blue one", _clip(3), [turn]))
    assert len(result.objects) == 1


def _look(time_s: float) -> MemoryFrame:
    return MemoryFrame(torch.zeros(1, 2, 2), torch.zeros(1, 2), torch.zeros(1, 2), time_s)


def test_the_older_of_two_recent_memories_is_from_a_while_ago():
    track = TrackMemory(_look(0.0))
    for index in range(1, 60):
        track.add(_look(0.1 * index), 2)
    older, newest = (look.time_s for look in track.recent)
    assert newest == pytest.approx(5.9)
    assert newest - older <= 2 * SPREAD_S
    assert older < newest
