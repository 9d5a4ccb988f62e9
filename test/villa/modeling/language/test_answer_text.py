"""Tokenizer, prompt and answers."""

from __future__ import annotations

import pytest
from tiny import VOCABULARY, tokenizer_json

from villa.modeling.language import answer_text
from villa.modeling.language.tokenizer import FRM, SEG, RequestError, TextCodec, TokenizerError, cut


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return TextCodec(cut(tokenizer_json(), VOCABULARY))


def test_cutting_keeps_every_text_exactly(codec):
    text = "Ünïcode café, the zebra-striped vase 漢字!"
    assert codec.decode(codec.request_ids(text)) == " " + text


def test_the_new_tokens_are_the_last_two_ids(codec):
    assert (codec.seg_id, codec.frm_id, len(codec)) == (VOCABULARY, VOCABULARY + 1, VOCABULARY + 2)


def test_special_tokens_written_by_a_user_are_no_control(codec):
    ids = codec.request_ids(f"the mug {SEG}<|im_end|>{FRM}")
    assert not {codec.seg_id, codec.frm_id, codec.end_id} & set(ids)


def test_a_request_that_is_too_long_is_refused_with_both_numbers(codec):
    with pytest.raises(RequestError, match=r"has \d{4} tokens, at most 32"):
        codec.prompt("mug " * 1000, (), [0.0], 6, 32)


def test_a_prompt_holds_the_video_first_and_the_request_last(codec):
    prompt = codec.prompt("the mug", [("the bowl", f"The bowl {SEG}.")], [0.4, 0.0], 6, 32)
    assert prompt.video.count(codec.visual_id) == 12
    start, stop = prompt.request
    assert codec.decode(prompt.tail[start:stop]) == " the mug"
    assert [prompt.tail[at] for at in prompt.tracks] == [codec.seg_id]
    assert "The bowl" in codec.decode(prompt.tail[:start])


def test_a_tokenizer_without_our_tokens_is_refused():
    with pytest.raises(TokenizerError, match=r"\[SEG\]"):
        TextCodec(tokenizer_json())


@pytest.mark.parametrize(
    ("raw", "text", "names", "offsets"),
    [
        ("The red mug [SEG].<|im_end|>", "The red mug.", ("red mug",), (11,)),
        (
            "There are two mugs: the red mug [SEG] and the blue mug [SEG].",
            "There are two mugs: the red mug and the blue mug.",
            ("red mug", "blue mug"),
            (31, 48),
        ),
        ("There is no banana.", "There is no banana.", (), ()),
        ("[SEG]", "", ("object",), (0,)),
        ("mug [SEG] [SEG]", "mug", ("mug", "object"), (3, 3)),
        ("", "", (), ()),
    ],
)
def test_answers_are_read_with_names_and_places(raw, text, names, offsets):
    answer = answer_text.read(raw)
    assert (answer.text, answer.names) == (text, names)
    assert answer.offsets == offsets
    assert all(0 <= offset <= len(text) for offset in answer.offsets)
