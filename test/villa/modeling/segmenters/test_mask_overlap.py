"""Masks of things that touch: whose each cell is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import tiny_config, tiny_model
from torch import Tensor

from villa.modeling.objects.detector import Proposals, reached
from villa.modeling.segmenters.interface import Masks, Moment
from villa.modeling.segmenters.mask_overlap import apart
from villa.training.losses import edge_entropy, mask_losses, owner_entropy, surroundings

ROWS, COLUMNS = 16, 24


def _block(top: int, left: int, side: int, inside: float = 4.0) -> Tensor:
    """Logits [h, w] of a square, -4 around it."""
    logits = torch.full((ROWS, COLUMNS), -4.0)
    logits[top : top + side, left : left + side] = inside
    return logits


def test_each_cell_is_whose_it_fits_best() -> None:
    weak, strong = _block(4, 4, 6, 2.0), _block(4, 8, 6, 5.0)
    both = torch.stack((weak, strong))
    mine, theirs = apart(both, both)
    assert not ((mine > 0) & (theirs > 0)).any()
    assert torch.equal(theirs > 0, strong > 0)
    assert torch.equal(mine > 0, (weak > 0) & (strong < 0))
    # where nobody else is, nothing changes
    assert torch.equal(mine[strong < 0], weak[strong < 0])


def test_two_masks_end_where_they_are_equal() -> None:
    ramp = torch.linspace(6, -6, COLUMNS).expand(ROWS, -1)
    left, right = ramp + 3, ramp.flip(1) + 3
    mine, theirs = apart(torch.stack((left, right)), torch.stack((left, right)))
    middle = COLUMNS // 2
    assert (mine[:, :middle] > 0).all()
    assert (theirs[:, middle:] > 0).all()
    assert not ((mine > 0) & (theirs > 0)).any()


def test_one_thing_found_twice_does_not_take_itself_away() -> None:
    mine, again = _block(4, 4, 8), _block(4, 5, 8, 6.0)
    (kept,) = apart(mine[None], torch.stack((mine, again)))
    assert torch.equal(kept, mine)


def test_with_nothing_beside_it_a_mask_stays_as_it_is() -> None:
    mine = _block(2, 2, 5)[None]
    assert torch.equal(apart(mine, mine[:0]), mine)
    assert apart(mine[:0], mine).shape == (0, ROWS, COLUMNS)


def _box(top: int, left: int, side: int) -> Tensor:
    """Where a square is, as shares of the image."""
    return torch.tensor([left + side / 2, top + side / 2, side, side]) / torch.tensor([COLUMNS, ROWS, COLUMNS, ROWS])


def test_only_what_a_mask_reaches_into_is_drawn_beside_it() -> None:
    boxes = torch.stack((_box(4, 4, 6), _box(4, 9, 6), _box(4, 10, 6), _box(4, 6, 4)))[None]
    proposals = Proposals(torch.zeros(1, 4, 24), boxes, torch.tensor([[5.0, 5.0, 5.0, -1.0]]))
    mask = _block(4, 4, 6)
    # the second begins in the mask's last column, the third beside it; the fourth is none to speak of
    assert reached(proposals, 0, mask[None]).tolist() == [0, 1]
    assert reached(proposals, 0, -mask.abs()[None]).tolist() == []


class _Drawing:
    """Propagated masks that are given, in the order of the memories."""

    def __init__(self, logits: Tensor, present: Tensor) -> None:
        self.logits, self.present = logits, present

    def __call__(self, looks, pyramid, frame, now_s) -> Masks:
        count = len(frame)
        return Masks(self.logits[:count], torch.ones(count), self.present[:count], torch.zeros(count, 32))


@pytest.mark.parametrize("present", [6.0, -6.0])
def test_tracks_are_carried_apart_and_what_is_hidden_has_no_say(
    present: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    segmenter = model.segmenter
    pyramid = segmenter.encode(torch.rand(1, 3, 64, 96))
    logits = torch.stack((_block(4, 4, 6, 2.0), _block(4, 8, 6, 5.0)))
    masks = Masks(logits, torch.ones(2), torch.full((2,), 6.0), torch.zeros(2, 32))
    frame, moments = torch.zeros(2, dtype=torch.long), [Moment(0, 0.0)] * 2
    memories = segmenter.seed(masks, torch.zeros(2, 32), pyramid, frame, moments)
    monkeypatch.setattr(segmenter, "propagate", _Drawing(logits, torch.tensor([6.0, present])))
    written: list[Tensor] = []
    remember = segmenter.remember

    def remembered(tokens, logits, *rest):
        written.append(logits)
        return remember(tokens, logits, *rest)

    monkeypatch.setattr(segmenter, "remember", remembered)
    carried = segmenter.carry(memories, pyramid, Moment(1, 0.1))
    overlap = bool(((carried.logits[0] > 0) & (carried.logits[1] > 0)).any())
    assert overlap == (present < 0)
    assert torch.equal(written[0], carried.logits), "what is remembered is what was shown"
    assert memories[0].frames == 2


def test_an_edge_too_far_out_costs_what_one_too_far_in_does() -> None:
    target = (_block(4, 8, 8) > 0).float()[None]
    larger, smaller = (_block(3, 7, 10) > 0).float(), (_block(5, 9, 6) > 0).float()
    # as many cells wrong on either side, so that only the weights tell
    out = torch.where(target > 0, 1.0, 0.0)
    cells = (larger - target[0]).nonzero()[: int((target[0] - smaller).sum())]
    out[0, cells[:, 0], cells[:, 1]] = 1.0
    too_far_out, too_far_in = (8 * (2 * mask - 1) for mask in (out, smaller[None]))
    assert float(edge_entropy(too_far_out, target)) == pytest.approx(float(edge_entropy(too_far_in, target)), rel=1e-4)
    assert float(mask_losses(too_far_out, target)[0]) < 0.5 * float(mask_losses(too_far_in, target)[0])
    assert float(edge_entropy(8 * (2 * target - 1), target)) < 0.01


def test_surroundings_weigh_each_object_alike() -> None:
    target = torch.stack([(_block(4, 4, side) > 0).float() for side in (1, 6)])
    near = surroundings(target)
    assert near.sum(dim=(1, 2)).tolist() == pytest.approx([1.0, 1.0])
    assert int((near[0] > 0).sum()) == 9 * 9
    assert not surroundings(torch.zeros(1, ROWS, COLUMNS)).any()


def test_two_masks_over_one_cell_cost_more_than_masks_apart() -> None:
    first, second = _block(4, 2, 6, 8.0), _block(4, 8, 6, 8.0)
    target = (torch.stack((first, second)) > 0).float()[:, None]
    right = torch.stack((first, second))[:, None]
    spilling = torch.stack((first, torch.maximum(first, second)))[:, None]
    assert float(owner_entropy(right, target)) < 0.05
    assert float(owner_entropy(spilling, target)) > 4 * float(owner_entropy(right, target))
    assert float(owner_entropy(right, torch.zeros_like(target))) == 0.0


def test_what_stands_beside_it_takes_no_part_of_a_mask() -> None:
    """Over a whole slow pass: what the finder found beside an object is drawn too, and keeps what is its own."""
    from villa.inference.answering import EncodedClip, GeneratedAnswer, ModelResponse
    from villa.inference.grounding import ground
    from villa.interface import finish
    from villa.modeling.language.answer_text import Answer

    model = tiny_model()
    model.config = replace(tiny_config(), least_presence=0.0)
    pyramid = model.segmenter.encode(torch.rand(2, 3, 64, 96))
    times = torch.tensor([0.1, 0.0])
    visual = model.language.see((), pyramid, times)
    assert visual.scene is not None
    scores = torch.full_like(visual.scene.proposals.scores, -6.0)
    scores[:, :2] = 6.0
    boxes = visual.scene.proposals.boxes.clone()
    boxes[:, 0], boxes[:, 1] = _box(4, 4, 6), _box(4, 8, 6)
    proposals = replace(visual.scene.proposals, scores=scores, boxes=boxes)
    visual = replace(visual, scene=replace(visual.scene, proposals=proposals))
    drawn = [_block(4, 4, 6, 2.0)[None], torch.stack((_block(4, 4, 6, 2.5), _block(4, 8, 6, 5.0)))] * 2
    decoded: list[int] = []

    def decode(prompts: Tensor, pyramid, frame: Tensor) -> Masks:
        count = len(prompts)
        decoded.append(count)
        logits = drawn[len(decoded) - 1]
        return Masks(logits, torch.ones(count), torch.full((count,), 6.0), torch.zeros(count, 32))

    model.segmenter.decode = decode
    width = model.language.width
    said = GeneratedAnswer(
        "The mug [SEG].", "stop", torch.zeros(1, width), (1.0,), torch.zeros(1, 2, width), torch.zeros(3, width)
    )
    looked = EncodedClip((0, 1), (0.0, 0.1), [pyramid], pyramid, times, visual)
    looked = replace(looked, features=[model.segmenter.encode(torch.rand(1, 3, 64, 96)) for _ in range(2)])
    heard = ModelResponse(said, Answer("The mug.", ("mug",), (7,)), looked)
    with torch.inference_mode():
        (found,) = finish(ground(model, heard, [Moment(0, 0.0), Moment(1, 0.1)]))
    assert decoded == [1, 2, 1, 2]
    wanted = (_block(4, 4, 6) > 0) & (_block(4, 8, 6) < 0)
    assert found.logits[0] is not None
    assert (found.logits[0] > 0).tolist() == wanted.tolist()
