"""What to do when the device's memory is full: let go, try once with less, then say so."""

from __future__ import annotations

import gc

import torch


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
