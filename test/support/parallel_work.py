"""Work for workers to do, in a module of its own that they can import, and quickly: it knows no torch."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Begin:
    """Leaves a file for each worker that began, and says so where there is reason not to."""

    folder: Path
    refuse: str = ""
    die: bool = False

    def __call__(self) -> Path:
        mark(self.folder, "began")
        if self.refuse:
            raise FileNotFoundError(self.refuse)
        if self.die:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.folder


def mark(folder: Path, what: str) -> int:
    """Note that something happened once more; how often it has."""
    (folder / f"{what}.{os.getpid()}.{time.monotonic_ns()}").touch()
    return marks(folder, what)


def marks(folder: Path, what: str) -> int:
    return len(list(folder.glob(f"{what}.*")))


def square(folder: Path, item: int) -> tuple[int, int]:
    time.sleep(0.02)  # so that every worker gets some
    return item * item, os.getpid()


def trouble(folder: Path, item: str) -> str:
    """Does what the item says."""
    if item == "raise":
        raise ValueError("this item is no good")
    if item == "die once" and mark(folder, "once") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "die":
        mark(folder, "died")
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "cannot be sent":
        return lambda: None  # type: ignore[return-value]
    if item == "exit":
        sys.exit(3)
    return f"{item}, done"


def threads(folder: Path, item: int) -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


def sleep(folder: Path, item: int) -> None:
    (folder / f"asleep.{os.getpid()}").touch()
    time.sleep(600)


def load_nothing(checkpoint: str, device: str) -> object:
    raise FileNotFoundError(f"nothing at {checkpoint}")
