"""Figures of generated sequences of any domain."""

# Shapes: B sequences, T steps
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from .estimate import LEAST, NOTHING, Estimate, mean_of, share_of, unique_share


def text_figures(texts: Sequence[str], reference: Iterable[str]) -> dict[str, Estimate]:
    """Uniqueness, novelty (of the distinct) and the number of characters.

    Args:
        texts: what was generated.
        reference: texts that are not new.
    """
    distinct = set(texts)
    return {
        "uniqueness": unique_share(texts),
        "novelty": share_of(len(distinct - set(reference)), len(distinct)),
        "characters": mean_of([len(text) for text in texts]),
    }


def nats_a_token(log_probs_BT: Tensor, lengths_B: Tensor) -> Estimate:
    """Negative log-likelihood in nats a token, its standard error over sequences.

    Total nats over total tokens: a ratio, whose standard error comes from its residuals.

    Args:
        log_probs_BT: log-probabilities of the tokens, 0 in the padding.
        lengths_B: numbers of tokens.
    """
    n = len(lengths_B)
    if n == 0:
        return NOTHING
    nll_B, lengths_B = -log_probs_BT.double().sum(dim=1), lengths_B.double()
    ratio = nll_B.sum() / lengths_B.sum()
    residual_B = nll_B - ratio * lengths_B
    if n < LEAST:
        return Estimate(float(ratio), math.nan, n)
    error = torch.sqrt(residual_B.square().sum() / (n - 1) / n) / lengths_B.mean()
    return Estimate(float(ratio), float(error), n)
