"""The type that training computes in: bfloat16 where the machine multiplies it in hardware, else float32."""

from __future__ import annotations

import torch


def multiplies_bfloat16(device: str) -> bool:
    """Is bfloat16 worth it there? A CPU without 512-bit vectors takes thirty times as long for it as for float32."""
    return device != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def mixed(device: str, *, enabled: bool = True) -> torch.autocast:
    """What is computed inside is in bfloat16 if that pays; weights and their gradients stay float32."""
    return torch.autocast(device, torch.bfloat16, enabled=enabled and multiplies_bfloat16(device))
