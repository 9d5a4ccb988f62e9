"""SAM 2 video and the SAM 3 tracker in one batch and bounded memory, against the loop that transformers itself runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_parts import parts_model
from transformers import Sam2VideoInferenceSession, Sam3TrackerVideoInferenceSession

from villa.modeling.segmenters.interface import Masks, Moment
from villa.modeling.segmenters.sam2.memory import Sam2Memory, Sam2MemoryFrame

# Seeds of random weights with which objects are seen on some frames and not on others.
KINDS = {"sam2_video": 3, "sam3_tracker_video": 1}
SESSIONS = {"sam2_video": Sam2VideoInferenceSession, "sam3_tracker_video": Sam3TrackerVideoInferenceSession}


def _image(seed: int):
    return np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)


def _logits(grid: tuple[int, int], *boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """Mask logits with a filled box (top, left, bottom, right) for each object."""
    masks = torch.full((len(boxes), *grid), -5.0)
    for row, (top, left, bottom, right) in enumerate(boxes):
        masks[row, top:bottom, left:right] = 5.0
    return masks


def _masks(logits: torch.Tensor, channels: int) -> Masks:
    count = len(logits)
    return Masks(logits, torch.ones(count), torch.ones(count), torch.zeros(count, channels))


@pytest.fixture(params=KINDS)
def segmenter(request):
    return parts_model("internvl", seed=KINDS[request.param], sam=request.param).segmenter


def _agree(mine: Masks, plain: torch.Tensor) -> None:
    """Memory is kept in bfloat16 by both: where a value falls on the other side of a rounding, logits move a little."""
    shown = plain > -1000
    assert torch.equal(mine.logits > -1000, shown)
    spread = float(plain[shown].std()) if shown.any() else 1.0
    torch.testing.assert_close(mine.logits, plain, atol=2e-3 * spread, rtol=1e-3)


def _plain_loop(segmenter, logits: torch.Tensor, frames: int, backwards: bool = False) -> list[torch.Tensor]:
    """Masks [N, h, w] of every frame as the model class of transformers makes them, one object at a time."""
    model = segmenter.sam2
    kind = SESSIONS[model.config.model_type]
    size = segmenter.image_size
    images = [segmenter.preprocess([_image(i)])[0] for i in range(frames)]
    video = torch.stack(images) if backwards else None
    session = kind(video=video, video_height=size[0], video_width=size[1], dtype=torch.float32)
    given = (segmenter._enlarged(logits) > 0).float()
    start = frames - 1 if backwards else 0
    for row in range(len(logits)):
        index = session.obj_id_to_idx(row + 1)
        session.add_mask_inputs(index, start, given[row][None, None])
    session.obj_with_new_inputs = [row + 1 for row in range(len(logits))]
    if backwards:
        model(inference_session=session, frame_idx=start)
        found = {
            out.frame_idx: out.pred_masks
            for out in model.propagate_in_video_iterator(session, start_frame_idx=start, reverse=True)
        }
        return [found[t][:, 0] for t in range(frames)]
    return [model(inference_session=session, frame=image).pred_masks[:, 0] for image in images]


@torch.inference_mode()
@pytest.mark.parametrize("objects", [1, 3])
def test_seeded_and_propagated_masks_are_those_of_the_plain_loop(segmenter, objects):
    frames = 20  # more than the pointers that are kept
    logits = _logits(segmenter.mask_grid, (2, 2, 8, 8), (4, 9, 12, 15), (9, 1, 15, 6))[:objects]
    plain = _plain_loop(segmenter, logits, frames)
    first = segmenter.encode(segmenter.preprocess([_image(0)]))
    at = torch.zeros(objects, dtype=torch.long)
    prompt = torch.zeros(objects, segmenter.channels)
    memories = segmenter.seed(_masks(logits, segmenter.channels), prompt, first, at, [Moment(0, 0.0)] * objects)
    hidden = 0
    for t in range(1, frames):
        pyramid = segmenter.encode(segmenter.preprocess([_image(t)]))
        masks = segmenter.carry(memories, pyramid, Moment(t, 0.1 * t))
        hidden += int((masks.present <= 0).sum())
        _agree(masks, plain[t])
        assert max(memory.frames for memory in memories) <= 16
    # Both were compared: frames that show the object and frames that do not.
    assert 0 < hidden < objects * (frames - 1)


@torch.inference_mode()
def test_going_backwards_gives_what_the_plain_loop_gives_backwards(segmenter):
    frames = 17
    logits = _logits(segmenter.mask_grid, (2, 2, 8, 8), (4, 9, 12, 15))
    plain = _plain_loop(segmenter, logits, frames, backwards=True)
    last = segmenter.encode(segmenter.preprocess([_image(frames - 1)]))
    moments = [Moment(frames - 1, 1.6)] * 2
    at, prompt = torch.zeros(2, dtype=torch.long), torch.zeros(2, segmenter.channels)
    seeds = segmenter.seed(_masks(logits, segmenter.channels), prompt, last, at, moments)
    memories = [memory.copy(reverse=True) for memory in seeds]
    for t in range(frames - 2, -1, -1):
        masks = segmenter.carry(memories, segmenter.encode(segmenter.preprocess([_image(t)])), Moment(t, 0.1 * t))
        _agree(masks, plain[t])
    assert all(seed.frames == 1 for seed in seeds)


@torch.inference_mode()
def test_a_fifth_object_does_not_change_the_other_four(segmenter):
    boxes = [(1, 1, 6, 6), (2, 8, 7, 14), (8, 2, 14, 7), (9, 9, 14, 14), (4, 4, 10, 10)]
    prompt = torch.zeros(5, segmenter.channels)

    def begun(rows: slice, t: int):
        logits = _logits(segmenter.mask_grid, *boxes[rows])
        pyramid = segmenter.encode(segmenter.preprocess([_image(t)]))
        at = torch.zeros(len(logits), dtype=torch.long)
        return segmenter.seed(
            _masks(logits, segmenter.channels), prompt[rows], pyramid, at, [Moment(t, 0.0)] * len(logits)
        )

    alone, joined = begun(slice(0, 4), 0), begun(slice(0, 4), 0)
    for t in range(1, 12):
        pyramid = segmenter.encode(segmenter.preprocess([_image(t)]))
        if t == 5:
            joined += begun(slice(4, 5), 4)
        a = segmenter.carry(alone, pyramid, Moment(t, 0.0))
        b = segmenter.carry(joined, pyramid, Moment(t, 0.0))
        _agree(b[:4], a.logits)


@torch.inference_mode()
def test_an_object_that_leaves_takes_only_itself_along(segmenter):
    logits = _logits(segmenter.mask_grid, (1, 1, 6, 6), (2, 8, 7, 14))
    pyramid = segmenter.encode(segmenter.preprocess([_image(0)]))
    at, prompt = torch.zeros(2, dtype=torch.long), torch.zeros(2, segmenter.channels)
    both = segmenter.seed(_masks(logits, segmenter.channels), prompt, pyramid, at, [Moment(0, 0.0)] * 2)
    kept = both[1].copy()
    for t in range(1, 6):
        pyramid = segmenter.encode(segmenter.preprocess([_image(t)]))
        a = segmenter.carry(both, pyramid, Moment(t, 0.0))
        b = segmenter.carry([kept], pyramid, Moment(t, 0.0))
        _agree(a[1:], b.logits)


def test_the_decoder_of_answers_may_learn_while_the_propagator_keeps_its_own():
    segmenter = parts_model("internvl").segmenter
    pyramid = segmenter.encode(segmenter.preprocess([_image(0)]))
    prompt = torch.randn(1, segmenter.channels)
    at = torch.zeros(1, dtype=torch.long)
    before = segmenter.decode(prompt, pyramid, at).logits
    seeds = segmenter.seed(_masks(before, segmenter.channels), prompt, pyramid, at, [Moment(0, 0.0)])
    carried = segmenter.carry([seeds[0].copy()], pyramid, Moment(1, 0.1)).logits
    for index in range(4):
        segmenter.own_decoder.output_hypernetworks_mlps[index].proj_out.bias.data.add_(1.0)
    pyramid = segmenter.encode(segmenter.preprocess([_image(0)]))
    assert not torch.equal(segmenter.decode(prompt, pyramid, at).logits, before)
    assert torch.equal(segmenter.carry([seeds[0].copy()], pyramid, Moment(1, 0.1)).logits, carried)


def _look(index: int) -> Sam2MemoryFrame:
    return Sam2MemoryFrame(index, torch.zeros(1), torch.zeros(1, 2))


def test_memory_keeps_what_is_read_and_nothing_older():
    memory = Sam2Memory([_look(0)])
    for index in range(1, 100):
        memory.add(_look(index), memories=7, pointers=16)
    assert [offset for offset, _ in memory.spatial(100, 7)] == [0, 6, 5, 4, 3, 2, 1]
    assert [age for age, _ in memory.pointers(100, 16)] == [100, *range(1, 16)]
    assert len(memory.recent) == 15
    assert sum(look.space is not None for look in memory.recent) == 6


def test_a_frame_that_is_seen_twice_is_remembered_once():
    memory = Sam2Memory([_look(0)])
    memory.add(_look(1), 7, 16)
    memory.add(_look(1), 7, 16)
    assert len(memory.recent) == 1


def test_seeds_are_bounded_and_the_newest_stay():
    segmenter = parts_model("internvl").segmenter
    joined = segmenter.join([Sam2Memory([_look(index)]) for index in range(9)])
    assert [seed.index for seed in joined.seeds] == [5, 6, 7, 8]


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 500, 3), (1080, 1920, 3)])
def test_images_of_odd_sizes_are_seen(segmenter, shape):
    pixels = segmenter.preprocess([np.zeros(shape, np.uint8)])
    assert tuple(pixels.shape[2:]) == segmenter.image_size
    assert torch.isfinite(segmenter.encode(pixels).s16).all()
