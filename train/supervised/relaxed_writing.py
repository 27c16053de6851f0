"""Writing by relaxed draws, and what a discriminator says of it: both with gradients to the policy.

Step by step y = softmax((logits + g) / tau), with Gumbel noise g (see gumbel.py). The policy reads
the token drawn, argmax(logits + g), or y @ embedding; a discriminator reads y @ embedding.
"""

# Shapes: B sequences, T steps, A actions, E embedding
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...agents.policies.recurrent import RecurrentPolicy
from ...rewards.discriminators import TokenNetwork
from .gumbel import perturbed, relaxed, straight_through

Feedback = Literal["hard", "soft"]


@dataclass(frozen=True)
class RelaxedSequences:
    """What a policy writes so that a discriminator can send gradients back."""

    draws_BTA: Tensor
    """Relaxed draws, or one-hot ones with their gradient."""
    tokens_BT: Tensor
    """The tokens drawn, int64; padding behind the end."""
    mask_BT: Tensor
    """True at tokens, the end token counted."""

    def detach(self) -> RelaxedSequences:
        """The same without gradients."""
        return RelaxedSequences(self.draws_BTA.detach(), self.tokens_BT, self.mask_BT)


def write_relaxed(
    policy: RecurrentPolicy,
    batch: int,
    max_length: int,
    tau: float,
    *,
    feedback: Feedback = "hard",
    one_hot: bool = False,
) -> RelaxedSequences:
    """Let a policy write relaxed sequences, until all have ended or are ``max_length`` long.

    Random numbers are torch's. The first end token that is drawn ends a sequence, hard; what
    follows is masked.

    Args:
        policy: who writes, without dropout.
        batch: B.
        max_length: T, the end token counted.
        tau: the temperature, above 0.
        feedback: what is read next, the token or the draw.
        one_hot: straight-through: the draws are one-hot tokens, with the relaxed draws' gradient.
    """
    vocabulary, weight_AE = policy.vocabulary, policy.embedding.weight[: policy.vocabulary.bos]
    state = policy.initial_state(batch)
    tokens_B = torch.full((batch,), vocabulary.bos, device=policy.device)
    ended_B = torch.zeros_like(tokens_B, dtype=torch.bool)
    embedded_BE = policy.embedding(tokens_B)
    draws: list[Tensor] = []
    tokens: list[Tensor] = []
    while len(draws) < max_length and not bool(ended_B.all()):
        logits_BA, state = policy.step_embedded(embedded_BE, state)
        noisy_BA = perturbed(logits_BA)
        drawn_B, draw_BA = noisy_BA.argmax(dim=1), relaxed(noisy_BA, tau)
        if one_hot:
            draw_BA = straight_through(drawn_B, draw_BA)
        draw_BA = draw_BA.to(logits_BA.dtype)
        tokens_B = drawn_B.masked_fill(ended_B, vocabulary.pad)
        if vocabulary.eos is not None:
            ended_B = ended_B | (tokens_B == vocabulary.eos)
        draws.append(draw_BA)
        tokens.append(tokens_B)
        embedded_BE = policy.embedding(tokens_B) if feedback == "hard" else draw_BA @ weight_AE
    tokens_BT = torch.stack(tokens, dim=1)
    return RelaxedSequences(torch.stack(draws, dim=1), tokens_BT, tokens_BT != vocabulary.pad)


def judged(network: TokenNetwork, written: RelaxedSequences) -> Tensor:
    """A discriminator's outputs (B,) of relaxed sequences; of one-hot ones those of the tokens."""
    weight_AE = network.embedding.weight[: written.draws_BTA.shape[2]]
    mask_BT1 = written.mask_BT[:, :, None]
    return network.judge((written.draws_BTA @ weight_AE) * mask_BT1, written.mask_BT)
