"""BLEU against references, and Self-BLEU of a set against itself.

BLEU of one text (Papineni et al., 2002), as the reward ``bleu`` has it: the geometric mean over
n = 1 .. k of the shares of its n-grams that occur in a reference, times exp(1 - r / c) when its c
tokens are fewer than the r of the reference nearest in length (of two, the shorter). An n-gram
counts as often as in the reference that has it most. Smoothing is method 3 of Chen and Cherry
(2014), that of NIST: where no n-gram of an order matches, half of one is counted at the first such
order, a quarter at the second, ...; a text without any match has 0. Orders longer than the text are
left out.

BLEU says how much of what is written occurs in the data. Self-BLEU (Zhu et al., 2018, Texygen,
arXiv 1802.01886) is the mean BLEU of each text against all others, never itself: how much the texts
repeat each other. Either rises with the number of references, so compare sets of one size.

All texts are references of all, so only the most and the second most that any text has of an n-gram
are needed: the most that *another* text has is the second for the text that has most, and the first
for the rest. The cost is one sort of all n-grams of an order, whatever the number of pairs.
"""

# Shapes: N texts, E lines: pairs of a text and an n-gram that it has, K different n-grams
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .estimate import LEAST, NOTHING, Estimate, by_jackknife, mean_of
from .ngrams import Tokens, ngrams
from .occurrences import Occurrences

ORDERS = (2, 3, 4, 5)
GROUPS = 20  # of the jackknife


def bleu_figures(texts: Tokens, reference: Tokens) -> dict[str, Estimate]:
    """The means of BLEU-2 .. BLEU-5 against a reference of at least one text."""
    lengths_N, references = _lengths(texts), np.unique(_lengths(reference))
    matches = []
    for found, known in ngrams([texts, reference], max(ORDERS)):
        lines = Lines.of(found)
        matches.append(lines.matches(Lines.of(known).most()[lines.keys_E]))
    scores = bleu(matches, lengths_N, _nearest(lengths_N, references))
    return {f"bleu_{k}": mean_of(scores_N.tolist()) for k, scores_N in scores.items()}


def self_bleu_figures(texts: Tokens) -> dict[str, Estimate]:
    """The means of Self-BLEU-2 .. Self-BLEU-5; NaN for a single text.

    The scores depend on each other, so their spread is not that of their mean: the standard error
    is the jackknife's over 20 groups of texts.
    """
    N = len(texts)
    if N < 2:
        return {f"self_bleu_{k}": NOTHING for k in ORDERS}
    lines = [Lines.of(found) for (found,) in ngrams([texts], max(ORDERS))]
    lengths_N, G = _lengths(texts), min(GROUPS, N) if N >= LEAST else 0
    whole = _self_bleu(lines, lengths_N, np.ones(N, bool))
    without = [_self_bleu(lines, lengths_N, np.arange(N) % G != group) for group in range(G)]
    return {
        f"self_bleu_{k}": by_jackknife(value, np.array([other[k] for other in without]), N)
        for k, value in whole.items()
    }


def _self_bleu(
    lines: Sequence[Lines], lengths_N: np.ndarray, rows_N: np.ndarray
) -> dict[int, float]:
    """The means over the texts that ``rows_N`` keeps, as if there were no others."""
    kept = [each.kept(rows_N) for each in lines]
    matches = [each.matches(each.most_of_others())[rows_N] for each in kept]
    lengths_N = lengths_N[rows_N]
    scores = bleu(matches, lengths_N, _nearest_of_others(lengths_N))
    return {k: float(scores_N.mean()) for k, scores_N in scores.items()}


def bleu(
    matches: Sequence[np.ndarray], lengths_N: np.ndarray, nearest_N: np.ndarray
) -> dict[int, np.ndarray]:
    """BLEU-k of N texts for each k of ``ORDERS``, as the top of this file says.

    Args:
        matches: for n = 1, 2, ... how many n-grams of each text are matched, (N,).
        lengths_N: numbers of tokens.
        nearest_N: the number of tokens of the reference nearest in length.
    """
    logs_N, missing_N, orders_N = np.zeros((3, len(lengths_N)))
    brevity_N = np.minimum(1 - nearest_N / np.maximum(lengths_N, 1), 0.0)
    any_N = np.zeros(len(lengths_N), bool)
    scores = {}
    for n, matched_N in enumerate(matches, start=1):
        written_N = lengths_N - n + 1  # n-grams that the text has
        missing_N += (matched_N == 0) & (written_N > 0)
        counted_N = np.where(matched_N > 0, matched_N, 0.5**missing_N)
        logs_N += np.where(written_N > 0, np.log(counted_N / np.maximum(written_N, 1)), 0.0)
        orders_N += written_N > 0
        any_N |= matched_N > 0
        if n in ORDERS:
            scores[n] = np.exp(logs_N / np.maximum(orders_N, 1) + brevity_N) * any_N
    return scores


@dataclass(frozen=True)
class Lines:
    """How often texts have n-grams: a line for each pair, by n-gram and then falling count.

    Args:
        keys_E: the n-gram.
        rows_E: the text.
        counts_E: how often.
        shape: N, K.
    """

    keys_E: np.ndarray
    rows_E: np.ndarray
    counts_E: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, found: Occurrences) -> Lines:
        """Count and sort them."""
        pairs_E, counts_E = np.unique(
            found.keys_E * found.num_rows + found.rows_E, return_counts=True
        )
        keys_E, rows_E = pairs_E // found.num_rows, pairs_E % found.num_rows
        order_E = np.lexsort((-counts_E, keys_E))
        shape = found.num_rows, found.num_keys
        return cls(keys_E[order_E], rows_E[order_E], counts_E[order_E], shape)

    def kept(self, rows_N: np.ndarray) -> Lines:
        """Those of some texts alone, bool (N,)."""
        kept_E = rows_N[self.rows_E]
        return Lines(self.keys_E[kept_E], self.rows_E[kept_E], self.counts_E[kept_E], self.shape)

    def most(self) -> np.ndarray:
        """The most that a text has of each n-gram, (K,)."""
        most_K = np.zeros(self.shape[1], np.int64)
        first_E = self._first()
        most_K[self.keys_E[first_E]] = self.counts_E[first_E]
        return most_K

    def most_of_others(self) -> np.ndarray:
        """The most that another text has of the n-gram of each line, (E,)."""
        first_E = self._first()
        others_E: np.ndarray = self.most()[self.keys_E]
        next_E = np.append(self.counts_E[1:], 0)
        alone_E = np.append(first_E[1:], True)  # no text after it has the n-gram
        others_E[first_E] = np.where(alone_E, 0, next_E)[first_E]
        return others_E

    def matches(self, most_E: np.ndarray) -> np.ndarray:
        """How many n-grams of each text are matched, (N,), each line as often as ``most_E``."""
        matched_E = np.minimum(self.counts_E, most_E)
        matched_N: np.ndarray = np.bincount(self.rows_E, matched_E, minlength=self.shape[0])
        return matched_N

    def _first(self) -> np.ndarray:
        """Is it the line of the text that has most of its n-gram? (E,)."""
        first_E: np.ndarray = np.append(True, self.keys_E[1:] != self.keys_E[:-1])
        return first_E[: len(self.keys_E)]


def _lengths(texts: Tokens) -> np.ndarray:
    return np.fromiter(map(len, texts), np.int64, len(texts))


def _nearest(lengths_N: np.ndarray, references_R: np.ndarray) -> np.ndarray:
    """The nearest of sorted lengths to each, (N,); of two as near, the shorter."""
    above_N = np.searchsorted(references_R, lengths_N).clip(max=len(references_R) - 1)
    below_N = (above_N - 1).clip(min=0)
    high_N, low_N = references_R[above_N], references_R[below_N]
    nearest_N: np.ndarray = np.where(
        abs(lengths_N - low_N) <= abs(high_N - lengths_N), low_N, high_N
    )
    return nearest_N


def _nearest_of_others(lengths_N: np.ndarray) -> np.ndarray:
    """The length nearest to each among the others."""
    different_R, counts_R = np.unique(lengths_N, return_counts=True)
    nearest_R = different_R.copy()  # of a length that another text has, too
    for place in np.flatnonzero(counts_R == 1):
        others = np.delete(different_R, place)
        nearest_R[place] = _nearest(different_R[place : place + 1], others)[0]
    nearest_N: np.ndarray = nearest_R[np.searchsorted(different_R, lengths_N)]
    return nearest_N
