"""Krippendorff's alpha: how far assessors agree beyond what chance would give.

alpha = 1 - D_o / D_e, the observed over the expected disagreement (Krippendorff, "Computing
Krippendorff's Alpha-Reliability", 2011). 1 is perfect agreement, 0 that of answers drawn at random,
below 0 systematic disagreement. Units may have any number of answers; a unit with one says nothing
about agreement and is left out. Krippendorff relies on 0.8 and above, and draws tentative
conclusions from 0.667; for taste, less is usual.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from typing import Literal

Metric = Literal["nominal", "ordinal", "interval"]
Coincidences = dict[tuple[float, float], float]


def krippendorff_alpha(units: Iterable[Sequence[float]], metric: Metric = "nominal") -> float:
    """Alpha of the answers to each unit, in any order; answers that are missing are left out.

    Args:
        units: the answers to each unit, coded as numbers, at most one of each assessor.
        metric: how far two answers differ. ``"nominal"``: equal or not; ``"ordinal"``: by how many
            answers lie between; ``"interval"``: by their difference, squared.

    Returns:
        alpha; NaN where no unit has two answers, or all answers are the same, which says nothing.

    Raises:
        ValueError: an unknown metric.
    """
    if metric not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"metric is {metric!r}; expected 'nominal', 'ordinal' or 'interval'")
    coincidences = _coincidences(units)
    totals: dict[float, float] = defaultdict(float)
    for (value, _), count in coincidences.items():
        totals[value] += count
    if len(totals) < 2:
        return math.nan
    difference = _difference(metric, totals)
    observed = sum(n * difference(c, k) for (c, k), n in coincidences.items())
    expected = sum(totals[c] * totals[k] * difference(c, k) for c, k in permutations(totals, 2))
    return 1 - (sum(totals.values()) - 1) * observed / expected


def _coincidences(units: Iterable[Sequence[float]]) -> Coincidences:
    """How often two answers to one unit are c and k: each of m answers in m - 1 pairs, over m - 1.

    So that each answer counts once, whatever the number of answers to its unit.
    """
    found: Coincidences = defaultdict(float)
    for answers in units:
        if len(answers) > 1:
            for pair in permutations(answers, 2):
                found[pair] += 1 / (len(answers) - 1)
    return found


def _difference(metric: Metric, totals: dict[float, float]) -> Callable[[float, float], float]:
    """The squared difference of two values, 0 for equal ones."""
    if metric == "nominal":
        return lambda c, k: float(c != k)
    if metric == "interval":
        return lambda c, k: (c - k) ** 2
    # The rank of a value: the answers below it, and half of those equal to it.
    ranks, below = {}, 0.0
    for value in sorted(totals):
        ranks[value] = below + totals[value] / 2
        below += totals[value]
    return lambda c, k: (ranks[c] - ranks[k]) ** 2
