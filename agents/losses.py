"""Losses and advantages: pure functions of tensors, one idea and one source each."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import torch
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


def leave_one_out_advantages(
    q_BT: Tensor, lengths_B: Tensor, usable_BT: Tensor
) -> tuple[Tensor, Tensor]:
    """Q minus the mean Q of the other sequences at the same step (Kool et al., 2019).

    The baseline of a token depends on other sequences only, so the gradient stays unbiased. A
    sequence that has ended keeps its last value: it is its own completion. Equal values give
    advantages of exactly 0.

    Args:
        q_BT: values; anything in the padding.
        lengths_B: numbers of tokens.
        usable_BT: False where a value is missing (failed); such cells count for nobody. The last
            token's stands for the padding after it.

    Returns:
        The advantages, 0 where there is none, and where there is one: bool (B, T).
    """
    steps_T = torch.arange(q_BT.shape[1], device=q_BT.device)
    held_BT = torch.minimum(steps_T, lengths_B[:, None] - 1)  # after the end, the last value
    usable_BT = usable_BT.gather(1, held_BT)
    q_BT = q_BT.gather(1, held_BT)
    origin = q_BT[usable_BT][0] if usable_BT.any() else q_BT.new_zeros(())
    centred_BT = torch.where(usable_BT, q_BT - origin, 0.0)
    others_BT = usable_BT.sum(dim=0) - usable_BT.long()
    baseline_BT = (centred_BT.sum(dim=0) - centred_BT) / others_BT.clamp(min=1)
    real_BT = usable_BT & (others_BT > 0) & (steps_T < lengths_B[:, None])
    return torch.where(real_BT, centred_BT - baseline_BT, 0.0), real_BT


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
