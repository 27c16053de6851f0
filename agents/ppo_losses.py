"""PPO's losses and advantages: pure functions of tensors, one idea and one source each.

Proximal policy optimisation: Schulman, Wolski, Dhariwal, Radford and Klimov (2017), arXiv
1707.06347. Left out: clipping the value loss, which does not help (Andrychowicz et al., 2021, arXiv
2006.05990).
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .advantages import leave_one_out_advantages


def generalized_advantages(
    values_BT: Tensor, rewards_B: Tensor, lengths_B: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """GAE: A_t = sum_k (gamma lambda)^k delta_(t+k), with delta_t = r_t + gamma V_(t+1) - V_t.

    Schulman, Moritz, Levine, Jordan and Abbeel (2016), arXiv 1506.02438, eq. 16. The reward comes
    once, with the last token, after which nothing is worth anything. With gamma = lambda = 1 this
    is R - V_t, unbiased whatever V is; a smaller lambda has less variance and leans on V.

    Args:
        values_BT: V of the tokens before t; anything in the padding.
        rewards_B: R of the finished sequences.
        lengths_B: numbers of tokens, at least 1.
        gamma: what a reward one token later is worth.
        gae_lambda: the share of the reward itself, against the critic's word, in each further step.

    Returns:
        The advantages, (B, T), 0 in the padding.
    """
    steps_T = torch.arange(values_BT.shape[1], device=values_BT.device)
    left_BT = lengths_B[:, None] - steps_T  # tokens from t on
    values_BT = values_BT.masked_fill(left_BT <= 0, 0.0)
    rewards_BT = torch.where(left_BT == 1, rewards_B[:, None], 0.0)
    deltas_BT = rewards_BT + gamma * F.pad(values_BT[:, 1:], (0, 1)) - values_BT
    advantages_BT, after_B = torch.zeros_like(values_BT), torch.zeros_like(rewards_B)
    for t in range(values_BT.shape[1] - 1, -1, -1):
        after_B = deltas_BT[:, t] + gamma * gae_lambda * after_B
        advantages_BT[:, t] = after_B
    return advantages_BT


def value_differences(q_BT: Tensor, usable_BT: Tensor) -> tuple[Tensor, Tensor]:
    """A_t = Q(t) - Q(t-1): what token t added to the value of its prefix.

    Q(t-1) comes from completions of the tokens before t that do not see it, so as a baseline it
    leaves the gradient unbiased; it is V(y_<t) itself, estimated. The first token's baseline is the
    mean of the other sequences' Q(0), which all begin with nothing. Equal values give advantages of
    exactly 0.

    Args:
        q_BT: Monte Carlo values of prefixes that end with token t.
        usable_BT: where there is one; False in the padding.

    Returns:
        The advantages, 0 where there is none, and where there is one: bool (B, T).
    """
    ones_B = torch.ones(len(q_BT), dtype=torch.int64, device=q_BT.device)
    first_B1, known_B1 = leave_one_out_advantages(q_BT[:, :1], ones_B, usable_BT[:, :1])
    later_BT = q_BT[:, 1:] - q_BT[:, :-1]
    known_BT = torch.cat([known_B1, usable_BT[:, 1:] & usable_BT[:, :-1]], dim=1)
    return torch.cat([first_B1, later_BT], dim=1).masked_fill(~known_BT, 0.0), known_BT


def normalized(advantages_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Advantages of mean 0 and standard deviation 1 over real tokens, 0 elsewhere.

    They are taken less one of them first, so that equal ones give exactly 0.
    """
    chosen = advantages_BT[mask_BT]
    off = chosen - chosen[0]
    normal = (off - off.mean()) / (off.std(correction=0) + 1e-8)
    return torch.zeros_like(advantages_BT).masked_scatter(mask_BT, normal)


def clipped_loss(log_ratios_BT: Tensor, advantages_BT: Tensor, clip_range: float) -> Tensor:
    """Clipped surrogate: -E[sum_t min(r_t A_t, clip(r_t, 1 - c, 1 + c) A_t)], r = pi / pi_old.

    Schulman et al. (2017), eq. 7, the mean over sequences of the sum over tokens: at r = 1 its
    gradient is that of ``reinforce_loss``.

    Args:
        log_ratios_BT: log pi - log pi_old of the tokens, nats; 0 where there is nothing to learn.
        advantages_BT: constants; 0 where there is nothing to learn.
        clip_range: c.
    """
    ratios_BT = log_ratios_BT.exp()
    clipped_BT = ratios_BT.clamp(1 - clip_range, 1 + clip_range)
    advantages_BT = advantages_BT.detach()
    gains_BT = torch.minimum(ratios_BT * advantages_BT, clipped_BT * advantages_BT)
    return -gains_BT.sum() / len(gains_BT)


def value_loss(values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The squared error of the values, the mean over real tokens."""
    errors_BT = (values_BT - returns_BT.detach()).masked_fill(~mask_BT, 0.0)
    return errors_BT.square().sum() / mask_BT.sum()


def mean_divergence(log_ratios_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """An estimate of KL(pi_old || pi) a token, in nats, from tokens that pi_old drew.

    E[r - 1 - log r] with r = pi / pi_old: unbiased, never negative, of little variance (Schulman,
    2020, "Approximating KL divergence").
    """
    log_ratios_BT = log_ratios_BT.detach().masked_fill(~mask_BT, 0.0)
    return (log_ratios_BT.expm1() - log_ratios_BT).sum() / mask_BT.sum()


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(R - V) / Var(R): 1: the critic knows all, 0: nothing; of equal returns 0."""
    spread = returns.var(correction=0)
    left = (returns - values).var(correction=0)
    return float(1 - left / spread) if spread > 0 else 0.0
