"""Identities over several requests: linked, found again, never given twice; follow-ups, cancelling, little memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from answering_models import clip, image, light, over_sam2

from villa.inference.answering import PREFILL_TOKENS
from villa.inference.association import Candidate, link
from villa.inference.out_of_memory import DeviceMemoryError
from villa.inference.stream_session import EXPIRE_MISSES, RequestCanceledError, StreamSession
from villa.interface import Turn, finish
from villa.modeling.language.tokenizer import RequestError

ONE, TWO = "The mug [SEG].", "The mug [SEG] and the bowl [SEG]."
FAMILIES = {"light": light, "sam2": over_sam2}


@pytest.fixture(params=FAMILIES)
def begin(request):
    return FAMILIES[request.param]


def _candidate(name: str, left: int | None, prompt: tuple[float, float] = (1.0, 0.0)) -> Candidate:
    mask = None
    if left is not None:
        mask = np.zeros((8, 32), np.bool_)
        mask[2:6, left : left + 6] = True
    return Candidate(mask, np.array(prompt, np.float32), name)


def test_objects_are_linked_one_to_one_to_the_tracks_they_overlap():
    old = [_candidate("mug", 2), _candidate("mug", 20)]
    new = [_candidate("mug", 21), _candidate("mug", 2), _candidate("mug", 12)]
    assert [(found.new, found.old) for found in link(new, old)] == [(0, 1), (1, 0)]


def test_an_object_out_of_sight_is_found_again_by_what_was_meant_and_its_name():
    hidden = _candidate("red mug", None, (1.0, 0.1))
    assert [f.old for f in link([_candidate("Red mug", 5, (1.0, 0.0))], [hidden])] == [0]
    assert link([_candidate("bowl", 5, (1.0, 0.0))], [hidden]) == []
    assert link([_candidate("red mug", 5, (0.0, 1.0))], [hidden]) == []


def test_two_things_in_view_that_do_not_overlap_are_two_however_alike_the_words():
    assert link([_candidate("mug", 20)], [_candidate("mug", 2)]) == []


def test_nothing_links_to_nothing():
    assert link([], [_candidate("mug", 2)]) == []
    assert link([_candidate("mug", 2)], []) == []


def test_a_second_request_about_the_same_object_keeps_its_key(begin):
    # Random weights draw other masks than they carry: every frame is drawn.
    model = begin(ONE)
    model.config = replace(model.config, seed_every_frame=True)
    session = StreamSession(model)
    (first,) = finish(session.request("track the mug", clip(4))).objects
    (second,) = finish(session.request("the mug, please", clip(4))).objects
    assert second.key == first.key
    assert session.keys == (first.key,)


def test_what_is_tracked_well_keeps_its_memory_and_what_is_not_begins_anew(begin):
    model = begin(ONE)
    model.config = replace(model.config, seed_every_frame=True)
    session = StreamSession(model)
    finish(session.request("track the mug", clip(4), []))
    (track,) = session._tracks.values()
    memory = track.memory
    finish(session.request("the mug again", clip(4)))
    assert session._tracks[track.key].memory is memory
    track.mask = None  # occluded
    finish(session.request("track the mug", clip(4), []))
    assert session._tracks[track.key].memory is not memory


def test_keys_are_never_given_twice(begin):
    session = StreamSession(begin(ONE))
    seen = []
    for number in range(4):
        (thing,) = finish(session.request(f"request {number}", clip(3))).objects
        seen.append(thing.key)
        session.drop(session.keys)
    assert seen == sorted(set(seen))


def test_a_track_that_its_own_words_no_longer_find_expires(begin):
    model = begin(ONE, *["There is no mug."] * (EXPIRE_MISSES + 1))
    session = StreamSession(model)
    finish(session.request("the mug", clip(3)))
    for _ in range(EXPIRE_MISSES - 1):
        finish(session.request("the mug", clip(3)))
        assert len(session.keys) == 1
    finish(session.request("the mug", clip(3)))
    assert session.keys == ()


def test_other_words_do_not_make_a_track_expire(begin):
    session = StreamSession(begin(ONE, "There is no bowl."))
    finish(session.request("the mug", clip(3)))
    for _ in range(EXPIRE_MISSES + 2):
        finish(session.request("the bowl", clip(3)))
    assert len(session.keys) == 1


def test_a_session_answers_about_the_images_it_was_given(begin):
    session = StreamSession(begin(ONE))
    for index in range(40):
        assert session.step(image(index), 0.1 * index) == []
    result = finish(session.request("the mug"))
    assert len(result.objects) == 1
    (output,) = session.step(image(40), 4.0)
    assert output.key == result.objects[0].key
    assert len(session._ring) < 40


def test_without_a_frame_there_is_nothing_to_answer_about(begin):
    with pytest.raises(ValueError, match="wanted at least one"):
        next(StreamSession(begin(ONE)).request("the mug"))


def test_a_canceled_request_ends_at_its_next_step_and_leaves_the_tracks(begin):
    session = StreamSession(begin(ONE))
    finish(session.request("the mug", clip(3)))
    steps = session.request("the bowl", clip(3))
    next(steps)
    session.cancel()
    with pytest.raises(RequestCanceledError, match="the bowl"):
        next(steps)
    assert len(session.keys) == 1
    assert len(finish(session.request("the mug", clip(3))).objects) == 1


def test_a_request_of_ten_thousand_words_is_refused_with_both_numbers(begin):
    with pytest.raises(RequestError, match=r"tokens, at most"):
        finish(StreamSession(begin(ONE)).request("mug " * 10_000, clip(3)))


def test_a_clip_of_one_frame_is_enough_and_objects_may_be_many(begin):
    many = " ".join(f"mug {n} [SEG]" for n in range(50))
    model = begin(many)
    model.config = replace(model.config, max_new_tokens=1000)
    session = StreamSession(model)
    result = finish(session.request("every mug", clip(1)))
    assert len(result.objects) == 50
    assert len(session.step(image(9), 1_700_000_001.0)) == len(session.keys) == 50


def test_no_objects_are_no_work(begin):
    session = StreamSession(begin("There is no mug."))
    assert finish(session.request("the mug", clip(3))).objects == ()
    assert session.step(image(0), 0.0) == []


# -- follow-up -----------------------------------------------------------------------------------------------------


def _prompt_seen(model, monkeypatch) -> list[str]:
    read: list[str] = []
    plain = model.codec.prompt

    def prompt(request, history, *rest):
        read.append(" | ".join(f"{q} > {a}" for q, a in history))
        return plain(request, history, *rest)

    monkeypatch.setattr(model.codec, "prompt", prompt)
    return read


def test_a_follow_up_reads_what_was_said_and_sees_the_tracks_it_names(monkeypatch):
    model = over_sam2(TWO, ONE)
    read = _prompt_seen(model, monkeypatch)
    session = StreamSession(model)
    result = finish(session.request("mug and bowl", clip(3)))
    session.step(image(4), 1_700_000_000.4)
    finish(session.request("now the one behind it", clip(3)))
    assert read == ["", "mug and bowl > The mug[SEG] and the bowl[SEG]."]
    assert next(turn.keys for turn in session._turns) == tuple(o.key for o in result.objects)


def test_the_look_of_a_track_reaches_the_language_model():
    model = over_sam2(ONE)
    model.track_gate.fill_(0.5)

    def states_of(look: float) -> torch.Tensor:
        session = StreamSession(model)
        (thing,) = finish(session.request("the mug", clip(3), [])).objects
        session._tracks[thing.key].features = torch.full((model.segmenter.channels,), look)
        heard: list[torch.Tensor] = []
        plain = model.prompts

        def prompts(states, *rest):
            heard.append(states)
            return plain(states, *rest)

        model.prompts = prompts
        try:
            turn = Turn("the mug", "The mug.", (thing.key,), (7,))
            finish(session.request("the one behind it", clip(3), [turn]))
        finally:
            del model.prompts
        return heard[-1]

    assert not torch.allclose(states_of(1.0), states_of(-1.0), atol=1e-4)
    model.track_gate.fill_(0.0)  # untrained, all tracks look alike
    assert torch.equal(states_of(1.0), states_of(-1.0))


def test_a_track_that_is_gone_is_only_words(monkeypatch):
    model = over_sam2(ONE)
    read = _prompt_seen(model, monkeypatch)
    session = StreamSession(model)
    finish(session.request("the mug", clip(3)))
    session.drop(session.keys)
    finish(session.request("the one behind it", clip(3)))
    assert read[-1] == "the mug > The mug."


def test_an_empty_history_begins_anew(monkeypatch):
    model = over_sam2(ONE)
    read = _prompt_seen(model, monkeypatch)
    session = StreamSession(model)
    finish(session.request("the mug", clip(3)))
    finish(session.request("the bowl", clip(3), []))
    assert read == ["", ""]


# -- little memory -------------------------------------------------------------------------------------------------


def _fails(function, times: int):
    """The function, after so many calls that find the device's memory full."""
    left = [times]

    def call(*args, **kwargs):
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return function(*args, **kwargs)

    return call


def test_a_request_that_does_not_fit_is_answered_with_half_of_the_frames(begin, monkeypatch):
    model = begin(ONE)
    monkeypatch.setattr(model.language, "read", _fails(model.language.read, 1))
    result = finish(StreamSession(model).request("the mug", clip(6)))
    assert len(result.clip_index) == max(1, model.config.clip_frames // 2)
    assert result.clip_index[-1] == 5
    assert len(result.objects) == 1


def test_a_request_that_does_not_fit_twice_is_reported_and_the_session_goes_on(begin, monkeypatch):
    model = begin(ONE)
    session = StreamSession(model)
    finish(session.request("the mug", clip(3)))
    plain = model.language.read
    monkeypatch.setattr(model.language, "read", _fails(plain, 2))
    with pytest.raises(DeviceMemoryError, match=r"Tried to allocate 2.00 GiB.*smaller configuration"):
        finish(session.request("the bowl", clip(6)))
    assert len(session.step(image(3), 1_700_000_000.4)) == 1


def test_objects_that_do_not_fit_together_are_carried_in_two_halves(begin, monkeypatch):
    model = begin(TWO)
    session, other = StreamSession(model), StreamSession(model)
    for each in (session, other):
        finish(each.request("both", clip(3)))
    expected = other.step(image(7), 1_700_000_001.0)
    monkeypatch.setattr(model.segmenter, "carry", _fails(model.segmenter.carry, 1))
    seen = session.step(image(7), 1_700_000_001.0)
    assert [s.key for s in seen] == [e.key for e in expected]
    for mine, whole in zip(seen, expected, strict=True):
        assert mine.present_score == pytest.approx(whole.present_score, abs=1e-4)


def test_one_object_that_does_not_fit_is_reported(begin, monkeypatch):
    model = begin(ONE)
    session = StreamSession(model)
    finish(session.request("the mug", clip(3)))
    monkeypatch.setattr(model.segmenter, "carry", _fails(model.segmenter.carry, 1))
    with pytest.raises(DeviceMemoryError, match="one object"):
        session.step(image(7), 1_700_000_001.0)


def test_a_long_prompt_is_read_in_steps_between_which_others_may_run(begin):
    steps = StreamSession(begin(ONE)).request("the mug", clip(4))
    decoding = 0
    try:
        while True:
            step = next(steps)
            decoding += step.stage.name == "DECODING"
    except StopIteration:
        pass
    assert decoding >= 2
    assert PREFILL_TOKENS <= 64


def test_a_compiled_fast_pass_gives_the_same_masks(begin):
    model = begin(TWO)
    session, other = StreamSession(model), StreamSession(model)
    for each in (session, other):
        finish(each.request("both", clip(3)))
    expected = other.step(image(7), 1_700_000_001.0)
    compiled = []
    for name, module in model.segmenter.named_modules():
        if name in model.segmenter.every_frame:
            # What torch.compile would take; the compiler itself needs minutes.
            module.compile(backend="eager")
            compiled.append(name)
    assert sorted(compiled) == sorted(model.segmenter.every_frame)
    for mine, whole in zip(session.step(image(7), 1_700_000_001.0), expected, strict=True):
        assert mine.present_score == pytest.approx(whole.present_score, abs=1e-4)
