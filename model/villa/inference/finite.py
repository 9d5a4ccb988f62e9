"""Numbers that are none, where an answer is made of them: NaN is below every threshold, so it says "not there"."""

from __future__ import annotations

import torch
from torch import Tensor


class NotFiniteError(RuntimeError):
    """The model computed NaN or infinity: damaged weights, or a type of numbers that is too small for them."""


def finite(what: str, *tensors: Tensor) -> None:
    """Are all of these numbers?

    Raises:
        NotFiniteError: some are not; the message names `what`.
    """
    for tensor in tensors:
        if not bool(torch.isfinite(tensor).all()):
            raise NotFiniteError(
                f"{what} hold NaN or infinity: get the checkpoint anew, or run it in another type (float32, bfloat16)"
            )
