"""Figures of how often things occur: fragments, scaffolds, n-grams, notes.

Samples are rows, each with any number of keys. What is compared with a reference is the sum over
all rows, so a sample's share of a figure's error is linear in its keys: standard errors are by the
delta method, or by the jackknife in closed form.
"""

# Shapes: N samples, E occurrences, K keys
from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np

from .estimate import NOTHING, Estimate, by_influence, by_jackknife

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Occurrences:
    """E occurrences of keys 0 .. K - 1 in N rows; a key may occur in a row more than once.

    Args:
        rows_E: int64, which row.
        keys_E: int64, which key.
        num_rows: N.
        num_keys: K.
    """

    rows_E: np.ndarray
    keys_E: np.ndarray
    num_rows: int
    num_keys: int

    def totals(self) -> np.ndarray:
        """How often each key occurs in all, float64 (K,)."""
        return np.bincount(self.keys_E, minlength=self.num_keys).astype(float)

    def sums(self, weights_K: np.ndarray) -> np.ndarray:
        """The sum of the weights of each row's keys, float64 (N,)."""
        return np.bincount(self.rows_E, weights_K[self.keys_E], minlength=self.num_rows)


def against(
    rows: Sequence[Iterable[Key]], reference: Mapping[Key, float]
) -> tuple[Occurrences, np.ndarray]:
    """The keys of N samples as numbers, and how often each occurs in the reference, (K,)."""
    numbers: dict[Key, int] = {key: number for number, key in enumerate(reference)}
    keys = [[numbers.setdefault(key, len(numbers)) for key in row] for row in rows]
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    keys_E = np.fromiter(chain.from_iterable(keys), np.int64, int(lengths.sum()))
    totals_K = np.zeros(len(numbers))
    totals_K[: len(reference)] = list(reference.values())
    rows_E = np.repeat(np.arange(len(keys)), lengths)
    return Occurrences(rows_E, keys_E, len(keys), len(numbers)), totals_K


def cosine_similarity(found: Occurrences, reference_K: np.ndarray) -> Estimate:
    """Cosine g . r / (|g| |r|) of the counts g of all rows and r of the reference, in [0, 1].

    NaN where either holds nothing. No length of g matters, so its gradient is at right angles to g
    and the influence of a row is N times the gradient's product with the row's counts.
    """
    g_K = found.totals()
    size, reference_size = np.linalg.norm(g_K), np.linalg.norm(reference_K)
    if not size or not reference_size:
        return NOTHING
    value = float(g_K @ reference_K / (size * reference_size))
    gradient_K = (reference_K / reference_size - value * g_K / size) / size
    return by_influence(min(value, 1.0), found.num_rows * found.sums(gradient_K))


def jensen_shannon(found: Occurrences, reference_K: np.ndarray) -> Estimate:
    """Jensen-Shannon divergence of the shares of keys, in bits, in [0, 1] (Lin, 1991).

    With p the shares in all rows, q those in the reference and m = (p + q) / 2,

        JSD = KL(p || m) / 2 + KL(q || m) / 2,    dJSD / dp_k = log2(p_k / m_k) / 2.

    NaN where either holds nothing. Two finite sets of one distribution are apart by more than 0:
    about (K - 1) (1 / n + 1 / n') / (8 ln 2) with n and n' occurrences of K common keys.
    """
    g_K = found.totals()
    if not g_K.sum() or not reference_K.sum():
        return NOTHING
    p_K, q_K = g_K / g_K.sum(), reference_K / reference_K.sum()
    m_K = (p_K + q_K) / 2
    log_p_K, log_q_K = _log_ratio(p_K, m_K), _log_ratio(q_K, m_K)
    own = float(p_K @ log_p_K)
    lengths_N = found.sums(np.ones(found.num_keys))
    influence_N = (found.sums(log_p_K) - lengths_N * own) / (2 * lengths_N.mean())
    return by_influence(max((own + float(q_K @ log_q_K)) / 2, 0.0), influence_N)


def distinct_share(found: Occurrences) -> Estimate:
    """Different keys divided by occurrences, in [0, 1]: distinct-n for n-grams.

    Li et al. (2016, arXiv 1510.03055). The standard error is the jackknife's over rows: without a
    row the occurrences are fewer by its own, the different keys by those that no other row has.
    """
    occurrences = len(found.keys_E)
    if not occurrences:
        return NOTHING
    rows_of_keys = np.unique(found.keys_E * found.num_rows + found.rows_E)  # each pair once
    keys, rows = rows_of_keys // found.num_rows, rows_of_keys % found.num_rows
    holders_K = np.bincount(keys, minlength=found.num_keys)
    own_N = np.bincount(rows, holders_K[keys] == 1, minlength=found.num_rows)
    lengths_N = found.sums(np.ones(found.num_keys))
    different = np.count_nonzero(holders_K)
    without_N = (different - own_N) / np.maximum(occurrences - lengths_N, 1)
    return by_jackknife(different / occurrences, without_N, found.num_rows)


def _log_ratio(p_K: np.ndarray, m_K: np.ndarray) -> np.ndarray:
    """log2(p / m), 0 where p is 0.

    A key that no row has counts for nothing: its derivative is multiplied by no occurrence.
    """
    ratio: np.ndarray = np.log2(np.divide(p_K, m_K, out=np.ones_like(p_K), where=p_K > 0))
    return ratio
