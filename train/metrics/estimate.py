"""A figure with its standard error and the number of samples behind it.

Of fewer than 3 samples no standard error is given: there is next to nothing to tell it from. Where
all n samples agree on a share, 0 or 1, it is 1 / (n + 1), the far end of Wilson's interval of one
standard error (Wilson, 1927): what n samples without an exception leave open.
"""

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
        return f"{self.value:.3f}" + ("" if math.isnan(self.se) else f" ± {self.se:.3f}")


NOTHING = Estimate(math.nan, math.nan, 0)
LEAST = 3  # samples that a standard error can be told from


def mean_of(values: Sequence[float]) -> Estimate:
    """The mean, with the standard error of a sample mean."""
    n = len(values)
    if n == 0:
        return NOTHING
    spread = float(np.std(values, ddof=1)) if n >= LEAST else math.nan
    return Estimate(float(np.mean(values)), spread / math.sqrt(n), n)


def share_of(hits: int, n: int) -> Estimate:
    """A share of n, with the binomial standard error; Wilson's bound for none and all."""
    if n == 0:
        return NOTHING
    share = hits / n
    return Estimate(share, _error_of_share(share, n, n), n)


def unique_share(keys: Sequence[Hashable]) -> Estimate:
    """Distinct keys divided by keys, with the jackknife standard error.

    Leaving out one sample changes the number of distinct ones only if it occurs once, so the
    jackknife has the closed form sqrt(s (1 - s) / (n - 1)), s the share of those that occur once;
    Wilson's bound where s is 0 or 1. On average it is no smaller than the error (Efron and Stein,
    1981), and up to sqrt(2) times as large where few repeat.
    """
    n = len(keys)
    if n == 0:
        return NOTHING
    counts: dict[Hashable, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    once = sum(count == 1 for count in counts.values()) / n
    return Estimate(len(counts) / n, _error_of_share(once, n, n - 1), n)


def by_influence(value: float, influence_N: np.ndarray) -> Estimate:
    """A smooth function of the distribution of N samples: the delta method.

    Args:
        value: the function's value.
        influence_N: its derivative when one sample's weight grows at the cost of all others', up to
            a constant (Hampel, 1974). The standard error is sd(influence) / sqrt(N).
    """
    return Estimate(value, mean_of(influence_N.tolist()).se, len(influence_N))


def by_jackknife(value: float, without_G: np.ndarray, n: int) -> Estimate:
    """Any function of n samples, from its values without each of G groups of them.

    The standard error is sqrt((G - 1) / G sum_g (v_g - mean v)^2) (Tukey, 1958), groups of equal
    size; with G = n it is the jackknife.
    """
    G = len(without_G)
    if G < LEAST:
        return Estimate(value, math.nan, n)
    return Estimate(value, math.sqrt((G - 1) * float(np.var(without_G))), n)


def _error_of_share(share: float, n: int, degrees: int) -> float:
    if n < LEAST:
        return math.nan
    if share in (0.0, 1.0):
        return 1 / (n + 1)
    return math.sqrt(share * (1 - share) / degrees)
