"""How far samples are from data in the eyes of a policy: the MMD of its hidden states.

The policy reads a sequence with teacher forcing; the sequence's feature is the mean over its tokens
of what its output layer reads. With features x of N samples and y of M sequences of data, the
unbiased estimator of the squared maximum mean discrepancy (Gretton et al., 2012, eq. 3) is

    mean_(i != j) k(x_i, x_j) + mean_(i != j) k(y_i, y_j) - 2 mean_(i, j) k(x_i, y_j),

k(x, y) = exp(-|x - y|^2 / (2 s^2)), s^2 the median of |y_i - y_j|^2 in the first 1,000 of the data
(the median heuristic; of the data alone, so that the kernel does not depend on the samples). It is
0 in expectation where both are of one distribution, and so may be below 0. The features are the
policy's own: for a comparison of several sets take one policy for all.
"""

# Shapes: N samples, M of the data, T steps, H hidden units
from __future__ import annotations

import torch
from torch import Tensor, nn

from ...agents.policies import Policy
from ...envs import Sequences
from .estimate import LEAST, NOTHING, Estimate, by_influence

MOST = 10_000  # sequences of either set
_FOR_MEDIAN = 1_000
_CHUNK = 512


def hidden_mmd(policy: Policy, samples: Sequences, data: Sequences) -> Estimate:
    """The squared discrepancy, of the first 10,000 of each at most."""
    features_NH = hidden_states(policy, samples[:MOST])
    return squared_mmd(features_NH, hidden_states(policy, data[:MOST]))


@torch.no_grad()
def hidden_states(policy: Policy, sequences: Sequences) -> Tensor:
    """The mean over its tokens of what the output layer reads of each sequence, float64 (N, H).

    Raises:
        ValueError: the policy has no layer called ``output``.
    """
    layer = output_layer(policy)
    if layer is None:
        raise ValueError(
            f"{type(policy).__name__} has no layer 'output' whose input would be its hidden state; "
            "leave the metric mmd out"
        )
    read: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    found = []
    policy.eval()
    try:
        for first in range(0, len(sequences), _CHUNK):
            batch = sequences[first : first + _CHUNK].to(policy.device)
            policy(batch.tokens_BT)
            hidden_BTH = read.pop().double() * batch.mask_BT[:, :, None]
            found.append((hidden_BTH.sum(dim=1) / batch.lengths_B.clamp(min=1)[:, None]).cpu())
    finally:
        hook.remove()
    return torch.cat(found)


def output_layer(policy: Policy) -> nn.Module | None:
    """The layer that makes the logits of hidden states; None where there is none of that name."""
    layer = getattr(policy, "output", None)
    return layer if isinstance(layer, nn.Module) else None


def squared_mmd(x_NH: Tensor, y_MH: Tensor) -> Estimate:
    """The estimator at the top of this file.

    A U-statistic of the samples, the data given: h(x) = mean_j k(x, x_j) - mean_j k(x, y_j) is half
    a sample's influence. Where both are of one distribution the error is too large, by up to a
    factor of sqrt(2), never too small.
    """
    N, M = len(x_NH), len(y_MH)
    if min(N, M) < LEAST:
        return NOTHING
    width = median_square(y_MH)
    own_N = (kernel_sums(x_NH, x_NH, width) - 1) / (N - 1)
    data = float((kernel_sums(y_MH, y_MH, width) - 1).mean()) / (M - 1)
    across_N = kernel_sums(x_NH, y_MH, width) / M
    value = float(own_N.mean()) + data - 2 * float(across_N.mean())
    return by_influence(value, 2 * (own_N - across_N).numpy())


def kernel_sums(x_NH: Tensor, y_MH: Tensor, width: float) -> Tensor:
    """sum_j k(x_i, y_j), (N,), with s^2 the width."""
    parts = [
        torch.exp(_squares(rows, y_MH) / (-2 * width)).sum(dim=1) for rows in x_NH.split(_CHUNK)
    ]
    return torch.cat(parts)


def median_square(y_MH: Tensor) -> float:
    """The median of |y_i - y_j|^2 over pairs of different rows; 1 where it is 0."""
    y_MH = y_MH[:_FOR_MEDIAN]
    above = torch.ones(len(y_MH), len(y_MH), dtype=torch.bool).triu(diagonal=1)
    return float(_squares(y_MH, y_MH)[above].median()) or 1.0


def _squares(x_NH: Tensor, y_MH: Tensor) -> Tensor:
    """|x_i - y_j|^2, (N, M)."""
    lengths = x_NH.square().sum(dim=1)[:, None] + y_MH.square().sum(dim=1)
    return (lengths - 2 * x_NH @ y_MH.T).clamp(min=0)
