"""The two tasks that teach reading: their targets, and that they fall when the model can do them."""

from __future__ import annotations

import torch
from tiny import tiny_model

from villa.data.vocabulary import COLOURS, KINDS
from villa.training.reading import Reading, _colour_of_kinds

MUG, BOWL = KINDS.index("mug"), KINDS.index("bowl")
RED, BLUE = COLOURS.index("red"), COLOURS.index("blue")


def _labels(*things: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Things as (kind, colour, cells) on one row each of a [1, 8, 12] grid."""
    kinds, colours = torch.zeros(1, 8, 12, dtype=torch.long), torch.zeros(1, 8, 12, dtype=torch.long)
    for row, (kind, colour, cells) in enumerate(things):
        kinds[0, row, :cells] = kind + 1
        colours[0, row, :cells] = colour + 1
    return kinds, colours


def test_a_kind_has_its_colour_or_none_or_no_clear_answer():
    answers = _colour_of_kinds(*_labels((MUG, RED, 6), (BOWL, BLUE, 5), (BOWL, RED, 5)))
    assert int(answers[MUG]) == RED
    assert int(answers[BOWL]) == -100  # one of each colour
    others = [int(a) for kind, a in enumerate(answers) if kind not in (MUG, BOWL)]
    assert set(others) == {len(COLOURS)}


def test_a_single_cell_is_too_little_to_say():
    assert int(_colour_of_kinds(*_labels((MUG, RED, 1)))[MUG]) == -100


def test_mixed_cells_count_for_nothing():
    kinds, colours = _labels((MUG, RED, 6))
    kinds[kinds > 0] = -100
    assert int(_colour_of_kinds(kinds, colours)[MUG]) == len(COLOURS)


def test_both_losses_are_finite_where_nothing_is_in_view_and_train_what_they_should():
    model = tiny_model().requires_grad_(True)
    reading = Reading(model)
    visual = torch.randn(1, 6, 48, requires_grad=True)
    empty = reading(visual, torch.zeros(1), *_labels())
    assert all(bool(torch.isfinite(value)) for value in empty.values())
    some = reading(visual, torch.zeros(1), *_labels((MUG, RED, 12), (BOWL, BLUE, 12)))
    sum(some.values()).backward()
    assert visual.grad is not None
    assert float(visual.grad.abs().max()) > 0
    assert model.synthesizer.up.weight.grad is not None
    # The words stay where the language model has them.
    assert model.language.llama.embed_tokens.weight.grad is None
