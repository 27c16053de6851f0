"""What agents that follow a policy gradient share: pulls beside the reward, all off by default.

- To the pretrained policy: prior_coefficient * KL(policy || prior), which holds what teacher
  forcing has taught (Jaques et al., 2017, "Sequence Tutor"); the coefficient is fixed, or is led so
  that the divergence stays near a target (Ziegler et al., 2019, arXiv 1909.08593, section 2.2).
- To variety: entropy_coefficient * entropy of the policy.
- To the best sequences so far, or those of a file: self-imitation (Oh et al., 2018). They come from
  other policies, and there are no importance weights: it is a pull, not a policy gradient.

All are sums over a sequence's tokens, as the policy gradient is.
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from ..envs import Vocabulary
from ..rewards.state import with_prefix
from .assembled import Purpose
from .base import Round, SequenceAgent
from .checks import check_least, check_positive
from .critic import Critic, CriticKind
from .losses import (
    adapted_coefficient,
    entropy,
    kl_divergence,
    self_imitation_loss,
    token_log_probs,
)
from .policies import Policy


class PolicyGradientAgent(SequenceAgent):
    """An agent that follows a policy gradient.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward is learnt from.
        prior_coefficient: weight of KL(policy || pretrained policy), a token, in the loss.
        prior_target: nats a token that this divergence is held near, by changing its weight from
            round to round; None keeps the weight.
        entropy_coefficient: weight of the policy's entropy, a token, that is taken off the loss.
        replay_coefficient: weight of the self-imitation of replayed sequences in the loss.
        **options: those of every agent.

    Attributes:
        prior_weight: of the divergence, as it is now.
    """

    value_network: Critic | None = None

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        *,
        prior_coefficient: float = 0.0,
        prior_target: float | None = None,
        entropy_coefficient: float = 0.0,
        replay_coefficient: float = 1.0,
        **options: Any,
    ) -> None:
        check_least(
            0,
            prior_coefficient=prior_coefficient,
            entropy_coefficient=entropy_coefficient,
            replay_coefficient=replay_coefficient,
        )
        if prior_target is not None:
            check_positive(prior_target=prior_target)
            if not prior_coefficient:
                raise ValueError(
                    f"prior_target is {prior_target} and prior_coefficient 0, from which no factor "
                    "leads away; give the weight to begin with, such as prior_coefficient=0.1"
                )
        self.prior_coefficient = self.prior_weight = prior_coefficient
        self.prior_target = prior_target
        self.entropy_coefficient = entropy_coefficient
        self.replay_coefficient = replay_coefficient
        super().__init__(policy, env, **options)

    # --- pulls --------------------------------------------------------------------------------

    def _before_learning(self) -> None:
        super()._before_learning()
        if self.prior_coefficient:
            self._keep_companion("prior")
        if self.value_network is not None and self.rounds == 0:
            self.value_network.begin_as(self.policy)  # pretrained by now

    def _train_round(self) -> Round:
        made = super()._train_round()
        if self.prior_target is not None and "train/kl_to_prior" in made.metrics:
            made.metrics["train/prior_weight"] = self.prior_weight
            divergence = made.metrics["train/kl_to_prior"]
            self.prior_weight = adapted_coefficient(
                self.prior_weight, divergence, self.prior_target
            )
        return made

    @torch.no_grad()
    def _prior_logits(self, tokens_BT: Tensor, condition_B: Tensor | None) -> Tensor | None:
        """What the pretrained policy gave the tokens' places; None where it does not pull."""
        prior = self.companions.get("prior")
        return None if prior is None else self._logits(prior, tokens_BT, condition_B)

    def _pulls(
        self, logits_BTA: Tensor, prior_logits_BTA: Tensor | None, mask_BT: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """What is added to the loss of a batch, and metrics.

        Args:
            logits_BTA: of the policy.
            prior_logits_BTA: what ``_prior_logits`` gives for the same tokens.
            mask_BT: what was written; no padding, no prompt.
        """
        tokens = mask_BT.sum() / len(mask_BT)  # a sequence; so a mean over tokens becomes a sum
        loss, metrics = logits_BTA.new_zeros(()), {}
        if prior_logits_BTA is not None:
            divergence = kl_divergence(logits_BTA, prior_logits_BTA, mask_BT)
            metrics["train/kl_to_prior"] = float(divergence.detach())
            loss = loss + self.prior_weight * tokens * divergence
        if self.entropy_coefficient:
            loss = loss - self.entropy_coefficient * tokens * entropy(logits_BTA, mask_BT)
        if self.replay_batch_size and self.replay_coefficient and len(self.replay):
            imitation = self._imitation()
            metrics["train/imitation_loss"] = float(imitation.detach())
            loss = loss + self.replay_coefficient * imitation
        return loss, metrics

    def _imitation(self) -> Tensor:
        """Self-imitation of replayed sequences that scored better than what is written now."""
        seed = self._seed_of(Purpose.REPLAY, self._n_updates)
        replayed, values_B = self._draw_replayed(seed)
        expected = values_B if self.replay.expected is None else self.replay.expected
        tokens_BT, mask_BT = replayed.tokens_BT, replayed.mask_BT
        logits_BTA = self._logits(self.policy, tokens_BT, replayed.condition_B)
        log_probs_BT = token_log_probs(logits_BTA, tokens_BT, mask_BT)
        return self_imitation_loss(log_probs_BT.sum(dim=1), values_B - expected)

    # --- a critic, for those that have one ----------------------------------------------------

    def _critic_kind(self) -> CriticKind | None:
        """Which critic there is to be; here none."""
        return None

    def _make_policy(self, vocabulary: Vocabulary) -> None:
        super()._make_policy(vocabulary)
        if (kind := self._critic_kind()) is not None:
            self.value_network = Critic(self.policy, kind)
            self.optimizer.add_param_group({"params": list(self.value_network.parameters())})

    # --- saving and loading -------------------------------------------------------------------

    def _checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, state = super()._checkpoint()
        state["prior_weight"] = self.prior_weight
        if self.value_network is not None:
            tensors |= {f"critic.{k}": v for k, v in self.value_network.state_dict().items()}
        return tensors, state

    def _setup_loaded(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        super()._setup_loaded(tensors, state)
        if self.prior_target is not None:  # else it is as it was given now
            self.prior_weight = float(state["prior_weight"])
        if self.value_network is not None:
            self.value_network.load_state_dict(with_prefix("critic", tensors))
