"""A figure with its standard error and the number of samples behind it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, and how many samples it stands on; NaN where there is none."""

    value: float
    se: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.se:.3f}"


NOTHING = Estimate(math.nan, math.nan, 0)


def mean_of(values: Sequence[float]) -> Estimate:
    """The mean, with the standard error of a sample mean."""
    n = len(values)
    if n == 0:
        return NOTHING
    spread = float(np.std(values, ddof=1)) if n > 1 else math.nan
    return Estimate(float(np.mean(values)), spread / math.sqrt(n), n)


def share_of(hits: int, n: int) -> Estimate:
    """A share of n, with the binomial standard error."""
    if n == 0:
        return NOTHING
    share = hits / n
    return Estimate(share, math.sqrt(share * (1 - share) / n), n)


def unique_share(keys: Sequence[Hashable]) -> Estimate:
    """Distinct keys divided by keys, with the jackknife standard error.

    Leaving out one sample changes the number of distinct ones only if it occurs once, so the
    jackknife has the closed form sqrt(s (1 - s) / (n - 1)), s the share of those that occur once.
    """
    n = len(keys)
    if n == 0:
        return NOTHING
    counts: dict[Hashable, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    once = sum(count == 1 for count in counts.values()) / n
    error = math.sqrt(once * (1 - once) / (n - 1)) if n > 1 else math.nan
    return Estimate(len(counts) / n, error, n)
