"""Proximal policy optimisation of whole sequences: recurrent and masked.

Schulman, Wolski, Dhariwal, Radford and Klimov (2017), arXiv 1707.06347. A round writes B sequences
and goes over them several times, in minibatches of whole sequences; the clipped ratio of new to old
probabilities keeps the policy near the one that wrote them.

A minibatch is read in one pass from its first tokens, cut to its longest sequence. So no states of
the network are kept beside the tokens, and none is stale. What the task's constraint forbids is
hidden as it was while writing: probabilities, entropy and divergence are those of what remains.

The reward comes with the last token. A critic spreads it over the tokens (GAE); or Monte Carlo
completions do, without a critic: a token's advantage is then what it added to the value of its
prefix, Q(t) - Q(t-1).
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from ..rewards.checks import check_choice, check_whole
from .assembled import Purpose
from .base import Batch, Values
from .checks import check_least, check_positive
from .counter_rng import fold_in
from .critic import CriticKind
from .losses import constrained, token_log_probs
from .parallel import action_values_together
from .policies import Policy
from .policy_gradient import PolicyGradientAgent
from .ppo_losses import (
    clipped_loss,
    explained_variance,
    generalized_advantages,
    mean_divergence,
    normalized,
    value_differences,
    value_loss,
)

Advantage = Literal["gae", "rollouts"]


@dataclass(frozen=True, eq=False)
class Experience:
    """What the updates of a round learn from, a row for each sequence.

    Args:
        tokens_BT: int64, what was written.
        written_BT: bool, True where the policy wrote it.
        usable_BT: bool, True where there is an advantage.
        log_probs_BT: of the tokens, under the policy that wrote them.
        advantages_BT: 0 where there is none.
        returns_BT: what the critic should have said; None without a critic.
        allowed_BTA: the constraint's masks; None without a constraint.
        prior_logits_BTA: of the pretrained policy; None where it is not asked.
        condition_B1C: what each was written under; None where the policy reads no condition.
    """

    tokens_BT: Tensor
    written_BT: Tensor
    usable_BT: Tensor
    log_probs_BT: Tensor
    advantages_BT: Tensor
    returns_BT: Tensor | None
    allowed_BTA: Tensor | None
    prior_logits_BTA: Tensor | None
    condition_B1C: Tensor | None = None

    @property
    def condition_B(self) -> Tensor | None:
        """The condition (B, C); kept with an axis of steps so that all tables are cut alike."""
        return None if self.condition_B1C is None else self.condition_B1C[:, 0]

    def __getitem__(self, rows: Tensor) -> Experience:
        """These sequences, cut to the longest of them."""
        T = int(self.written_BT[rows].any(dim=0).nonzero().max()) + 1
        tables = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(
            self, **{k: table[rows, :T] for k, table in tables.items() if table is not None}
        )


class PPO(PolicyGradientAgent):
    """PPO (Schulman et al., 2017), for sequences: recurrent and masked.

    Of several processes each reads the whole of a minibatch; they share the writing, completions
    and the scoring.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward is learnt from.
        advantage: ``"gae"``, the critic's, or ``"rollouts"``, Monte Carlo value differences.
        epochs: how often a round's sequences are gone over.
        minibatch_size: sequences an update.
        clip_range: how far the ratio of new to old probabilities counts, 1 - c to 1 + c.
        target_kl: a round's updates end where the policy is 1.5 times as far as this from the one
            that wrote, in nats a token; None: never.
        normalize_advantage: to mean 0 and standard deviation 1 in a round.
        gamma: what a reward one token later is worth.
        gae_lambda: 1 trusts the reward alone, 0 the critic's next value.
        critic: ``"head"``, an output of the policy's features, which it shapes too, or ``"own"``, a
            network like the policy's, which doubles the work.
        value_coefficient: weight of the critic's squared error, a token, in the loss.
        completions: N, of every prefix, for ``advantage="rollouts"``.
        **options: those of every policy-gradient agent.
    """

    _reads_in_shares = False

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        *,
        advantage: Advantage = "gae",
        epochs: int = 4,
        minibatch_size: int = 16,
        clip_range: float = 0.2,
        target_kl: float | None = None,
        normalize_advantage: bool = True,
        gamma: float = 1.0,
        gae_lambda: float = 0.95,
        critic: CriticKind = "head",
        value_coefficient: float = 0.5,
        completions: int = 16,
        **options: Any,
    ) -> None:
        check_choice(get_args(Advantage), advantage=advantage)
        check_choice(get_args(CriticKind), critic=critic)
        check_whole(1, epochs=epochs, minibatch_size=minibatch_size, completions=completions)
        check_least(0, value_coefficient=value_coefficient)
        check_positive(clip_range=clip_range, target_kl=1.0 if target_kl is None else target_kl)
        for name, share in (("gamma", gamma), ("gae_lambda", gae_lambda)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share!r}; expected 0 to 1")
        if advantage == "rollouts" and (gamma != 1 or options.get("overlap")):
            raise ValueError(
                f"gamma is {gamma!r} and overlap {options.get('overlap', False)!r}; both are of "
                "advantage='gae': completions are neither discounted nor scored beside the writing"
            )
        self.advantage, self.critic = advantage, critic
        self.epochs, self.minibatch_size = epochs, minibatch_size
        self.clip_range, self.target_kl = clip_range, target_kl
        self.normalize_advantage = normalize_advantage
        self.gamma, self.gae_lambda = gamma, gae_lambda
        self.value_coefficient, self.completions = value_coefficient, completions
        super().__init__(policy, env, **options)

    def _critic_kind(self) -> CriticKind | None:
        return self.critic if self.advantage == "gae" else None

    def _adopt_rewards(self) -> None:
        super()._adopt_rewards()
        assert self.task is not None
        reward = self.task.reward
        if self.advantage == "rollouts" and reward.credit != "rollouts":
            raise ValueError(
                f"advantage='rollouts' scores {self.completions} completions of every prefix, and "
                f"{reward.name!r} is a reward for finished sequences alone; use advantage='gae', "
                "or tell the objective that it is cheap, with credit='rollouts'"
            )

    # --- a round ------------------------------------------------------------------------------

    def _value(self, batch: Batch) -> Values:
        if self.advantage == "gae":
            return super()._value(batch)
        assert self.task is not None
        rollouts = action_values_together(
            self.policy,
            batch.sequences,
            self.task.reward,
            completions=self.completions,
            seed=self._seed_of(Purpose.COMPLETIONS, self.rounds),
            constraint=self.constraint,
        )
        usable_BT = batch.written_BT & (rollouts.n_BT > 0)
        q_BT = rollouts.q_BT.masked_fill(~usable_BT, 0.0)
        return Values(
            q_BT, usable_BT, rollouts.scores, {"rollout/completion_tokens": rollouts.tokens}
        )

    def _update(self, batch: Batch, values: Values) -> dict[str, float]:
        experience, metrics = self._experience(batch, values)
        scored_B = experience.usable_BT.any(dim=1).nonzero()[:, 0]
        if len(scored_B) == 0:
            self._warn_of_failures()
            return metrics
        found: list[dict[str, float]] = []
        for rows in self._minibatches(len(scored_B)):
            loss, made = self._loss(experience[scored_B[rows]])
            found.append(made)
            if self.target_kl is not None and made["train/approx_kl"] > 1.5 * self.target_kl:
                break
            made["train/grad_norm"] = self._update_policy(loss)
        for name in found[0]:
            known = [made[name] for made in found if name in made]
            metrics[name] = sum(known) / len(known)
        return metrics

    @torch.no_grad()
    def _experience(self, batch: Batch, values: Values) -> tuple[Experience, dict[str, float]]:
        """What all updates of the round learn from, and metrics of it."""
        tokens_BT, written_BT = batch.cut()
        T, condition_B = tokens_BT.shape[1], batch.sequences.condition_B
        q_BT, usable_BT = values.q_BT[:, :T], values.usable_BT[:, :T]
        assert batch.sequences.log_probs_BT is not None
        log_probs_BT = batch.sequences.log_probs_BT[:, :T]
        metrics = {"train/entropy": float(-log_probs_BT.sum() / written_BT.sum())}
        returns_BT = None
        if self.value_network is None:
            advantages_BT, usable_BT = value_differences(q_BT, usable_BT)
        else:
            values_BT = self.value_network.values(self.policy, tokens_BT, condition_B)
            lengths_B = batch.sequences.lengths_B
            rewards_B = q_BT.gather(1, lengths_B[:, None] - 1)[:, 0]
            advantages_BT = generalized_advantages(
                values_BT, rewards_B, lengths_B, self.gamma, self.gae_lambda
            )
            returns_BT = advantages_BT + values_BT
            if usable_BT.any():
                metrics["train/explained_variance"] = explained_variance(
                    values_BT[usable_BT], returns_BT[usable_BT]
                )
        if usable_BT.any():
            metrics["train/advantage_std"] = float(advantages_BT[usable_BT].std(correction=0))
            if self.normalize_advantage:
                advantages_BT = normalized(advantages_BT, usable_BT)
        experience = Experience(
            tokens_BT,
            written_BT,
            usable_BT,
            log_probs_BT,
            advantages_BT.masked_fill(~usable_BT, 0.0),
            returns_BT,
            self._allowed(tokens_BT),
            self._prior_logits(tokens_BT, condition_B),
            None if condition_B is None else condition_B[:, None],
        )
        return experience, metrics

    def _minibatches(self, rows: int) -> Iterator[Tensor]:
        """Every epoch all rows, in an order of its own."""
        seed = self._seed_of(Purpose.MINIBATCHES, self.rounds)
        for epoch in range(self.epochs):
            generator = torch.Generator().manual_seed(fold_in(seed, epoch))
            yield from torch.randperm(rows, generator=generator).split(self.minibatch_size)

    def _loss(self, batch: Experience) -> tuple[Tensor, dict[str, float]]:
        """The loss of a minibatch, every part of it a sum over the tokens of a sequence."""
        logits_BTA, values_BT = self._logits_and_values(batch.tokens_BT, batch.condition_B)
        logits_BTA = constrained(logits_BTA, batch.allowed_BTA)
        log_probs_BT = token_log_probs(logits_BTA, batch.tokens_BT, batch.usable_BT)
        log_ratios_BT = log_probs_BT - batch.log_probs_BT.masked_fill(~batch.usable_BT, 0.0)
        loss = clipped_loss(log_ratios_BT, batch.advantages_BT, self.clip_range)
        far_BT = log_ratios_BT.detach().expm1().abs() > self.clip_range
        metrics = {
            "train/policy_gradient_loss": float(loss.detach()),
            "train/approx_kl": float(mean_divergence(log_ratios_BT, batch.usable_BT)),
            "train/clip_fraction": float(far_BT.sum() / batch.usable_BT.sum()),
        }
        if batch.returns_BT is not None and values_BT is not None:
            error = value_loss(values_BT, batch.returns_BT, batch.usable_BT)
            metrics["train/value_loss"] = float(error.detach())
            tokens = batch.usable_BT.sum() / len(batch.usable_BT)
            loss = loss + self.value_coefficient * tokens * error
        pulls, more = self._pulls(logits_BTA, batch.prior_logits_BTA, batch.written_BT)
        return loss + pulls, metrics | more

    def _logits_and_values(
        self, tokens_BT: Tensor, condition_B: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The policy's, unconstrained, and the critic's; see ``_logits`` for cuDNN."""
        with torch.backends.cudnn.flags(enabled=False):
            if self.value_network is None:
                return self.policy(tokens_BT, condition_B), None
            return self.value_network.beside(self.policy, tokens_BT, condition_B)
