"""What to do when the device's memory is full: let go, try once with less, then say so."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from typing import TypeVar

import torch

S = TypeVar("S")
R = TypeVar("R")


class DeviceMemoryError(MemoryError):
    """The device's memory does not hold what was asked for, not even the smaller half of it."""

    @classmethod
    def of(cls, error: BaseException, what: str) -> DeviceMemoryError:
        """`what` was being done when `error` came."""
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        return cls(f"out of memory while {what} ({cause}): use a smaller configuration, fewer objects or bfloat16")


def release() -> None:
    """Give what nothing refers to any more back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_steps(begin: Callable[[int], Generator[S, None, R]], frames: int) -> Generator[S, None, R]:
    """A pass over at most `frames` frames, step by step, without gradients; once more with half of them where the
    device's memory does not hold it.

    Raises:
        DeviceMemoryError: nor does it hold the half.
    """
    most = frames
    while True:
        steps = begin(frames)
        try:
            while True:
                try:
                    # inference_mode is per thread and must not leak to the caller between steps.
                    with torch.inference_mode():
                        step = next(steps)
                except StopIteration as done:
                    result: R = done.value
                    return result
                yield step
        except torch.OutOfMemoryError as error:
            if frames == 1 or frames < most:
                raise DeviceMemoryError.of(error, f"answering a request about {frames} frame(s)") from error
            frames = max(1, frames // 2)
        finally:
            steps.close()
        release()
