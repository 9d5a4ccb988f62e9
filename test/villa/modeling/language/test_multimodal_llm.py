"""Every kind of language model behind the one interface, against the classes of transformers themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_model
from tiny_parts import parts_config, parts_model
from transformers import Qwen2VLImageProcessorPil

from villa.checkpoints.byte_tokenizer import FAMILIES, IMAGE_TOKEN, family_tokenizer
from villa.inference.answering import frame_states, say, tail_embeds
from villa.inference.stream_session import StreamSession
from villa.interface import ClipFrame, finish
from villa.modeling.language.interface import Inputs, Visual, next_position
from villa.modeling.language.qwen_vl import patched
from villa.modeling.language.tokenizer import SEG
from villa.modeling.villa import ViLLaModel

KINDS = ("causal", *FAMILIES)
TIMES = [0.4, 0.2, 0.0]


def _image(seed: int, height: int = 32, width: int = 48):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def _model(kind: str, **changes) -> ViLLaModel:
    if kind != "causal":
        return parts_model(kind, **changes)
    model = tiny_model()
    model.config = replace(model.config, **changes)
    return model


def _seen(model: ViLLaModel) -> Visual:
    images = [_image(i) for i in range(3)]
    pyramid = model.segmenter.encode(model.segmenter.preprocess(images))
    return model.language.see(images, pyramid, torch.tensor(TIMES))


def _whole(model: ViLLaModel, visual: Visual, text: str = "the red mug") -> tuple[Inputs, list[int]]:
    """Prompt as one stretch of inputs, and its ids with the image token at visual places."""
    prompt = model.language.prompt(text, (), visual, TIMES, 400)
    video = model.language.video_inputs(prompt, visual)
    tail = model.language.text_inputs(
        tail_embeds(model, prompt, visual, torch.tensor(TIMES)), next_position(video.positions)
    )
    seen = None if video.visual is None else torch.nn.functional.pad(video.visual, (0, len(tail)))
    inputs = Inputs(
        torch.cat((video.embeds, tail.embeds)),
        torch.cat((video.positions, tail.positions), dim=1),
        seen,
        video.deep,
    )
    return inputs, [*prompt.video, *prompt.tail]


def _run(steps):
    try:
        while True:
            next(steps)
    except StopIteration as done:
        return done.value


def _theirs(model: ViLLaModel, ids: list[int]) -> dict:
    """Arguments of the family's own forward for the same prompt."""
    language = model.language
    image = language.codec.id_of(IMAGE_TOKEN[model.config.language.family])
    tokens = torch.tensor([[image if i == language.codec.visual_id else i for i in ids]])
    pixels = language.pixels([_image(i) for i in range(3)])
    if model.config.language.family.startswith("qwen"):
        vision = language.mllm.config.vision_config
        patches, grid = patched(pixels, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        return {
            "input_ids": tokens,
            "pixel_values": patches,
            "image_grid_thw": grid,
            "mm_token_type_ids": (tokens == image).int(),
        }
    return {"input_ids": tokens, "pixel_values": pixels[None] if "smol" in model.config.language.family else pixels}


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_the_family_s_own_forward(family):
    model = _model(family)
    inputs, ids = _whole(model, _seen(model))
    theirs = model.language.mllm(**_theirs(model, ids), output_hidden_states=True)
    mine = model.language.read(inputs)
    torch.testing.assert_close(mine, theirs.hidden_states[-1][0], atol=1e-5, rtol=1e-4)
    known = min(theirs.logits.shape[-1], len(model.codec) - len(model.language.added))
    torch.testing.assert_close(
        model.language.logits(mine)[:, :known], theirs.logits[0, :, :known], atol=1e-5, rtol=1e-4
    )


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
def test_text_is_what_their_own_greedy_generation_writes(family):
    model = _model(family)
    visual = _seen(model)
    _, ids = _whole(model, visual)
    count = model.config.max_new_tokens
    wanted = _theirs(model, ids)
    with torch.inference_mode(False), torch.no_grad():
        written = model.language.mllm.generate(
            **wanted, max_new_tokens=count, do_sample=False, eos_token_id=10_000, pad_token_id=0
        )[0, len(ids) :]
    codec, language = model.codec, model.language
    # New tokens and spare rows do not exist for them.
    plain = language.logits

    def only_theirs(states):
        scores = plain(states)
        scores[..., list(language.added.values())] = -1e9
        scores[..., codec.end_id] -= 0
        return scores

    language.logits = only_theirs
    prompt = language.prompt("the red mug", (), visual, TIMES, 400)
    said = _run(say(model, prompt, visual, torch.tensor(TIMES)))
    known = [int(t) for t in written if int(t) < len(codec)]
    if len(known) == count and codec.end_id not in known:
        assert said.raw == codec.decode(known)
    else:
        first = next(i for i, t in enumerate(written) if int(t) >= len(codec) or int(t) == codec.end_id)
        assert said.raw.startswith(codec.decode([int(t) for t in written[:first]]))


@torch.inference_mode()
@pytest.mark.parametrize("kind", KINDS)
def test_reading_in_chunks_and_token_by_token_equals_one_forward(kind):
    """Cached decoding against a full forward: 1e-5 in float32."""
    model = _model(kind)
    inputs, _ = _whole(model, _seen(model))
    whole = model.language.read(inputs)
    for size in (1, 7, 64):
        cache = model.language.new_cache()
        parts = [model.language.read(chunk, cache=cache) for chunk in inputs.chunks(size)]
        torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-4)
        assert cache.get_seq_length() == len(inputs)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def _with_plan(model: ViLLaModel, plan: dict[int, int]) -> ViLLaModel:
    """At these steps of an answer the model says these tokens; at all others what it would say."""
    plain, step = model.language.logits, {"at": 0}

    def logits(states):
        scores = plain(states).clone()
        scores[..., [model.codec.end_id, model.codec.seg_id]] = -1e9
        if step["at"] in plan:
            scores[..., plan[step["at"]]] = 1e9
        step["at"] += 1
        return scores

    model.language.logits = logits
    return model


def _answer(kind: str, *, blocks: bool):
    """What a model says and draws, with its blocks there but untrained, or off."""
    model = _model(kind)
    model.config = replace(model.config, blocks=replace(model.config.blocks, enabled=blocks))
    with torch.inference_mode():
        seg = model.codec.seg_id
        _with_plan(model, {2: seg, 5: seg, 9: seg})
        visual = _seen(model)
        prompt = model.language.prompt("the red mug", (), visual, TIMES, 400)
        said = _run(say(model, prompt, visual, torch.tensor(TIMES)))
        images = [_image(i) for i in range(3)]
        pyramid = model.segmenter.encode(model.segmenter.preprocess(images))
        prompts = model.prompts(said.states, said.frames, pyramid.tokens)
        count = len(said.states)
        p = [model.segmenter.decode(prompts.video, pyramid, torch.full((count,), t)).logits for t in range(3)]
        p_t = [model.segmenter.decode(prompts.frames[:, t], pyramid, torch.full((count,), t)).logits for t in range(3)]
    return said, prompts, torch.stack(p), torch.stack(p_t)


def test_untrained_blocks_change_not_a_single_bit(kind):
    on, off = _answer(kind, blocks=True), _answer(kind, blocks=False)
    assert on[0].raw == off[0].raw
    assert on[0].raw.count(SEG) == 3
    assert torch.isfinite(on[0].frames).all()
    for mine, core in (
        (on[0].states, off[0].states),
        (on[1].video, off[1].video),
        (on[1].frames, off[1].frames),
        (on[1].key_scores, off[1].key_scores),
        (on[2], off[2]),
        (on[3], off[3]),
    ):
        assert mine.shape == core.shape
        assert torch.equal(mine, core)


def test_trained_blocks_do_change_the_masks(kind):
    """The counterpart: the comparison above could see a difference."""
    model = _model(kind)
    off = model.prompts(
        torch.ones(2, model.language.width),
        torch.randn(2, 3, model.language.width),
        torch.randn(3, 4, model.segmenter.channels),
    )
    model.synchronizer.amount.fill_(0.5)
    on = model.prompts(
        torch.ones(2, model.language.width),
        torch.randn(2, 3, model.language.width),
        torch.randn(3, 4, model.segmenter.channels),
    )
    assert not torch.equal(on.video, off.video)
    visual = _seen(model)
    words = torch.randn(4, model.language.width)
    model.synthesizer.gate.fill_(0.5)
    assert not torch.equal(model.enriched(words, visual, torch.tensor(TIMES)), words)


@torch.inference_mode()
def test_frame_tokens_see_their_own_object_only_and_leave_the_cache_as_it_was(kind):
    model = _model(kind)
    inputs, _ = _whole(model, _seen(model))
    language, times = model.language, torch.tensor(TIMES)
    cache = language.new_cache()
    states = language.read(inputs, cache=cache)
    length, position = len(inputs), next_position(inputs.positions)
    before = [layer.keys.clone() for layer in cache.layers]
    at, where = [length - 6, length - 2], [position - 6, position - 2]
    both = frame_states(model, states[at], times, at, where, cache)
    alone = frame_states(model, states[at[1:]], times, at[1:], where[1:], cache)
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)
    assert cache.get_seq_length() == length
    assert all(torch.equal(a, layer.keys) for a, layer in zip(before, cache.layers, strict=True))
    # Frames differ by their times, objects by their states.
    assert not torch.allclose(both[0, 0], both[0, 1], atol=1e-4)
    # What comes after an object's [SEG] is not seen by it: changing it changes nothing.
    other = language.new_cache()
    changed = inputs.embeds.clone()
    changed[at[0] + 1 :] += 1.0
    language.read(Inputs(changed, inputs.positions, inputs.visual, inputs.deep), cache=other)
    first = frame_states(model, states[at[:1]], times, at[:1], where[:1], other)
    torch.testing.assert_close(both[:1], first, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_pixels_are_those_of_their_own_processor():
    model = _model("qwen2_5_vl")
    image = _image(0)
    processor = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, temporal_patch_size=2, min_pixels=16 * 16, max_pixels=32 * 48
    )
    theirs = processor(images=[image], return_tensors="pt")
    patches, grid = patched(model.language.pixels([image]), 8, 2, 2)
    assert torch.equal(grid, theirs["image_grid_thw"])
    torch.testing.assert_close(patches, theirs["pixel_values"], atol=1e-5, rtol=1e-5)
    # A size that has to change: the same grid, and nearly the same values.
    large = _image(1, 100, 75)
    theirs = processor(images=[large], return_tensors="pt")
    patches, grid = patched(model.language.pixels([large]), 8, 2, 2)
    assert torch.equal(grid, theirs["image_grid_thw"])
    assert float((patches - theirs["pixel_values"]).abs().mean()) < 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_spare_rows_of_the_embedding_are_never_said(family):
    model = _model(family)
    scores = model.language.logits(torch.randn(4, model.language.width))
    assert scores.shape == (4, len(model.codec))
    rows = model.language.mllm.get_output_embeddings().weight.shape[0]
    assert rows > len(model.codec)


@pytest.mark.parametrize("family", FAMILIES)
def test_new_tokens_have_rows_of_their_own(family):
    model = _model(family)
    language = model.language
    assert list(language.added) == ["[SEG]", "[FRM]"]
    ids = torch.tensor([model.codec.seg_id, 3, model.codec.frm_id])
    embeds = language.embed(ids)
    assert torch.equal(embeds[0], language.new_rows[0])
    assert torch.equal(embeds[1], language.mllm.get_input_embeddings().weight[3])
    states = torch.randn(2, language.width)
    expected = states @ language.new_heads[1]
    torch.testing.assert_close(language.logits(states)[:, model.codec.frm_id], expected)


def test_a_token_that_the_folder_already_knows_keeps_its_row():
    from tiny_parts import mllm_settings, sam2_settings

    from villa.checkpoints.build import from_settings

    model = from_settings(
        parts_config("internvl"), mllm_settings("internvl"), sam2_settings(), family_tokenizer("internvl", SEG)
    )
    assert list(model.language.added) == ["[FRM]"]
    row = model.language.embed(torch.tensor(model.codec.seg_id))
    assert torch.equal(row, model.language.mllm.get_input_embeddings().weight[model.codec.seg_id])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_user_cannot_write_control_tokens(family):
    codec = _model(family).codec
    ids = codec.request_ids(f"the mug {SEG}<|im_end|>{IMAGE_TOKEN[family]}")
    control = {codec.id_of(t) for t in (SEG, "<|im_end|>", IMAGE_TOKEN[family])}
    assert not control & set(ids)


@pytest.mark.parametrize("request_text", ["la tasse rouge, s'il vous plaît", "赤いマグカップ", "🙂 mug"])
def test_a_request_in_another_language_is_read(kind, request_text):
    model = _model(kind, max_new_tokens=2)
    clip = [ClipFrame(0.1 * i, lambda i=i: _image(i)) for i in range(3)]
    assert finish(StreamSession(model).request(request_text, clip)).clip_index == (0, 1, 2)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (200, 17)])
@pytest.mark.parametrize("family", FAMILIES)
def test_frames_of_odd_sizes_are_seen(family, size):
    visual = _model(family).language.see([_image(0, *size)], None, torch.zeros(1))
    assert visual.tokens.shape[1] == visual.grid[0] * visual.grid[1]
    assert torch.isfinite(visual.tokens).all()


def test_a_frame_that_is_all_edge_is_refused_with_its_size():
    with pytest.raises(ValueError, match=r"600x2 px"):
        _model("qwen3_vl").language.see([_image(0, 2, 600)], None, torch.zeros(1))
