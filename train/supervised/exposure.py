"""Exposure bias, measured: how a policy's own text differs from what it was taught on.

A policy is taught on true prefixes and writes on its own (Ranzato et al., 2016, arXiv 1511.06732).
What that costs is measured here under a source whose likelihood is known: the source's own
likelihood of samples, position by position; distances of n-grams far beyond the training length;
and how well a classifier tells the hidden states of the two modes apart.

The last is bounded by how well the policy fits: hidden states are functions of the tokens, so with
k = KL(source || policy) in nats a sequence the total variation is at most sqrt(k / 2) (Pinsker),
and no classifier is right more often than 1/2 + 1/2 sqrt(k / 2) on sequences half and half.
"""

# Shapes: B sequences, T steps, H hidden units, N = 2 B sequences of both kinds
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...agents.policies import Policy
from ...agents.pretraining import log_likelihoods, seeded
from ...envs import Sequences
from ...envs.task import Source
from ..metrics import Estimate, mean_of, share_of

_STEPS = 300  # of the classifier
_WIDTH = 32


def divergence(source: Source, policy: Policy, real: Sequences) -> Estimate:
    """KL(source || policy) in nats a sequence, from samples of the source.

    The mean of log p - log m over the same samples: unbiased, and of little spread.
    """
    gap_BT = source.log_prob(real).cpu() - log_likelihoods(policy, real)
    return mean_of(gap_BT.double().sum(dim=1).tolist())


def pinsker_bound(divergence: float) -> float:
    """The highest accuracy that any classifier can have, from KL in nats a sequence."""
    return min(0.5 + 0.5 * math.sqrt(max(divergence, 0.0) / 2), 1.0)


def nll_by_position(source: Source, sequences: Sequences) -> list[Estimate]:
    """-log p under the source of the token at each position, over the sequences that reach it.

    Tokens that the source cannot write are infinite; their share is told by ``impossible_share``.
    """
    nll_BT = -source.log_prob(sequences).cpu()
    mask_BT = sequences.mask_BT.cpu() & nll_BT.isfinite()
    return [mean_of(nll_BT[mask_BT[:, t], t].tolist()) for t in range(sequences.tokens_BT.shape[1])]


def impossible_share(source: Source, sequences: Sequences) -> Estimate:
    """The share of sequences that the source cannot write."""
    impossible_B = ~source.log_prob(sequences).sum(dim=1).isfinite()
    return share_of(int(impossible_B.sum()), len(sequences))


def ngram_distance(
    first: Sequences, second: Sequences, n: int, start: int = 0, stop: int | None = None
) -> float:
    """Total variation between the n-grams of two sets, at positions from start to stop.

    1/2 sum |p - q| over all n-grams that occur; two finite sets of one source have a distance too,
    so compare it with that of a second set of the source.
    """
    counted = [_ngrams(each, n, start, stop) for each in (first, second)]
    _, place = torch.cat(counted).unique(dim=0, return_inverse=True)
    size = int(place.max()) + 1 if len(place) else 1
    split = place.split([len(each) for each in counted])
    shares = [p.bincount(minlength=size).double() / max(len(p), 1) for p in split]
    return float((shares[0] - shares[1]).abs().sum() / 2)


def _ngrams(sequences: Sequences, n: int, start: int, stop: int | None) -> Tensor:
    """The n-grams that lie within the positions and hold no padding, (number, n)."""
    tokens_BT = sequences.tokens_BT[:, start:stop].cpu()
    if tokens_BT.shape[1] < n:
        return tokens_BT.new_empty(0, n)
    grams = tokens_BT.unfold(1, n, 1).reshape(-1, n)
    return grams[(grams != sequences.vocabulary.pad).all(dim=1)]


def state_accuracy(policy: Policy, real: Sequences, own: Sequences, seed: int = 0) -> Estimate:
    """How often a classifier tells the hidden states of the two modes apart.

    The states (``policy.features``) along true sequences against those along the policy's own; the
    classifier sees their mean, their spread and the last of each sequence, learns on one half and
    is tested on the other. 0.5 is chance.

    Args:
        policy: whose states they are.
        real: of the source.
        own: as many, written by the policy.
        seed: of the classifier.

    Raises:
        ValueError: the sets are not of one size.
    """
    if len(real) != len(own):
        raise ValueError(f"{len(real)} real sequences and {len(own)} own; give as many of both")
    x_NH = torch.cat([_summary(policy, real), _summary(policy, own)]).float()
    y_N = torch.cat([torch.ones(len(real)), torch.zeros(len(own))])
    learn_N = (torch.arange(len(real)) % 2 == 0).repeat(2)
    mean_H, spread_H = x_NH[learn_N].mean(dim=0), x_NH[learn_N].std(dim=0).clamp(min=1e-6)
    x_NH = (x_NH - mean_H) / spread_H
    with seeded(seed):
        network = nn.Sequential(nn.Linear(x_NH.shape[1], _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(_STEPS):
        loss = F.binary_cross_entropy_with_logits(network(x_NH[learn_N])[:, 0], y_N[learn_N])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right_N = (network(x_NH[~learn_N])[:, 0] > 0) == (y_N[~learn_N] > 0.5)
    return share_of(int(right_N.sum()), len(right_N))


@torch.no_grad()
def _summary(policy: Policy, sequences: Sequences) -> Tensor:
    """Mean, standard deviation and last of the states along each sequence, (B, 3 H)."""
    policy.eval()
    parts: list[Tensor] = []
    for first in range(0, len(sequences), 512):
        batch = sequences[first : first + 512].to(policy.device)
        x_BTH = policy.features(batch.tokens_BT)
        weight_BT1 = (batch.mask_BT / batch.lengths_B[:, None]).to(x_BTH.dtype)[:, :, None]
        mean_BH = (weight_BT1 * x_BTH).sum(dim=1)
        square_BH = (weight_BT1 * (x_BTH - mean_BH[:, None]) ** 2).sum(dim=1)
        last_BH = x_BTH[torch.arange(len(batch)), batch.lengths_B - 1]
        parts.append(torch.cat([mean_BH, square_BH.sqrt(), last_BH], dim=1).cpu())
    return torch.cat(parts)


@dataclass(frozen=True)
class LengthBin:
    """Sequences of ``least`` to below ``below`` tokens, and the share of them that is valid."""

    least: int
    below: int
    valid: Estimate


def validity_by_length(
    sequences: Sequences, valid: Callable[[str], bool], edges: Sequence[int]
) -> list[LengthBin]:
    """The share of valid texts among sequences of each length.

    Args:
        sequences: what was written.
        valid: whether a text is.
        edges: rising numbers of tokens; a bin lies between two neighbours.
    """
    lengths = sequences.lengths_B.tolist()
    ok = [valid(text) for text in sequences.texts]
    bins = []
    for least, below in itertools.pairwise(edges):
        inside = [good for good, length in zip(ok, lengths, strict=True) if least <= length < below]
        bins.append(LengthBin(least, below, share_of(sum(inside), len(inside))))
    return bins
