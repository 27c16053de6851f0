"""SeqGAN: sequence generative adversarial nets with policy gradient.

Yu, Zhang, Wang and Yu (2017), arXiv 1609.05473. The policy writes; a discriminator learns to tell
what it writes from what is real; the policy is rewarded for what the discriminator takes for real,
each token by the mean score of N completions of its prefix.

Each part of the reward gets its credit its own way: what is cheap (``credit = "rollouts"``, the
discriminators) scores every completion; what is dear (``"terminal"``) scores the finished sequence
once, and its value goes to every token.

Unlike the paper, rewards are centred by default (leave-one-out over the batch), so that a constant
reward changes nothing; ``baseline="none"`` is the paper's plain form. The reward is centred, not
whitened: its scale keeps its meaning.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Self

import torch
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor

from ..envs import Sequences
from ..rewards import Reward, Scores, Sum
from ..rewards.base import Credit, total_scores
from ..rewards.state import with_prefix
from .assembled import Purpose
from .base import Round, SequenceAgent
from .checks import check_device, check_least, check_policy_options, check_positive
from .counter_rng import fold_in
from .losses import kl_divergence, leave_one_out_advantages, reinforce_loss, token_log_probs
from .policies import Policy
from .pretraining import seeded
from .progress import progress_bar as bar_of
from .rollouts import Rollouts, action_values
from .sampling import sample

Baseline = Literal["leave_one_out", "none"]
Terms = list[tuple[float, Reward]]


class SeqGAN(SequenceAgent):
    """SeqGAN (Yu et al., 2017): rewarded for what a discriminator takes for real.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        env: whose reward has a discriminator in it.
        learning_rate: of Adam.
        batch_size: B, training sequences a round.
        completions: N, completions of every prefix.
        baseline: ``"leave_one_out"`` or ``"none"``.
        rollout_update: the share of the policy's weights that the rollout policy takes over after
            every update; 1 rolls out with the policy itself. The paper's code has 0.2.
        prior_coefficient: weight of KL(policy || pretrained policy), a token, in the loss.
        discriminator_steps: updates of each discriminator a round.
        discriminator_batch_size: real sequences an update, and as many generated ones.
        overlap: terminal objectives score a batch in a thread of their own, while its completions
            are written and scored. The numbers are the same to the bit; it saves time where the
            objectives wait for worker processes, other programs or a network. The next batch is not
            written ahead: it would come from a policy one update old, so its gradient would need
            importance weights, and writing it is a small part of a round with completions.
        max_grad_norm: the gradient's norm is clipped to it.
        policy_kwargs: keywords of the policy, where it is made by name.
        stats_window_size: episodes that ``rollout/ep_rew_mean`` is the mean of.
        tensorboard_log: a folder for TensorBoard curves.
        verbose: 1 prints the log.
        seed: of everything random; None draws one.
        device: ``"auto"`` takes a GPU where there is one.
    """

    def __init__(
        self,
        policy: str | Policy = "GRU",
        env: GymEnv | str | None = None,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 64,
        completions: int = 16,
        baseline: Baseline = "leave_one_out",
        rollout_update: float = 1.0,
        prior_coefficient: float = 0.0,
        discriminator_steps: int = 5,
        discriminator_batch_size: int = 64,
        overlap: bool = False,
        max_grad_norm: float = 1.0,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        if baseline not in ("leave_one_out", "none"):
            raise ValueError(f"baseline is {baseline!r}; expected 'leave_one_out' or 'none'")
        if not 0 < rollout_update <= 1:
            raise ValueError(f"rollout_update is {rollout_update}; expected more than 0, at most 1")
        least = 2 if baseline == "leave_one_out" else 1  # others to compare with
        check_least(least, batch_size=batch_size)
        check_least(1, completions=completions, discriminator_batch_size=discriminator_batch_size)
        check_least(0, discriminator_steps=discriminator_steps, prior_coefficient=prior_coefficient)
        check_positive(max_grad_norm=max_grad_norm)
        if not callable(learning_rate):
            check_positive(learning_rate=learning_rate)
        check_policy_options(policy, policy_kwargs)
        check_device(device)
        self.completions = completions
        self.baseline = baseline
        self.rollout_update = rollout_update
        self.prior_coefficient = prior_coefficient
        self.discriminator_steps = discriminator_steps
        self.discriminator_batch_size = discriminator_batch_size
        self.overlap = overlap
        self.rollout_policy: Policy | None = None
        self.prior: Policy | None = None
        super().__init__(
            policy,
            env,
            learning_rate,
            batch_size,
            max_grad_norm,
            policy_kwargs,
            stats_window_size,
            tensorboard_log,
            verbose,
            seed,
            device,
            _init_setup_model,
        )

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

    # --- pretraining --------------------------------------------------------------------------

    def pretrain(
        self,
        sequences: Sequences | list[str] | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        discriminator_steps: int = 100,
        validation: Sequences | None = None,
        callback: Callable[[Self], bool] | None = None,
        log_interval: int = 50,
        reset: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Teacher forcing, then ``discriminator_steps`` updates of each discriminator.

        The other arguments are those of ``SequenceAgent.pretrain``.
        """
        super().pretrain(
            sequences,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation=validation,
            callback=callback,
            log_interval=log_interval,
            reset=reset,
            progress_bar=progress_bar,
        )
        state = self.pretraining
        if state.step < state.steps or not self._trainable_rewards():
            return self
        real = self._real_sequences(sequences)
        bar = bar_of(
            "discriminator", state.discriminator_step, discriminator_steps, "batch", progress_bar
        )
        while state.discriminator_step < discriminator_steps:
            metrics = self._update_discriminators(real, 0, state.discriminator_step)
            state.discriminator_step += 1
            self.within_update = False
            bar.update()
            if (
                state.discriminator_step % 10 == 0
                or state.discriminator_step == discriminator_steps
            ):
                bar.set_postfix({k.split("/")[-1]: f"{v:.3f}" for k, v in metrics.items()})
                for name, value in metrics.items():
                    self.logger.record(f"pretrain/{name}", value)
                self.logger.dump(state.step + state.discriminator_step)
            if callback is not None and not callback(self):
                break
        bar.close()
        return self

    def _update_discriminators(self, real: Sequences, *counter: int) -> dict[str, float]:
        """One update of each, on real sequences drawn anew and sequences written anew."""
        self.within_update = True
        seed = self._seed_of(Purpose.DISCRIMINATOR, *counter)
        n = self.discriminator_batch_size
        generated = sample(
            self.policy,
            n,
            max_length=self.max_length,
            seed=fold_in(seed, 0),
            constraint=self.constraint,
        )
        metrics: dict[str, float] = {}
        with seeded(fold_in(seed, 1)):
            rows = torch.randint(len(real), (n,))
            for name, reward in self._trainable_rewards().items():
                found = reward.update(real[rows], generated)
                metrics |= {f"{name}/{key}": value for key, value in found.items()}
        return metrics

    # --- a round ------------------------------------------------------------------------------

    def _before_learning(self) -> None:
        if self.prior_coefficient and self.prior is None:
            self.prior = self._copy_of_policy()
        if self.rollout_update < 1 and self.rollout_policy is None:
            self.rollout_policy = self._copy_of_policy()

    def _train_round(self) -> Round:
        sequences = sample(
            self.policy,
            self.batch_size,
            max_length=self.max_length,
            seed=self._seed_of(Purpose.TRAINING_SEQUENCES, self.rounds),
            constraint=self.constraint,
        )
        q_BT, usable_BT, scores, metrics = self._value(sequences)
        metrics |= self._update_generator(sequences, q_BT, usable_BT)
        self._update_rollout_policy()
        if self._trainable_rewards() and self.discriminator_steps:
            real = self._real_sequences(None)
            for step in range(self.discriminator_steps):
                found = self._update_discriminators(real, 1, self.rounds, step)
            metrics |= {f"train/{name}": value for name, value in found.items()}
        return Round(sequences, scores, metrics)

    def _value(self, sequences: Sequences) -> tuple[Tensor, Tensor, Scores, dict[str, float]]:
        """Q of every token, where it is usable, the finished scores, and metrics."""
        assert self.task is not None
        terms = self.task.reward.terms()  # a schedule has others in every round
        metrics: dict[str, float] = {}
        q_BT = torch.zeros(sequences.tokens_BT.shape, device=self.device)
        usable_BT = sequences.mask_BT
        found: list[Scores] = []
        cheap, dear = _of_credit("rollouts", terms), _of_credit("terminal", terms)
        score_finished = self._scoring_of_finished(sequences, cheap, dear)
        if cheap:
            rollouts = self._roll_out(sequences, Sum(cheap))
            q_BT = q_BT + rollouts.q_BT
            usable_BT = usable_BT & (rollouts.n_BT > 0)
            found.append(rollouts.scores)
            metrics["rollout/completion_tokens"] = rollouts.tokens
        if dear:
            scores = score_finished()
            shaped_B = self._shape_terminal(sequences, scores.values_B)
            q_BT = q_BT + shaped_B[:, None]
            usable_BT = usable_BT & scores.ok_B[:, None]
            found.append(scores)
        q_BT = torch.where(usable_BT, q_BT, 0.0)
        return q_BT, usable_BT, total_scores(sequences, found), metrics

    def _scoring_of_finished(
        self, sequences: Sequences, cheap: Terms, dear: Terms
    ) -> Callable[[], Scores]:
        """Gives the terminal reward's scores; with ``overlap`` the scoring has begun by then."""
        if not self.overlap or not dear:
            return lambda: Sum(dear)(sequences)
        _check_apart(cheap, dear)
        thread = ThreadPoolExecutor(1)
        scores = thread.submit(Sum(dear), sequences)
        thread.shutdown(wait=False)
        return scores.result

    def _roll_out(self, sequences: Sequences, reward: Reward) -> Rollouts:
        return action_values(
            self.policy if self.rollout_policy is None else self.rollout_policy,
            sequences,
            reward,
            completions=self.completions,
            seed=self._seed_of(Purpose.COMPLETIONS, self.rounds),
            constraint=self.constraint,
        )

    def _shape_terminal(self, sequences: Sequences, values_B: Tensor) -> Tensor:
        """What of the terminal reward is learnt from; here all of it as it is."""
        return values_B

    def _update_generator(
        self, sequences: Sequences, q_BT: Tensor, usable_BT: Tensor
    ) -> dict[str, float]:
        if self.baseline == "leave_one_out":
            advantages_BT, usable_BT = leave_one_out_advantages(
                q_BT, sequences.lengths_B, usable_BT
            )
        else:
            advantages_BT = q_BT
        if not usable_BT.any():
            warnings.warn(
                "no sequence of this round could be scored; it changes nothing", stacklevel=2
            )
            return {}
        tokens_BT = sequences.tokens_BT[:, : int(sequences.lengths_B.max())]
        T = tokens_BT.shape[1]
        mask_BT, advantages_BT, usable_BT = (
            table[:, :T] for table in (sequences.mask_BT, advantages_BT, usable_BT)
        )
        # In eval mode, so without dropout; there cuDNN has no backward pass for recurrent networks.
        with torch.backends.cudnn.flags(enabled=False):
            logits_BTA = self._constrain(self.policy(tokens_BT), tokens_BT)
        log_probs_BT = token_log_probs(logits_BTA, tokens_BT, mask_BT)
        loss = reinforce_loss(log_probs_BT, advantages_BT, usable_BT)
        metrics = {
            "train/policy_gradient_loss": float(loss.detach()),
            "train/advantage_std": float(advantages_BT[usable_BT].std(correction=0)),
            "train/entropy": float(-log_probs_BT.detach().sum() / mask_BT.sum()),
        }
        if self.prior is not None:
            with torch.no_grad():
                prior_logits_BTA = self._constrain(self.prior(tokens_BT), tokens_BT)
            divergence = kl_divergence(logits_BTA, prior_logits_BTA, mask_BT)
            metrics["train/kl_to_prior"] = float(divergence.detach())
            loss = loss + self.prior_coefficient * mask_BT.sum() / len(mask_BT) * divergence
        metrics["train/grad_norm"] = self._update_policy(loss)
        return metrics

    def _constrain(self, logits_BTA: Tensor, tokens_BT: Tensor) -> Tensor:
        """The logits with -inf at what the constraint forbade as these tokens were written.

        The policy that wrote them is the constrained one, so its probabilities are those of the
        gradient: what remains, renormalised.
        """
        if self.constraint is None:
            return logits_BTA
        bound = self.constraint.bound(self.policy.vocabulary, self.max_length, tokens_BT.device)
        return logits_BTA.masked_fill(~bound.along(tokens_BT), -torch.inf)

    @torch.no_grad()
    def _update_rollout_policy(self) -> None:
        """Move the rollout policy towards the policy: new = (1 - share) old + share policy."""
        if self.rollout_policy is None:
            return
        pairs = zip(self.rollout_policy.parameters(), self.policy.parameters(), strict=True)
        for delayed, current in pairs:
            delayed.lerp_(current, self.rollout_update)

    # --- saving and loading -------------------------------------------------------------------

    def _checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, state = super()._checkpoint()
        for name, policy in (("rollout_policy", self.rollout_policy), ("prior", self.prior)):
            if policy is not None:
                tensors |= {f"{name}.{k}": v for k, v in policy.state_dict().items()}
        return tensors, state

    def _setup_loaded(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        super()._setup_loaded(tensors, state)
        if saved := with_prefix("rollout_policy", tensors):
            self.rollout_policy = self._copy_of_policy()
            self.rollout_policy.load_state_dict(saved)
        if saved := with_prefix("prior", tensors):
            self.prior = self._copy_of_policy()
            self.prior.load_state_dict(saved)


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
