"""Perplexity under another policy: how unlikely a text is for a model that does not learn."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .base import Credit, Reward, Scores

if TYPE_CHECKING:
    from ..agents.policies import Policy
    from ..envs.sequences import Sequences
    from ..envs.vocabulary import Vocabulary


class Perplexity(Reward):
    """How unlikely a text is under another policy: exp(-(1/T) sum_t log p(y_t | y_<t)).

    T is the number of its tokens, the end token among them. From 1, what the policy is sure to
    write, upwards; A for a text that it finds as likely as uniformly random tokens. Less is better,
    so bring it to [0, 1] with a transform: ``ReverseSigmoid(Perplexity(policy), low=5, high=50)``.
    Text that repeats itself has a low perplexity under most policies.

    Args:
        policy: with the task's vocabulary. A copy of it is kept, in eval mode, so that what is done
            to the policy later changes no score.
    """

    name = "perplexity"
    range = (1.0, float("inf"))
    credit: Credit = "rollouts"

    def __init__(self, policy: Policy) -> None:
        if not isinstance(policy, nn.Module) or not hasattr(policy, "vocabulary"):
            raise TypeError(
                f"policy is {policy!r}; expected a policy, such as load_agent(path).policy, so "
                "perplexity is made in Python and not in an expression"
            )
        self.policy = deepcopy(policy).eval().requires_grad_(False)

    def prepare(self, vocabulary: Vocabulary, max_length: int, device: torch.device | str) -> None:
        """Go to the device.

        Raises:
            ValueError: the policy writes with another vocabulary.
        """
        self._check(vocabulary)
        self.policy.to(device)

    @torch.no_grad()
    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences.

        Raises:
            ValueError: they are of another vocabulary than the policy's.
        """
        self._check(sequences.vocabulary)
        logits_BTA = self.policy(sequences.tokens_BT)
        nats_B = -_log_likelihood(logits_BTA, sequences) / sequences.lengths_B.clamp(min=1)
        highest = torch.finfo(torch.float32).max  # where the policy gives a token no probability
        return Scores.of(self.name, nats_B.double().exp().clamp(max=highest))

    def _check(self, vocabulary: Vocabulary) -> None:
        if vocabulary is not self.policy.vocabulary and vocabulary != self.policy.vocabulary:
            raise ValueError(
                f"perplexity: the policy writes {self.policy.vocabulary} and the task "
                f"{vocabulary}; make the task with vocabulary=policy.vocabulary"
            )


def _log_likelihood(logits_BTA: Tensor, sequences: Sequences) -> Tensor:
    """sum_t log p(y_t | y_<t) in nats, (B,)."""
    actions_BT = sequences.tokens_BT.clamp(max=logits_BTA.shape[-1] - 1)
    chosen_BT = logits_BTA.log_softmax(dim=2).gather(2, actions_BT[:, :, None])[:, :, 0]
    return chosen_BT.masked_fill(~sequences.mask_BT, 0.0).sum(dim=1)
