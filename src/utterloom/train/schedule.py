"""The learning rate over progress in [0, 1] of a budget, so that a budget in time ends where one in steps does."""

from __future__ import annotations

import math


def learning_rate_factor(progress: float, warmup: float, kind: str = "cosine", floor: float = 0.0) -> float:
    """Factor of the peak rate: linear warm-up over the first `warmup` of the budget, then `cosine`, `linear` or `constant`."""
    progress = min(max(progress, 0.0), 1.0)
    if warmup > 0 and progress < warmup:
        return max(progress / warmup, 1e-3)
    left = (progress - warmup) / max(1e-9, 1.0 - warmup)
    shape = {"cosine": 0.5 * (1.0 + math.cos(math.pi * left)), "linear": 1.0 - left, "constant": 1.0}[kind]
    return floor + (1.0 - floor) * shape
