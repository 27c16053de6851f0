"""Losses: pure functions of tensors, one idea and one source each."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import torch
from torch import Tensor


def constrained(logits_BTA: Tensor, allowed_BTA: Tensor | None) -> Tensor:
    """The logits with -inf at what was forbidden, so that what remains is renormalised."""
    return logits_BTA if allowed_BTA is None else logits_BTA.masked_fill(~allowed_BTA, -torch.inf)


def token_log_probs(logits_BTA: Tensor, tokens_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Log pi(y_t | y_<t) in nats, (B, T), 0 where the mask is False."""
    A = logits_BTA.shape[-1]
    chosen_BT = logits_BTA.gather(2, tokens_BT.clamp(max=A - 1)[:, :, None])[:, :, 0]
    return (chosen_BT - logits_BTA.logsumexp(dim=2)).masked_fill(~mask_BT, 0.0)


def reinforce_loss(log_probs_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """REINFORCE: -E[sum_t log pi(y_t | y_<t) A_t], the mean over sequences, in nats.

    Williams (1992), eq. 4; with A_t = Q(t), SeqGAN's eq. 8. The sum over tokens (not their mean)
    makes its gradient the policy gradient whatever the lengths. No gradient flows through the
    advantages.
    """
    weighted_BT = log_probs_BT * advantages_BT.detach().masked_fill(~mask_BT, 0.0)
    return -weighted_BT.sum() / len(log_probs_BT)


def importance_weights(log_probs_BT: Tensor, written_log_probs_BT: Tensor) -> Tensor:
    """pi(y) / mu(y) of whole sequences that mu wrote, (B,), constants.

    With them a mean over what mu wrote is a mean over what pi writes. The ratio of the whole
    sequence, not truncated: so the policy gradient stays unbiased, whatever the advantages. Both
    arguments are 0 where nobody wrote anything.
    """
    return (log_probs_BT - written_log_probs_BT).detach().sum(dim=1).exp()


def augmented_likelihood_loss(
    log_probs_B: Tensor, prior_log_probs_B: Tensor, values_B: Tensor, sigma: float
) -> Tensor:
    """E[(log prior(y) + sigma R(y) - log pi(y))^2], the mean over sequences, in nats squared.

    Olivecrona, Blaschke, Engkvist and Chen (2017), arXiv 1704.07555, section 2.3. Least where
    pi(y) is proportional to prior(y) exp(sigma R(y)), whoever wrote the sequences. Of sequences
    that pi wrote its expected gradient is -2 sigma times that of E[R] - KL(pi || prior) / sigma.
    """
    wanted_B = prior_log_probs_B.detach() + sigma * values_B
    return (wanted_B - log_probs_B).square().mean()


def kl_divergence(logits_BTA: Tensor, prior_logits_BTA: Tensor, mask_BT: Tensor) -> Tensor:
    """KL(pi || prior) of the next-token distributions, the mean over real tokens, in nats.

    The pull to the prior of Jaques et al. (2017), "Sequence Tutor", as a penalty summed over all
    actions instead of the drawn one alone, which has less variance. No gradient flows through the
    prior. Actions that a constraint hides (-inf in both) count for nothing.
    """
    hidden_BTA = logits_BTA.isneginf()
    log_p_BTA = logits_BTA.log_softmax(dim=2).masked_fill(hidden_BTA, 0.0)
    log_q_BTA = prior_logits_BTA.detach().log_softmax(dim=2).masked_fill(hidden_BTA, 0.0)
    divergence_BT = (log_p_BTA.exp() * (log_p_BTA - log_q_BTA)).sum(dim=2)
    return divergence_BT[mask_BT].mean()


def entropy(logits_BTA: Tensor, mask_BT: Tensor) -> Tensor:
    """-sum_a pi(a) log pi(a) of the next-token distributions, the mean over real tokens, in nats.

    The bonus of Williams and Peng (1991) and of A3C (Mnih et al., 2016), of the whole distribution
    at each prefix that was written; that writing otherwise leads to other prefixes is left out.
    """
    log_p_BTA = logits_BTA.log_softmax(dim=2)
    log_p_BTA = log_p_BTA.masked_fill(logits_BTA.isneginf(), 0.0)  # forbidden: p = 0
    p_BTA = logits_BTA.softmax(dim=2)
    return -(p_BTA * log_p_BTA).sum(dim=2)[mask_BT].mean()


def adapted_coefficient(coefficient: float, divergence: float, target: float) -> float:
    """The weight of a divergence in the next round, so that it is led to a target.

    Ziegler et al. (2019), arXiv 1909.08593, section 2.2: a proportional controller of log(weight),
    by a tenth of the relative error, which counts as 0.2 at most.
    """
    error = min(max(divergence / target - 1, -0.2), 0.2)
    return coefficient * (1 + 0.1 * error)


def self_imitation_loss(log_probs_B: Tensor, advantages_B: Tensor) -> Tensor:
    """-E[log pi(y) max(A, 0)] over sequences that were written earlier, or by others, in nats.

    Oh, Guo, Singh and Lee (2018), arXiv 1806.05635, eq. 2, of whole sequences: what turned out
    better than expected is imitated, what turned out worse is left alone.
    """
    return -(log_probs_B * advantages_B.detach().clamp(min=0)).mean()
