"""SeqGAN: sequence generative adversarial nets with policy gradient.

Yu, Zhang, Wang and Yu (2017), arXiv 1609.05473. The policy writes; a discriminator learns to tell
what it writes from what is real; the policy is rewarded for what the discriminator takes for real,
each token by the mean score of N completions of its prefix. That is REINFORCE with another value of
a token.

Each part of the reward gets its credit its own way: what is cheap (``credit = "rollouts"``, the
discriminators) scores every completion; what is dear (``"terminal"``) scores the finished sequence
once, and its value goes to every token.

Unlike the paper, rewards are centred by default (leave-one-out over the batch), so that a constant
reward changes nothing; ``baseline="none"`` is the paper's plain form. The reward is centred, not
whitened: its scale keeps its meaning.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from ..envs import Sequences
from ..rewards import Reward, Scores, Sum
from ..rewards.base import Credit, total_scores
from ..rewards.checks import check_choice, check_whole
from .assembled import Purpose
from .base import Batch, Values
from .completions import Scheme
from .parallel import action_values_together, scores_of_first
from .policies import Policy
from .reinforce import Reinforce
from .rollouts import Rollouts

Terms = list[tuple[float, Reward]]


class SeqGAN(Reinforce):
    """SeqGAN (Yu et al., 2017): rewarded for what a discriminator takes for real.

    With ``overlap`` terminal objectives score a batch while its completions are written and scored;
    the numbers are the same to the bit. The next batch is not written ahead: that is a small part
    of a round with completions.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward has a discriminator in it.
        completions: N, completions of every prefix.
        scheme: how they are spent, all without bias: ``"plain"``, ``"systematic"``,
            ``"arithmetic"``, ``"reuse"`` or ``"backward"``; see rollouts.py.
        rollout_update: the share of the policy's weights that the rollout policy takes over after
            every update; 1 rolls out with the policy itself. The paper's code has 0.2.
        rollout_dtype: of its weights while it writes completions, ``"bfloat16"``; None is its own.
        **options: those of ``Reinforce``.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        *,
        completions: int = 16,
        scheme: Scheme = "backward",
        rollout_update: float = 1.0,
        rollout_dtype: Literal["bfloat16"] | None = None,
        **options: Any,
    ) -> None:
        if rollout_dtype not in (None, "bfloat16"):
            raise ValueError(f"rollout_dtype is {rollout_dtype!r}; expected 'bfloat16' or None")
        if not 0 < rollout_update <= 1:
            raise ValueError(f"rollout_update is {rollout_update}; expected more than 0, at most 1")
        check_whole(1, completions=completions)
        check_choice(get_args(Scheme), scheme=scheme)
        self.completions, self.scheme = completions, scheme
        self.rollout_update = rollout_update
        self.rollout_dtype = rollout_dtype
        super().__init__(policy, env, **options)

    def _adopt_rewards(self) -> None:
        super()._adopt_rewards()
        self._check_rewards()

    def _check_rewards(self) -> None:
        assert self.task is not None
        if not self._trainable_rewards():
            raise ValueError(
                f"SeqGAN learns from a discriminator and the reward {self.task.reward.name!r} has "
                "none; make the environment with reward=ConvDiscriminator(), or use ORGAN"
            )

    def _before_learning(self) -> None:
        super()._before_learning()
        if self.rollout_update < 1:
            self._keep_companion("rollout_policy")

    def _value(self, batch: Batch) -> Values:
        """What is cheap by rollouts, what is dear by the finished sequence."""
        assert self.task is not None
        sequences, terms = batch.sequences, self.task.reward.terms()  # of this round's schedule
        metrics: dict[str, float] = {}
        q_BT = torch.zeros(sequences.tokens_BT.shape, device=self.device)
        usable_BT = batch.written_BT
        found: list[Scores] = []
        cheap, dear = _of_credit("rollouts", terms), _of_credit("terminal", terms)
        if self.overlap:
            _check_apart(cheap, dear)
        finish = self._begin_scoring(Sum(dear), sequences) if dear else None
        if cheap:
            rollouts = self._roll_out(sequences, Sum(cheap))
            q_BT = q_BT + rollouts.q_BT
            usable_BT = usable_BT & (rollouts.n_BT > 0)
            found.append(rollouts.scores)
            metrics["rollout/completion_tokens"] = rollouts.tokens
        if finish is not None:
            scores = scores_of_first(finish, self.device)
            shaped_B = self._shape_terminal(sequences, scores.values_B)
            q_BT = q_BT + shaped_B[:, None]
            usable_BT = usable_BT & scores.ok_B[:, None]
            found.append(scores)
        q_BT = torch.where(usable_BT, q_BT, 0.0)
        return Values(q_BT, usable_BT, total_scores(sequences, found), metrics)

    def _roll_out(self, sequences: Sequences, reward: Reward) -> Rollouts:
        return action_values_together(
            self.companions.get("rollout_policy", self.policy),
            sequences,
            reward,
            completions=self.completions,
            scheme=self.scheme,
            seed=self._seed_of(Purpose.COMPLETIONS, self.rounds),
            constraint=self.constraint,
            dtype=torch.bfloat16 if self.rollout_dtype else None,
        )

    def _shape_terminal(self, sequences: Sequences, values_B: Tensor) -> Tensor:
        """What of the terminal reward is learnt from; here all of it as it is."""
        return values_B

    def _update(self, batch: Batch, values: Values) -> dict[str, float]:
        metrics = super()._update(batch, values)
        self._update_rollout_policy()
        return metrics

    @torch.no_grad()
    def _update_rollout_policy(self) -> None:
        """Move the rollout policy towards the policy: new = (1 - share) old + share policy."""
        if rollout_policy := self.companions.get("rollout_policy"):
            pairs = zip(rollout_policy.parameters(), self.policy.parameters(), strict=True)
            for delayed, current in pairs:
                delayed.lerp_(current, self.rollout_update)


def _of_credit(credit: Credit, terms: Terms) -> Terms:
    return [(weight, reward) for weight, reward in terms if reward.credit == credit]


def _check_apart(cheap: Terms, dear: Terms) -> None:
    """Two threads may not score with one object: a discriminator switches its dropout off."""
    in_completions = {id(reward) for _, term in cheap for reward in term.walk()}
    shared = {r.name for _, term in dear for r in term.walk() if id(r) in in_completions}
    if shared:
        raise ValueError(
            f"overlap=True, and {', '.join(sorted(shared))} scores both the completions and, in "
            "another term, the finished sequences; make a second one, or leave overlap out"
        )
