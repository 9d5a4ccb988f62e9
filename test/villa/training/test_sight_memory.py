"""What is kept of what frozen networks said of things, and what is drawn of it."""

from __future__ import annotations

import torch

from villa.modeling.objects.detector import Heard, Sight
from villa.training.batch import UNCLEAR
from villa.training.sight_memory import SightMemory

LOOK, TOLD, CLOSE = 4, 6, 5


def _sight(first: int, count: int, *, told: bool = True, close: bool = True) -> Sight:
    """Things whose numbers are in all that is seen of them; those with even numbers were looked at closely."""
    number = torch.arange(first, first + count).float()[:, None]
    even = number[:, 0] % 2 == 0
    nothing, all_of_them = torch.zeros(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool)
    look = number.expand(-1, LOOK)
    return Sight(
        look,
        Heard(10 * number.expand(-1, TOLD), all_of_them) if told else Heard(look[:0], nothing),
        Heard(100 * number[even].expand(-1, CLOSE), even) if close else Heard(look[:0], nothing),
    )


def _kinds(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def test_what_is_drawn_belongs_together():
    torch.manual_seed(0)
    memory = SightMemory(most=20)
    memory.add(_sight(0, 5), torch.arange(5), 2 * torch.arange(5))
    memory.add(_sight(5, 3), torch.arange(5, 8), 2 * torch.arange(5, 8))
    assert len(memory) == 8
    sight, kinds, colours = memory.draw(200)
    number = sight.look[:, 0]
    assert set(kinds.tolist()) == set(range(8))
    assert torch.equal(number, kinds.float())
    assert torch.equal(colours, 2 * kinds)
    assert sight.told.said.shape[1:] == (TOLD,)
    for heard, factor in ((sight.told, 10), (sight.close, 100)):
        kept = (factor * number[heard.of] / 0.7)[:, None].expand_as(heard.said)
        dropped = heard.said == 0
        torch.testing.assert_close(heard.said[~dropped], kept[~dropped])
        assert 0.2 < float(dropped[kept[:, 0] > 0].float().mean()) < 0.4  # some of the numbers are left out
    assert bool((number[sight.close.of] % 2 == 0).all())


def test_now_and_then_it_is_deaf_to_each():
    torch.manual_seed(0)
    memory = SightMemory(most=20)
    memory.add(_sight(0, 2), _kinds(0, 0), _kinds(1, 1))
    sight, _, _ = memory.draw(2000)
    assert 0.7 < float(sight.told.of.float().mean()) < 0.9
    looked_at = sight.look[:, 0] == 0
    assert 0.85 < float(sight.close.of[looked_at].float().mean()) < 0.95


def test_the_oldest_make_way():
    memory = SightMemory(most=4)
    memory.add(_sight(0, 3), _kinds(0, 1, 2), _kinds(0, 1, 2))
    memory.add(_sight(3, 3), _kinds(3, 4, 5), _kinds(3, 4, 5))
    assert len(memory) == 4
    _, kinds, _ = memory.draw(300)
    assert set(kinds.tolist()) == {2, 3, 4, 5}


def test_what_is_rare_is_drawn_more_often_than_it_was_seen():
    torch.manual_seed(0)
    memory = SightMemory()
    memory.add(_sight(0, 100), torch.tensor([7] * 96 + [8] * 4), torch.zeros(100, dtype=torch.long))
    _, kinds, _ = memory.draw(3000)
    assert 0.14 < float((kinds == 8).float().mean()) < 0.20  # a sixth: 2 of 2 + 9.8


def test_what_has_neither_a_kind_nor_a_colour_is_not_kept():
    memory = SightMemory()
    memory.add(_sight(0, 3), _kinds(UNCLEAR, UNCLEAR, 3), _kinds(UNCLEAR, 2, UNCLEAR))
    assert len(memory) == 2
    _, kinds, colours = memory.draw(50)
    assert {(int(k), int(c)) for k, c in zip(kinds, colours, strict=True)} == {(UNCLEAR, 2), (3, UNCLEAR)}


def test_what_was_never_heard_is_not_made_up():
    memory = SightMemory()
    memory.add(_sight(0, 4, told=False, close=False), torch.arange(4), torch.arange(4))
    sight, _, _ = memory.draw(10)
    assert len(sight.told.said) == len(sight.close.said) == 0
    memory.add(_sight(4, 4), torch.arange(4, 8), torch.arange(4, 8))  # a recogniser that came later
    sight, kinds, _ = memory.draw(100)
    assert bool((kinds[sight.told.of] >= 4).all())
