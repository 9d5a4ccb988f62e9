"""The type that training computes in follows what the machine can multiply."""

from __future__ import annotations

import pytest
import torch

from villa.training.precision import mixed


@pytest.mark.parametrize(("vectors", "wanted"), [("AVX512", torch.bfloat16), ("AVX2", torch.float32)])
def test_a_cpu_that_emulates_bfloat16_is_spared_it(monkeypatch, vectors, wanted):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: vectors)
    with mixed("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == wanted
    with mixed("cpu", enabled=False):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
