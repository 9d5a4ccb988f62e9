"""How fast a run learns at each of its steps."""

from __future__ import annotations

from torch.optim import Optimizer


def learning_rate(step: int, steps: int, warmup_steps: int, decay_steps: int) -> float:
    """Factor of the learning rates at a step: linear warm-up, flat, linear decay to 0."""
    rise = min(1.0, (step + 1) / max(warmup_steps, 1))
    return rise * min(1.0, (steps - step) / max(decay_steps, 1))


def set_rates(optimizer: Optimizer, step: int, steps: int, warmup_steps: int, decay_steps: int) -> float:
    """Give each group its rate at this step, from its `base_lr`; returns the factor."""
    factor = learning_rate(step, steps, warmup_steps, decay_steps)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return factor
