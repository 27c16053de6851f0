"""Scheduled sampling: read one's own token now and then, more often as the fit goes on.

Bengio et al. (2015), arXiv 1506.03099. A coin is thrown for every token: with probability eps_i the
next input is the true token, else one drawn from the model's own distribution. eps falls with the
step i:

    linear           max(lowest, k - c i)
    exponential      k^i, k < 1
    inverse sigmoid  k / (k + exp(i / k)), k >= 1

No gradient passes through the drawn token. The objective is improper (Huszar, 2015, arXiv
1511.05101): with eps at 0 the inputs say nothing of the true prefix, and what is learnt is each
position's marginal distribution, not the source.
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ...agents.checks import check_least, check_positive
from ...agents.losses import token_log_probs
from ...agents.policies import Policy
from ...envs import Sequences
from ...envs.categorical import sample_categorical
from .learner import Learner

Decay = Literal["linear", "exponential", "inverse_sigmoid"]
_DEFAULT_K = {"linear": 1.0, "exponential": 0.999, "inverse_sigmoid": 300.0}


class ScheduledSampling(Learner):
    """Teacher forcing with some inputs the policy's own; ``Learner`` documents the other arguments.

    Steps are taken one by one, without the policy's dropout, which its single step has not.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        decay: ``"linear"``, ``"exponential"`` or ``"inverse_sigmoid"``.
        k: of the decay; by default 1, 0.999 or 300.
        c: of the linear decay, a step.
        lowest: eps does not fall below it.
        **options: of ``Learner``.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        *,
        decay: Decay = "linear",
        k: float | None = None,
        c: float = 1e-3,
        lowest: float = 0.0,
        **options: Any,
    ) -> None:
        if decay not in get_args(Decay):
            raise ValueError(f"decay is {decay!r}; expected one of {', '.join(get_args(Decay))}")
        k = _DEFAULT_K[decay] if k is None else k
        check_positive(k=k)
        check_least(0, c=c, lowest=lowest)
        if lowest > 1 or (decay == "exponential" and k > 1) or (decay != "linear" and k == 1):
            raise ValueError(
                f"k is {k} and lowest is {lowest}; expected k below 1 for exponential, above 1 for "
                "inverse_sigmoid, and lowest at most 1"
            )
        self.decay, self.k, self.c, self.lowest = decay, k, c, lowest
        super().__init__(policy, **options)

    def truth_share(self, step: int) -> float:
        """eps_i, the probability that an input is the true token."""
        if self.decay == "linear":
            share = self.k - self.c * step
        elif self.decay == "exponential":
            share = self.k**step
        else:
            share = self.k / (self.k + math.exp(min(step / self.k, 700.0)))
        return min(max(share, self.lowest), 1.0)

    def training_step(self, batch: Sequences, step: int) -> dict[str, float]:
        """Down the negative log-likelihood of the true tokens, in nats a token."""
        share = self.truth_share(step)
        logits_BTA = mixed_pass(self.policy, batch.tokens_BT, share)
        log_probs_BT = token_log_probs(logits_BTA, batch.tokens_BT, batch.mask_BT)
        nll = -log_probs_BT.sum() / batch.num_tokens
        norm = self.descend(nll)
        return {"nll": float(nll.detach()), "gradient_norm": norm, "truth_share": share}


def mixed_pass(policy: Policy, tokens_BT: Tensor, truth_share: float) -> Tensor:
    """Logits (B, T, A) where each input is the true token with a probability, else a drawn one.

    Random numbers are torch's; no gradient passes through what is drawn.
    """
    state = policy.initial_state(len(tokens_BT))
    input_B = tokens_BT.new_full((len(tokens_BT),), policy.vocabulary.bos)
    columns: list[Tensor] = []
    for truth_B in tokens_BT.unbind(dim=1):
        logits_BA, state = policy.step(input_B, state)
        columns.append(logits_BA)
        uniforms_2B = torch.rand(2, len(tokens_BT), device=logits_BA.device, dtype=logits_BA.dtype)
        drawn_B = sample_categorical(logits_BA.detach(), uniforms_2B[0])
        input_B = torch.where(uniforms_2B[1] < truth_share, truth_B, drawn_B)
    return torch.stack(columns, dim=1)
