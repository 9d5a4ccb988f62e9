"""How fast a run learns at each of its steps."""

from __future__ import annotations


def learning_rate(step: int, steps: int, warmup_steps: int, decay_steps: int) -> float:
    """Factor of the learning rates at a step: linear warm-up, flat, linear decay to 0."""
    rise = min(1.0, (step + 1) / max(warmup_steps, 1))
    return rise * min(1.0, (steps - step) / max(decay_steps, 1))
