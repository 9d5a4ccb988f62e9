"""Untrained ViLLa blocks change nothing; the language model's cached ways agree with its plain one."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_model

from villa.modeling import packed_forward
from villa.modeling.language.interface import Visual
from villa.modeling.packed_forward import Question
from villa.modeling.segmenters.light.decoder import drawn_on


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_an_untrained_synthesizer_leaves_the_words_exactly_as_they_are(model):
    words, visual = torch.randn(5, 48), torch.randn(3, 6, 48)
    assert torch.equal(model.synthesizer(words, visual, torch.tensor([2.0, 1.0, 0.0])), words)


def test_an_untrained_synchronizer_prompts_with_the_seg_state_alone(model):
    video, frames, image = torch.randn(2, 32), torch.randn(2, 3, 32), torch.randn(3, 24, 32)
    prompts = model.synchronizer(video, frames, image)
    assert torch.equal(prompts.video, video)
    assert torch.equal(prompts.frames, video[:, None].expand(-1, 3, -1))


def test_objects_of_other_requests_do_not_change_a_prompt(model):
    trained = tiny_model()
    trained.synchronizer.amount.fill_(0.7)
    video, frames, image = torch.randn(3, 32), torch.randn(3, 2, 32), torch.randn(2, 24, 32)
    together = trained.synchronizer(video, frames, image, torch.tensor([0, 0, 1]))
    alone = trained.synchronizer(video[2:], frames[2:], image[:])
    torch.testing.assert_close(together.frames[2:], alone.frames, atol=1e-5, rtol=1e-5)


def test_prefill_in_chunks_equals_one_forward(model):
    inputs = model.language.text_inputs(torch.randn(23, 48), 0)
    whole = model.language.read(inputs)
    cache = model.language.new_cache()
    parts = [model.language.read(chunk, cache=cache) for chunk in inputs.chunks(7)]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-4)


def _question(model, text: str, answer: str, frames: int = 3) -> Question:
    times = [float(t) for t in reversed(range(frames))]
    return Question(model.codec.prompt(text, (), times, 12, 64), tuple(model.codec.answer_ids(answer)))


def test_a_packed_request_is_answered_as_if_it_were_alone(model):
    visual, times = Visual(torch.randn(3, 12, 48), (1, 12)), torch.tensor([2.0, 1.0, 0.0])
    first = _question(model, "track the red mug", "The red mug [SEG].")
    second = _question(model, "all the mugs", "The red mug [SEG] and the blue bowl [SEG].")
    together = packed_forward.forward(model, visual, times, [first, second])
    alone = packed_forward.forward(model, visual, times, [second])
    assert together.groups.tolist() == [0, 1, 1]
    torch.testing.assert_close(together.video[1:], alone.video, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.frames[1:], alone.frames, atol=1e-5, rtol=1e-4)


def test_labels_teach_the_answer_and_its_end_and_nothing_else(model):
    question = _question(model, "the red mug", "The red mug [SEG].", 1)
    packed = packed_forward.forward(model, Visual(torch.randn(1, 12, 48), (1, 12)), torch.zeros(1), [question])
    taught = packed.labels[packed.labels != packed_forward.IGNORE].tolist()
    assert taught == list(question.answer)
    assert taught[-1] == model.codec.end_id


def test_an_answer_without_seg_has_no_objects(model):
    question = _question(model, "the banana", "There is no banana.", 2)
    packed = packed_forward.forward(
        model, Visual(torch.randn(2, 12, 48), (1, 12)), torch.tensor([1.0, 0.0]), [question]
    )
    assert packed.video.shape == (0, 48)
    assert packed.frames.shape == (0, 2, 48)


def test_how_a_prompt_fits_is_read_where_the_mask_was_drawn():
    match = torch.zeros(1, 4, 6, 2)
    match[0, 1, 2] = torch.tensor([3.0, -1.0])
    match[0, 3, 5] = torch.tensor([-7.0, 9.0])
    logits = torch.full((1, 8, 12), -30.0)
    logits[0, 2:4, 4:6] = 30.0
    torch.testing.assert_close(drawn_on(logits, match), torch.tensor([[3.0, -1.0]]))
    nothing = drawn_on(torch.full((1, 8, 12), -300.0), match)
    torch.testing.assert_close(nothing, match.mean(dim=(1, 2)))
