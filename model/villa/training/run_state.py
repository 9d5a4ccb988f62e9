"""What a training run keeps of itself, so that the same command goes on: written whole, and told of where it is not."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from villa.files.whole import appearing


class RunStateError(OSError):
    """A file of a run cannot be read: it was cut off, as earlier versions could leave it."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write it whole or not at all."""
    with appearing(path) as part:
        torch.save(state, part)


def load_state(path: Path, device: str) -> dict[str, Any]:
    """Read it, weights only.

    Raises:
        RunStateError: it is cut off, or none.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise RunStateError(f"{path} cannot be read ({error}): it was cut off; take it away, and train on") from error
    return state
