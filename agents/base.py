"""What all agents share: a Stable-Baselines3 algorithm that works on whole sequences.

A round samples a batch of sequences, values them, and updates the policy. One timestep is one token
of a training sequence; the tokens of Monte Carlo completions are logged apart. Everything random in
a round is a function of (seed, number of the round), so a saved agent goes on as if it had never
been stopped.
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.type_aliases import MaybeCallback
from torch import Tensor

from ..envs import Sequences
from ..rewards import BudgetExhausted, Progress, Scores
from .assembled import Purpose
from .policies import Policy
from .precision import at_least_float32
from .pretraining import seeded
from .progress import ProgressBar
from .recording import record_round
from .sampling import sample
from .taught import TaughtAgent


@dataclass(frozen=True, eq=False)
class Batch:
    """The training sequences of a round.

    Args:
        sequences: B of them, with their log-probabilities.
        written_BT: bool, True at what the policy wrote: neither padding nor a prompt.
    """

    sequences: Sequences
    written_BT: Tensor

    def cut(self) -> tuple[Tensor, Tensor]:
        """Tokens and ``written_BT`` without the columns that are padding in every row."""
        T = int(self.sequences.lengths_B.max())
        return self.sequences.tokens_BT[:, :T], self.written_BT[:, :T]


@dataclass(frozen=True, eq=False)
class Values:
    """What the tokens of a batch are worth.

    Args:
        q_BT: the value of writing token t after those before it; 0 where there is none.
        usable_BT: bool, True where there is one: at written tokens of what could be scored.
        scores: of the finished sequences.
        metrics: for the log.
    """

    q_BT: Tensor
    usable_BT: Tensor
    scores: Scores
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Round:
    """What one round made: the training sequences, their scores, and metrics for the log."""

    sequences: Sequences
    scores: Scores
    metrics: dict[str, float] = field(default_factory=dict)


class SequenceAgent(TaughtAgent):
    """Who writes, and learns to write what scores well.

    The base of all agents. A subclass defines ``_update``, which learns from a batch and its
    values; it may write (``_write``) and value (``_value``) another way. ``AssembledAgent`` has the
    options that are common to all.
    """

    def __repr__(self) -> str:
        kind = f"{type(self).__name__} with {type(self.policy).__name__}"
        task = f"{self.task.name}, {self.task.reward.name}" if self.task else "no environment"
        done = f"{self.pretraining.step} batches of teacher forcing, {self.num_timesteps} timesteps"
        return f"<{kind}: {task}; {done}>"

    # --- a round ------------------------------------------------------------------------------

    def _train_round(self) -> Round:
        """Write, value, update; everything random from ``self._seed_of(purpose, ...)``."""
        batch = self._write(self.rounds)
        values = self._value(batch)
        metrics = values.metrics | self._update(batch, values)
        if self._trainable_rewards() and self.discriminator_steps:
            real = self._real_sequences(None)
            for step in range(self.discriminator_steps):
                found = self._update_discriminators(real, 1, self.rounds, step)
            metrics |= {f"train/{name}": value for name, value in found.items()}
        return Round(batch.sequences, values.scores, metrics)

    def _write(self, round: int) -> Batch:
        """The training sequences of a round."""
        sequences = sample(
            self.policy,
            self.batch_size,
            max_length=self.max_length,
            seed=self._seed_of(Purpose.TRAINING_SEQUENCES, round),
            constraint=self.constraint,
        )
        return Batch(sequences, sequences.mask_BT)

    def _value(self, batch: Batch) -> Values:
        """What each token is worth; here the finished sequence's score goes to all of them."""
        assert self.task is not None
        scores = self.task.reward(batch.sequences)
        usable_BT = batch.written_BT & scores.ok_B[:, None]
        values_B1 = scores.values_B.to(self.policy.dtype)[:, None]
        return Values(torch.where(usable_BT, values_B1, 0.0), usable_BT, scores)

    @abstractmethod
    def _update(self, batch: Batch, values: Values) -> dict[str, float]:
        """Learn from a batch, through ``_update_policy``; metrics for the log."""

    def _logits(self, policy: Policy, tokens_BT: Tensor) -> Tensor:
        """What a policy gave the tokens' places, in one pass, with -inf at what was forbidden.

        In eval mode, so without dropout; there cuDNN has no backward pass for recurrent networks.
        The policy that writes is the constrained one, so its probabilities are those of the
        gradient: what remains, renormalised.
        """
        with torch.backends.cudnn.flags(enabled=False):
            logits_BTA: Tensor = policy(tokens_BT)
        if self.constraint is None:
            return logits_BTA
        bound = self.constraint.bound(self.policy.vocabulary, self.max_length, tokens_BT.device)
        return logits_BTA.masked_fill(~bound.along(tokens_BT), -torch.inf)

    # --- learning ---------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn from the reward until ``total_timesteps`` tokens of training sequences are written.

        Callbacks see ``on_step`` once a token step, all of a round's after its update, so that
        what they save is a whole number of rounds.

        It ends early, with a whole round, when an objective has spent its budget; ``stopped`` then
        says so.

        Args:
            total_timesteps: tokens; the last round is finished.
            callback: as in Stable-Baselines3.
            log_interval: rounds between two entries of the log.
            tb_log_name: the name of the TensorBoard run.
            reset_num_timesteps: count from 0.
            progress_bar: show one.

        Raises:
            ObjectiveError: an objective broke its contract, and the round has changed nothing; or
                it fails on too many sequences.
        """
        if self.task is None:
            raise ValueError("there is no environment to learn from; call set_env first")
        total_timesteps, hooks = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self._ensure_logger(tb_log_name)
        self._before_learning()
        hooks.on_training_start(locals(), globals())
        self.stopped, going_on = None, True
        while self.num_timesteps < total_timesteps and going_on and self._can_be_scored():
            hooks.on_rollout_start()
            self._update_learning_rate(self.optimizer)
            self.task.reward.begin_round(
                Progress(self.rounds, self.num_timesteps / total_timesteps)
            )
            made = self._train_round()
            self.task.reward.end_round(made.sequences, made.scores)
            self.rounds += 1
            self.num_timesteps += made.sequences.num_tokens
            self.within_update = False
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            record_round(self, made)
            hooks.update_locals(locals())
            hooks.on_rollout_end()
            if self.rounds % log_interval == 0:
                self.logger.dump(self.num_timesteps)
            for _ in range(int(made.sequences.lengths_B.max())):
                going_on = hooks.on_step() and going_on
        hooks.on_training_end()
        return self

    def _before_learning(self) -> None:
        """Make what has to be there before the first round."""

    def _can_be_scored(self) -> bool:
        """Whether the reward can score another round; ``stopped`` says why not."""
        assert self.task is not None
        try:
            self.task.reward.ensure_usable()
        except BudgetExhausted as spent:
            self.stopped = str(spent)
        return self.stopped is None

    def _update_policy(self, loss: Tensor) -> float:
        """One step of the optimiser; returns the gradient's norm before it was clipped.

        Raises:
            FloatingPointError: that norm is not finite; the policy is as it was.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        if not norm.isfinite():
            raise FloatingPointError(
                f"the gradient's norm is {float(norm)} in round {self.rounds} (loss "
                f"{float(loss.detach())}), so the policy was left as it was; take a smaller "
                "learning_rate, or bring the reward to a smaller range"
            )
        self.within_update = True
        self.optimizer.step()
        self._n_updates += 1
        return float(norm)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        made = super()._init_callback(callback, progress_bar=False)
        if not progress_bar:
            return made
        bar = CallbackList([made, ProgressBar(type(self).__name__)])
        bar.init_callback(self)
        return bar

    # --- writing ----------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        *,
        seed: int | None = None,
        prompt: str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Sequences:
        """Write ``n`` sequences.

        Args:
            n: how many.
            seed: one seed, one result; None gives other sequences at every call.
            prompt: what all of them begin with.
            temperature: below 1 is sharper.
            top_k: only the k most probable tokens are drawn from.
            top_p: only the fewest tokens that have this probability together are drawn from.
        """
        if seed is None:
            seed = self._seed_of(Purpose.SAMPLE, self.sampled)
            self.sampled += 1
        return sample(
            self.policy,
            n,
            max_length=self.max_length,
            seed=seed,
            prompt=prompt,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            constraint=self.constraint,
        )

    @torch.no_grad()
    def predict(  # type: ignore[override] # observations here are arrays of tokens
        self,
        observation: np.ndarray,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, None]:
        """The next token for an observation (T,) or a batch (B, T); there is no state to carry.

        Args:
            observation: the tokens so far, then padding.
            state: ignored; the observation holds the whole prefix.
            episode_start: ignored.
            deterministic: the most probable token instead of a drawn one.
        """
        single = np.ndim(observation) == 1
        tokens_BT = torch.as_tensor(np.atleast_2d(observation), device=self.device)
        length_B = (tokens_BT != self.policy.vocabulary.pad).sum(dim=1)
        length_B = length_B.clamp(max=tokens_BT.shape[1] - 1)
        logits_BTA = self.policy(tokens_BT[:, : int(length_B.max()) + 1])
        logits_BA = logits_BTA[torch.arange(len(tokens_BT)), length_B]
        if self.constraint is not None:
            bound = self.constraint.bound(self.policy.vocabulary, self.max_length, self.device)
            written, free_B = bound.follow(tokens_BT[:, : int(length_B.max())])
            logits_BA = logits_BA.masked_fill(~bound.actions(written, free_B), -torch.inf)
        logits_BA = at_least_float32(logits_BA)
        if deterministic:
            action_B = logits_BA.argmax(dim=1)
        else:
            with seeded(self._seed_of(Purpose.PREDICTION, self._predictions)):
                action_B = torch.distributions.Categorical(logits=logits_BA).sample()
            self._predictions += 1
        actions: np.ndarray = action_B.cpu().numpy()
        return (actions[0] if single else actions), None
