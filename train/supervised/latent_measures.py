"""What a latent code carries: likelihood, mutual information, active units, what a probe can read.

A decoder may ignore its code and still have the best likelihood (posterior collapse), so these
figures stand together:

- reconstruction E_q[-log p(x | z)] and KL(q(z | x) || p(z)), whose sum is the negative ELBO;
- the importance-weighted NLL, -log (1/K) sum_k p(x, z_k) / q(z_k | x) (Burda et al., 2016, arXiv
  1509.00519), nearer to -log p(x) the larger K;
- I(x; z) under q, with q(z) the mean of q(z | x) over N sequences (Hoffman and Johnson, 2016):
  KL = I + KL(q(z) || p(z)), and I <= ln N, so N belongs to the figure;
- active units: numbers of the code whose mean varies by more than 0.01 (Burda et al.);
- HSIC, a distance between the joint distribution of code and condition and the product of theirs,
  0 where they are independent (Gretton et al., 2005), which an AAE can descend.
"""

# Shapes: B sequences, N of them in an aggregate, L numbers of a code, C classes, or of a condition
from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..metrics import Estimate, mean_of, share_of
from .encoder import drawn

ACTIVE = 0.01
_ROWS = 256  # of a table of densities at a time


def log_normal(z_BL: Tensor, mean_BL: Tensor, log_var_BL: Tensor) -> Tensor:
    """Log N(z; mean, exp(log_var)), summed over the code, in nats, (B,)."""
    scaled = (z_BL - mean_BL).square() * (-log_var_BL).exp()
    return -0.5 * (scaled + log_var_BL + math.log(2 * math.pi)).sum(dim=-1)


def mutual_information(mean_NL: Tensor, log_var_NL: Tensor) -> Estimate:
    """I(x; z) in nats, one code drawn for each of N sequences by torch's generator.

    E log q(z | x) - log q(z), q(z) the mean over the N, its own sequence included, which bounds
    every term by ln N.
    """
    z_NL = drawn(mean_NL, log_var_NL)
    own_N = log_normal(z_NL, mean_NL, log_var_NL)
    together = [
        log_normal(z_RL[:, None], mean_NL, log_var_NL).logsumexp(dim=1)
        for z_RL in z_NL.split(_ROWS)
    ]
    aggregate_N = torch.cat(together) - math.log(len(z_NL))
    return mean_of((own_N - aggregate_N).double().tolist())


def active_units(mean_NL: Tensor) -> Estimate:
    """How many numbers of the code have a mean that varies over sequences by more than 0.01."""
    active = int((mean_NL.var(dim=0) > ACTIVE).sum())
    return Estimate(active, math.nan, len(mean_NL))


def importance_weighted(log_weights_KB: Tensor) -> Tensor:
    """-log of the mean of K importance weights p(x, z) / q(z | x), in nats, (B,)."""
    return math.log(len(log_weights_KB)) - log_weights_KB.logsumexp(dim=0)


def dependence(codes_BL: Tensor, condition_BC: Tensor) -> Tensor:
    """HSIC of codes and conditions as they are read; unbiased, so around 0 where independent.

    Song et al. (2012), J. Machine Learning Research 13, eq. 5. The kernel of codes is the mean of
    Gaussians with variances L / 16, L / 4 and L, near and far in a standard normal distribution;
    that of conditions a Gaussian with variance 1. Of fewer than four sequences it is 0.
    """
    n, L = codes_BL.shape
    if n < 4:
        return codes_BL.sum() * 0
    apart_BB = _squared_distances(codes_BL) / (2 * L)
    near_BB = torch.stack([(-apart_BB * narrow).exp() for narrow in (16, 4, 1)]).mean(dim=0)
    alike_BB = (-_squared_distances(condition_BC) / 2).exp()
    K, C = (each - torch.eye(n).to(each) for each in (near_BB, alike_BB))  # without the diagonal
    together = (K * C).sum() + K.sum() * C.sum() / ((n - 1) * (n - 2))
    return (together - 2 / (n - 2) * (K.sum(dim=0) * C.sum(dim=0)).sum()) / (n * (n - 3))


def _squared_distances(x_BX: Tensor) -> Tensor:
    """Of all pairs, (B, B), with gradients that are finite at 0."""
    return (x_BX[:, None] - x_BX).square().sum(dim=2)


def probe_accuracy(
    codes_BL: Tensor, labels_B: Tensor, *, hidden: int = 32, steps: int = 300
) -> Estimate:
    """The accuracy on the second half of a classifier that read labels from the first half's codes.

    A network of one hidden layer. At the share of the largest class the code tells it nothing.

    Args:
        codes_BL: in any order that has nothing to do with the labels.
        labels_B: int64, from 0.
        hidden: units of the classifier.
        steps: of Adam, each on the whole first half.
    """
    half = len(codes_BL) // 2
    codes_BL = codes_BL.detach().float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        C = int(labels_B.max()) + 1
        probe = nn.Sequential(nn.Linear(codes_BL.shape[1], hidden), nn.Tanh(), nn.Linear(hidden, C))
    adam = torch.optim.Adam(probe.parameters(), lr=0.02)
    for _ in range(steps):
        adam.zero_grad()
        F.cross_entropy(probe(codes_BL[:half]), labels_B[:half]).backward()
        adam.step()
    with torch.no_grad():
        right_B = probe(codes_BL[half:]).argmax(dim=1) == labels_B[half:]
    return share_of(int(right_B.sum()), len(right_B))
