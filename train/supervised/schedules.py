"""Learning rates along a fit: constant, linear or cosine, after a warm-up.

All are factors of the rate that was asked for. Linear and cosine (Loshchilov and Hutter, 2017,
arXiv 1608.03983, without restarts) fall to a hundredth of it.
"""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]

LAST = 0.01  # of the rate at the beginning


def rate_factor(schedule: Schedule, progress: float, step: int, warmup_steps: int = 0) -> float:
    """What the learning rate is multiplied by.

    Args:
        schedule: how it falls.
        progress: the share of the fit that is done, in [0, 1].
        step: the number of the step, from 0.
        warmup_steps: steps over which it rises linearly from 0, reached at the last of them.
    """
    rise = min((step + 1) / warmup_steps, 1.0) if warmup_steps else 1.0
    if schedule == "linear":
        return rise * max(1 - progress, LAST)
    if schedule == "cosine":
        return rise * (LAST + (1 - LAST) * (1 + math.cos(math.pi * progress)) / 2)
    return rise
