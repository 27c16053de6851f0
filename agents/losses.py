"""Losses: pure functions of tensors, one idea and one source each."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from torch import Tensor


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
