"""The device that a benchmark runs on: which one, how much memory it has left, how much was used at most."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class DeviceError(RuntimeError):
    """A device is not there."""


def device_of(wanted: str) -> torch.device:
    """A device by its torch name; empty: cuda where there is one, else the CPU.

    Raises:
        DeviceError: it is not there.
    """
    import torch

    try:
        device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device {wanted!r} is not there: {str(error).splitlines()[0]}") from error
    return device


def free_bytes(device: torch.device) -> int:
    """Memory that a model may still take."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_bytes(device: torch.device) -> tuple[int, str]:
    """The most memory there was in use, and what that counts."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device)), "allocated on the device"
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "resident in the process"


def name_of(device: torch.device) -> str:
    """What the device is sold as."""
    if device.type == "cuda":
        import torch

        return str(torch.cuda.get_device_name(device))
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return str(device)
