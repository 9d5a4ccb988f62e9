"""A model that computes no numbers says so, wherever in it they are lost: it never says "not there"."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_model

from villa.inference.finite import NotFiniteError, finite
from villa.modeling.villa import ViLLaModel
from villa.predictor import ViLLa

PARTS = sorted({".".join(name.split(".")[:2]) for name, _ in tiny_model().named_parameters()})
VIDEO = [np.random.default_rng(row).integers(0, 255, (48, 64, 3), np.uint8) for row in range(4)]


def broken(part: str) -> ViLLaModel:
    model = tiny_model()
    for name, parameter in model.named_parameters():
        if f"{name}.".startswith(f"{part}."):
            parameter.data.fill_(float("nan"))
    return model


def told(model: ViLLaModel) -> tuple[str, list[list[int]]]:
    """An answer and the areas of its masks."""
    answer = ViLLa(model).segment(VIDEO, "the red mug", fps=2)
    return answer.text, [[0 if mask is None else mask.area for mask in one.masks] for one in answer.tracklets]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_without_numbers_is_told_of_or_has_no_part_in_the_answer(part: str) -> None:
    try:
        answer = told(broken(part))
    except NotFiniteError:
        return
    assert answer == told(tiny_model())


@pytest.mark.parametrize("part", ["language.llama", "language.finder", "language.scene", "segmenter.encoder"])
def test_a_part_that_every_answer_rests_on_is_told_of(part: str) -> None:
    with pytest.raises(NotFiniteError, match="NaN"):
        told(broken(part))


def test_numbers_are_let_through() -> None:
    finite("these", torch.zeros(3), torch.tensor([1e30, -24.0]))
    with pytest.raises(NotFiniteError, match="these hold NaN or infinity"):
        finite("these", torch.zeros(2), torch.tensor([0.0, float("inf")]))
