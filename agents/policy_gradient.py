"""What agents that follow a policy gradient share: pulls beside the reward, all off by default.

- To the pretrained policy: prior_coefficient * KL(policy || prior), which holds what teacher
  forcing has taught (Jaques et al., 2017, "Sequence Tutor").
- To variety: entropy_coefficient * entropy of the policy.

Both are sums over a sequence's tokens, as the policy gradient is.
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from .base import SequenceAgent
from .checks import check_least
from .losses import entropy, kl_divergence
from .policies import Policy


class PolicyGradientAgent(SequenceAgent):
    """An agent that follows a policy gradient.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward is learnt from.
        prior_coefficient: weight of KL(policy || pretrained policy), a token, in the loss.
        entropy_coefficient: weight of the policy's entropy, a token, that is taken off the loss.
        **options: those of every agent.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        *,
        prior_coefficient: float = 0.0,
        entropy_coefficient: float = 0.0,
        **options: Any,
    ) -> None:
        check_least(0, prior_coefficient=prior_coefficient, entropy_coefficient=entropy_coefficient)
        self.prior_coefficient = prior_coefficient
        self.entropy_coefficient = entropy_coefficient
        super().__init__(policy, env, **options)

    def _before_learning(self) -> None:
        super()._before_learning()
        if self.prior_coefficient:
            self._keep_companion("prior")

    def _pulls(
        self, logits_BTA: Tensor, tokens_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """What is added to the loss of a batch, and metrics.

        Args:
            logits_BTA: of the policy.
            tokens_BT: what was written.
            mask_BT: where; no padding, no prompt.
        """
        tokens = mask_BT.sum() / len(mask_BT)  # a sequence; so a mean over tokens becomes a sum
        loss, metrics = logits_BTA.new_zeros(()), {}
        if prior := self.companions.get("prior"):
            with torch.no_grad():
                prior_logits_BTA = self._logits(prior, tokens_BT)
            divergence = kl_divergence(logits_BTA, prior_logits_BTA, mask_BT)
            metrics["train/kl_to_prior"] = float(divergence.detach())
            loss = loss + self.prior_coefficient * tokens * divergence
        if self.entropy_coefficient:
            loss = loss - self.entropy_coefficient * tokens * entropy(logits_BTA, mask_BT)
        return loss, metrics
