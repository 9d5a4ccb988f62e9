"""Attention is the same whether somebody learns from it or not: only its kernel differs."""

import torch

from villa.modeling.layers import Attention


def test_fused_and_written_out_agree() -> None:
    torch.manual_seed(0)
    attention = Attention(128, 4, 64)
    query, key = torch.randn(3, 50, 128), torch.randn(3, 170, 64)
    written = attention(query, key, key)
    assert written.requires_grad
    with torch.no_grad():
        fused = attention(query, key, key)
    torch.testing.assert_close(fused, written.detach(), rtol=1e-5, atol=1e-5)


def test_what_is_masked_is_not_read() -> None:
    torch.manual_seed(0)
    attention = Attention(32, 2)
    query, key = torch.randn(1, 4, 32), torch.randn(1, 6, 32)
    with torch.no_grad():
        some = attention(query, key, key, mask=torch.arange(6) < 3)
        alone = attention(query, key[:, :3], key[:, :3])
    torch.testing.assert_close(some, alone, rtol=1e-5, atol=1e-5)
