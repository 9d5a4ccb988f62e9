"""Tokens of things learn to lie near the words for them."""

from __future__ import annotations

import torch
from tiny import tiny_model

from villa.data.language.vocabulary import COLOURS, KINDS
from villa.training.token_alignment_loss import Reading

MUG, BOWL = KINDS.index("mug"), KINDS.index("bowl")
RED, BLUE = COLOURS.index("red"), COLOURS.index("blue")


def test_a_token_that_lies_near_its_words_costs_less():
    model = tiny_model().requires_grad_(True)
    reading = Reading(model)
    kinds, colours = torch.tensor([MUG, BOWL]), torch.tensor([RED, BLUE])
    right = (reading.directions(reading.kinds)[kinds] + reading.directions(reading.colours)[colours]).detach()
    assert float(reading(right, kinds, colours)) < float(reading(right.flip(0), kinds, colours))
    tokens = torch.randn(2, 48, requires_grad=True)
    reading(tokens, kinds, colours).backward()
    assert tokens.grad is not None
    # The words stay where the language model has them.
    assert model.language.llama.embed_tokens.weight.grad is None


def test_a_colour_that_is_a_matter_of_opinion_does_not_count():
    reading = Reading(tiny_model())
    tokens, kinds = torch.randn(2, 48), torch.tensor([MUG, BOWL])
    unclear = torch.tensor([-100, -100])
    some = reading(tokens, kinds, torch.tensor([RED, -100]))
    assert float(reading(tokens, kinds, unclear)) < float(some)
    assert bool(torch.isfinite(reading(tokens, kinds, unclear)))
