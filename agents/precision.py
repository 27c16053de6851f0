"""Lower precision while writing: a policy's weights rounded, and what that does to what it writes.

Products of matrices in bfloat16 are twice as fast on processors that have instructions for them.
The rounded policy is another distribution, close to the first; how close is measured here. What is
drawn is an exact draw of the rounded one: CDFs are summed in float32 at least.
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from ..envs import Sequences
from .policies import Policy


def in_precision(policy: Policy, dtype: torch.dtype | None) -> Policy:
    """The policy with its weights rounded to ``dtype``; itself where it has that or None is asked.

    Raises:
        ValueError: this is no type of real numbers.
    """
    if dtype is None or dtype == policy.dtype:
        return policy
    if not dtype.is_floating_point:
        raise ValueError(f"dtype is {dtype}; expected a type of real numbers, or None")
    with torch.no_grad():
        return deepcopy(policy).to(dtype).eval()


def at_least_float32(logits: Tensor) -> Tensor:
    """Uniforms have 24 bits, more than half precision can hold."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@dataclass(frozen=True)
class DistributionChange:
    """How far the next-token distributions of two precisions are apart, over real tokens.

    Args:
        kl: the mean of KL(exact || rounded), in nats a token.
        total_variation: the mean of the total variation distance, in [0, 1]: the share of draws
            that would have to differ.
        largest_total_variation: of any token.
    """

    kl: float
    total_variation: float
    largest_total_variation: float


@torch.no_grad()
def distribution_change(
    policy: Policy, sequences: Sequences, dtype: torch.dtype
) -> DistributionChange:
    """What ``dtype`` changes in the distributions that a policy draws from, along given sequences.

    Step by step, as in rollouts, so that the rounding of the carried state is in it.

    Args:
        policy: in its own precision, the one that is compared with.
        sequences: whose prefixes are read; at least one.
        dtype: of the rounded weights.
    """
    mask_BT = sequences.mask_BT.to(policy.device)
    if not mask_BT.any():
        raise ValueError("there are no tokens to compare the distributions at; give sequences")
    tokens_BT = policy.shifted(sequences.tokens_BT.to(policy.device))
    rounded = in_precision(policy, dtype)
    total_kl, total_distance, largest = 0.0, 0.0, 0.0
    with policy.fixed_weights(), rounded.fixed_weights():
        states = [each.initial_state(len(tokens_BT)) for each in (policy, rounded)]
        for t, tokens_B in enumerate(tokens_BT.unbind(dim=1)):
            logits_BA, states[0] = policy.step(tokens_B, states[0])
            rounded_BA, states[1] = rounded.step(tokens_B, states[1])
            log_p_BA = logits_BA[mask_BT[:, t]].double().log_softmax(dim=1)
            log_q_BA = rounded_BA[mask_BT[:, t]].double().log_softmax(dim=1)
            p_BA, here_BA = log_p_BA.exp(), log_p_BA > -torch.inf
            total_kl += float(torch.where(here_BA, p_BA * (log_p_BA - log_q_BA), 0.0).sum())
            distance_B = (p_BA - log_q_BA.exp()).abs().sum(dim=1) / 2
            total_distance += float(distance_B.sum())
            largest = max(largest, *distance_B.tolist(), 0.0)
    tokens = int(mask_BT.sum())
    return DistributionChange(total_kl / tokens, total_distance / tokens, largest)
