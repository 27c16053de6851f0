"""N-grams of tokenised texts, and how their shares differ from a reference's.

An n-gram is n consecutive tokens of one text; the end token is none. N-grams are numbered level by
level: that of tokens t .. t + n - 1 is the pair of the (n - 1)-gram before its last token, and that
token. So any n costs one sort of all occurrences.
"""

# Shapes: N texts, L tokens of all texts, E occurrences, K different n-grams
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

import numpy as np

from .estimate import Estimate
from .occurrences import Occurrences, distinct_share, jensen_shannon

Tokens = Sequence[Sequence[str]]  # the tokens of each text
DIVERGENCES = 3  # the longest n-grams whose shares are compared


def ngram_figures(texts: Tokens, reference: Tokens) -> dict[str, Estimate]:
    """distinct-1 and distinct-2, and the Jensen-Shannon divergence of n-grams, n = 1 .. 3, in bits.

    Args:
        texts: tokens of what was generated.
        reference: tokens of what it is compared with; without any there is no divergence.
    """
    distinct, divergence = {}, {}
    for n, (found, known) in enumerate(ngrams([texts, reference], DIVERGENCES), start=1):
        if n <= 2:
            distinct[f"distinct_{n}"] = distinct_share(found)
        if reference:
            divergence[f"jsd_{n}"] = jensen_shannon(found, known.totals())
    return distinct | divergence


def ngrams(corpora: Sequence[Tokens], order: int) -> Iterator[list[Occurrences]]:
    """The n-grams of each corpus for n = 1 .. order, numbered alike in all of them.

    Rows are texts in their order, and within a row the keys are.
    """
    lengths_N, tokens_L = _numbered([text for corpus in corpora for text in corpus])
    ends_N = lengths_N.cumsum()
    rows_E, places_E = np.repeat(np.arange(len(lengths_N)), lengths_N), np.arange(len(tokens_L))
    firsts = np.cumsum([0, *map(len, corpora)])
    keys_E = tokens_L
    for n in range(1, order + 1):
        if n > 1:
            room_E = places_E + n <= ends_N[rows_E]
            rows_E, places_E = rows_E[room_E], places_E[room_E]
            pairs_E = keys_E[room_E] * (tokens_L.max(initial=0) + 1) + tokens_L[places_E + n - 1]
            keys_E = np.unique(pairs_E, return_inverse=True)[1]
        bounds = np.searchsorted(rows_E, firsts)
        num_keys = int(keys_E.max(initial=-1)) + 1
        yield [
            Occurrences(rows_E[a:b] - first, keys_E[a:b], len(corpus), num_keys)
            for corpus, first, (a, b) in zip(corpora, firsts, pairwise(bounds), strict=False)
        ]


def _numbered(texts: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """The number of tokens of each text, (N,), and all their tokens as numbers, (L,)."""
    numbers: dict[str, int] = {}
    lengths_N = np.fromiter(map(len, texts), np.int64, len(texts))
    tokens = (numbers.setdefault(token, len(numbers)) for token in chain.from_iterable(texts))
    return lengths_N, np.fromiter(tokens, np.int64, int(lengths_N.sum()))
