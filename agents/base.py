"""What all agents share: a Stable-Baselines3 algorithm that works on whole sequences.

A round samples a batch of sequences, values them, and updates the policy. One timestep is one token
of a training sequence; the tokens of Monte Carlo completions are logged apart. Everything random in
a round is a function of (seed, number of the round), so a saved agent goes on as if it had never
been stopped.
"""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from torch import Tensor

from ..envs import Sequences
from ..rewards import BudgetExhausted, Progress, Reward, Scores
from ..rewards.checks import check_whole
from ..rewards.failures import first_failures
from ..rewards.state import with_prefix
from .assembled import Purpose
from .divergence import learning_from
from .losses import constrained
from .parallel import logits_together, sample_together, scores_of_first, world
from .policies import Policy
from .progress import ProgressBar
from .recording import record_round
from .remembering import RememberingAgent


@dataclass(frozen=True, eq=False)
class Batch:
    """The training sequences of a round.

    Args:
        sequences: B of them, with their log-probabilities.
        written_BT: bool, True at what the policy wrote: neither padding nor a prompt.
        ahead: whether it was written ahead, by the policy before its last update.
    """

    sequences: Sequences
    written_BT: Tensor
    ahead: bool = False

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


class SequenceAgent(RememberingAgent):
    """Who writes, and learns to write what scores well.

    The base of all agents. A subclass defines ``_update``, which learns from a batch and its
    values; it may write (``_write``) and value (``_value``) another way. ``AssembledAgent`` has the
    options that are common to all.

    With ``overlap`` a batch is scored in a thread of its own while the next one is written, which
    then comes from a policy one update old; each agent says what it does about that. The batch that
    was written ahead is part of a checkpoint, so that a resumed run goes on with it.
    """

    _ahead: Batch | None = None
    _following: Batch | None = None
    _reads_in_shares = True  # of several processes each its share of a batch, which is gathered
    _in_shares = False  # whether the policy has read, for the next update, its share alone

    def __repr__(self) -> str:
        kind = f"{type(self).__name__} with {type(self.policy).__name__}"
        task = f"{self.task.name}, {self.task.reward.name}" if self.task else "no environment"
        done = f"{self.pretraining.step} batches of teacher forcing, {self.num_timesteps} timesteps"
        return f"<{kind}: {task}; {done}>"

    # --- a round ------------------------------------------------------------------------------

    def _train_round(self) -> Round:
        """Write, value, update; everything random from ``self._seed_of(purpose, ...)``."""
        batch, self._following = self._ahead or self._write(self.rounds), None
        values = self._value(batch)
        if self.replay_batch_size:
            self.remember(batch.sequences, values.scores.values_B)
            self.replay.expect(values.scores.values_B)
        worth = {"q_BT": values.q_BT, "usable_BT": values.usable_BT, **values.scores.parts}
        with learning_from({"sequences": batch.sequences}, worth):
            metrics = values.metrics | self._update(batch, values)
        self._ahead = self._following  # from here on: a round that failed is begun again
        if self._trainable_rewards() and self.discriminator_steps:
            real = self._real_sequences(None)
            for step in range(self.discriminator_steps):
                found = self._update_discriminators(real, 1, self.rounds, step)
            metrics |= {f"train/{name}": value for name, value in found.items()}
        return Round(batch.sequences, values.scores, metrics)

    def _write(self, round: int) -> Batch:
        """The training sequences of a round."""
        sequences = sample_together(
            self.policy,
            self.batch_size,
            max_length=self.max_length,
            seed=self._seed_of(Purpose.TRAINING_SEQUENCES, round),
            constraint=self.constraint,
        )
        return Batch(sequences, sequences.mask_BT)

    def _value(self, batch: Batch) -> Values:
        """What each token is worth; here the finished sequence's score goes to all of them.

        With ``overlap`` the next batch is written meanwhile, by the policy as it is before the
        update that waits for these scores.
        """
        assert self.task is not None
        finish = self._begin_scoring(self.task.reward, batch.sequences)
        if self.overlap:
            self._following = replace(self._write(self.rounds + 1), ahead=True)
        scores = scores_of_first(finish, self.device)
        usable_BT = batch.written_BT & scores.ok_B[:, None]
        values_B1 = scores.values_B.to(self.policy.dtype)[:, None]
        return Values(torch.where(usable_BT, values_B1, 0.0), usable_BT, scores)

    def _begin_scoring(self, reward: Reward, sequences: Sequences) -> Callable[[], Scores]:
        """Gives the scores when they are asked for; with ``overlap`` the scoring has begun."""
        if not self.overlap or not world().is_first:
            return lambda: reward(sequences)
        thread = ThreadPoolExecutor(1)
        scores = thread.submit(reward, sequences)
        thread.shutdown(wait=False)
        return scores.result

    @abstractmethod
    def _update(self, batch: Batch, values: Values) -> dict[str, float]:
        """Learn from a batch, through ``_update_policy``; metrics for the log."""

    def _logits(
        self, policy: Policy, tokens_BT: Tensor, condition_B: Tensor | None = None
    ) -> Tensor:
        """What a policy gave the tokens' places, in one pass, with -inf at what was forbidden.

        Sequences that were written under a condition are learnt from given it: it is drawn from a
        prior without weights, so what it was has no part in the gradient.

        In eval mode, so without dropout; there cuDNN has no backward pass for recurrent networks.
        The policy that writes is the constrained one, so its probabilities are those of the
        gradient: what remains, renormalised.
        """
        shared = self._reads_in_shares
        with torch.backends.cudnn.flags(enabled=False):
            read = partial(logits_together, policy) if shared else policy
            logits_BTA = read(tokens_BT, condition_B)
        self._in_shares |= shared and policy is self.policy and torch.is_grad_enabled()
        return constrained(logits_BTA, self._allowed(tokens_BT))

    # --- learning ---------------------------------------------------------------------------

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
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
            log_interval: rounds between two entries of the log; None: no entries.
            tb_log_name: the name of the TensorBoard run.
            reset_num_timesteps: count from 0.
            progress_bar: show one.

        Raises:
            ObjectiveError: an objective broke its contract, and the round has changed nothing; or
                it fails on too many sequences.
        """
        if self.task is None:
            raise ValueError("there is no environment to learn from; call set_env first")
        check_whole(1, log_interval=1 if log_interval is None else log_interval)
        total_timesteps, hooks = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        self._ensure_logger(tb_log_name)
        self._check_processes()
        self._before_learning()
        hooks.on_training_start(locals(), globals())
        self.stopped, going_on = None, True
        while self.num_timesteps < total_timesteps and going_on and self._can_be_scored():
            hooks.on_rollout_start()
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            self._update_learning_rate(self.optimizer)
            self.task.reward.begin_round(
                Progress(self.rounds, self.num_timesteps / total_timesteps)
            )
            made = self._train_round()
            self.task.reward.end_round(made.sequences, made.scores)
            self.rounds += 1
            self.num_timesteps += made.sequences.num_tokens
            self.within_update = False
            record_round(self, made)
            hooks.update_locals(locals())
            hooks.on_rollout_end()
            if log_interval is not None and self.rounds % log_interval == 0:
                self.logger.dump(self.num_timesteps)
            for _ in range(int(made.sequences.lengths_B.max())):
                going_on = hooks.on_step() and going_on
            going_on = world().all(going_on)
        hooks.on_training_end()
        return self

    def _before_learning(self) -> None:
        """Make what has to be there before the first round."""
        self._read_inputs()

    def _can_be_scored(self) -> bool:
        """Whether the reward can score another round; ``stopped`` says why not."""
        self.stopped = world().first(self._what_is_spent)
        return self.stopped is None

    def _what_is_spent(self) -> str | None:
        assert self.task is not None
        try:
            self.task.reward.ensure_usable()
        except BudgetExhausted as spent:
            return str(spent)
        return None

    def _warn_of_failures(self) -> None:
        """Say that nothing can be learnt from a round, and what failed first."""
        assert self.task is not None
        failed = first_failures(self.task.reward).items()
        why = "".join(f"; {name!r} failed first on {first}" for name, first in failed)
        warnings.warn(
            f"no sequence of this round could be scored; it changes nothing{why}", stacklevel=3
        )

    def _update_policy(self, loss: Tensor) -> float:
        """One step of the optimiser; returns the gradient's norm before it was clipped.

        Raises:
            FloatingPointError: that norm is not finite; the policy is as it was before.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._gather_gradients()
        norms = [
            torch.nn.utils.clip_grad_norm_(group["params"], self.max_grad_norm)
            for group in self.optimizer.param_groups  # the policy's, and a critic's after it
        ]
        norm = norms[0]
        if not torch.stack(norms).isfinite().all():
            raise FloatingPointError(
                f"the gradient's norm is {float(norm)} in round {self.rounds} (loss "
                f"{float(loss.detach())}), so the policy was left as it was before this update; "
                "take a smaller learning_rate, or bring the reward to a smaller range"
            )
        self.within_update = True
        self.optimizer.step()
        self._n_updates += 1
        return float(norm)

    def _gather_gradients(self) -> None:
        """Of several processes: a policy that read in shares has shares of the gradient."""
        policy = set(self.policy.parameters())
        all_of_it = [p for group in self.optimizer.param_groups for p in group["params"]]
        world().sum_gradients([p for p in all_of_it if p in policy], mean=not self._in_shares)
        world().sum_gradients([p for p in all_of_it if p not in policy], mean=True)
        self._in_shares = False

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        made = super()._init_callback(callback, progress_bar=False)
        if not progress_bar:
            return made
        bar = CallbackList([made, ProgressBar(type(self).__name__)])
        bar.init_callback(self)
        return bar

    # --- what is under way --------------------------------------------------------------------

    def _checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, state = super()._checkpoint()
        if self._ahead is not None:
            sequences = self._ahead.sequences
            assert sequences.log_probs_BT is not None
            tensors |= {
                "ahead.tokens": sequences.tokens_BT,
                "ahead.log_probs": sequences.log_probs_BT,
                "ahead.written": self._ahead.written_BT,
            }
            if sequences.condition_B is not None:
                tensors["ahead.condition"] = sequences.condition_B
        return tensors, state

    def _setup_loaded(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        super()._setup_loaded(tensors, state)
        saved = with_prefix("ahead", tensors)
        if saved:
            tokens_BT = saved["tokens"].to(self.device)
            found = Sequences.from_tokens(tokens_BT, self.policy.vocabulary)
            sequences = replace(found, log_probs_BT=saved["log_probs"].to(self.device))
            if "condition" in saved:
                sequences = sequences.given(saved["condition"].to(self.device))
            self._ahead = Batch(sequences, saved["written"].to(self.device), ahead=True)
        self._forget_ahead()

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Use another environment; what it does not let write is forgotten."""
        super().set_env(env, force_reset)
        self._forget_ahead()

    def _forget_ahead(self) -> None:
        """Write the next batch anew where the task does not let write the one that is there."""
        if self._ahead is not None:
            sequences = self._ahead.sequences
            as_long = sequences.tokens_BT.shape[1] == self.max_length
            if not as_long or not self._can_be_written(sequences).all():
                self._ahead = None
