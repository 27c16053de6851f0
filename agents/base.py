"""What all agents share: a Stable-Baselines3 algorithm that works on whole sequences.

A round samples a batch of sequences, values them, and updates the policy. One timestep is one token
of a training sequence; the tokens of Monte Carlo completions are logged apart. Everything random in
a round is a function of (seed, number of the round), so a saved agent goes on as if it had never
been stopped.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import HumanOutputFormat
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import configure_logger

from ..envs import Sequences
from ..rewards import BudgetExhausted, Progress, Scores
from .assembled import Pretraining, Purpose
from .counter_rng import fold_in
from .precision import at_least_float32
from .pretraining import (
    log_likelihoods,
    seeded,
    steps_per_epoch,
    teacher_forcing_step,
    training_batch,
)
from .progress import ProgressBar
from .progress import progress_bar as bar_of
from .sampling import sample
from .stored import StoredAgent

_LONGEST_NAME = 1000  # characters of a name in the printed log; rewards are named by expressions


@dataclass(frozen=True, eq=False)
class Round:
    """What one round made: the training sequences, their scores, and metrics for the log."""

    sequences: Sequences
    scores: Scores
    metrics: dict[str, float] = field(default_factory=dict)


class SequenceAgent(StoredAgent):
    """Who writes, and learns to write what scores well.

    The base of all agents: subclasses define ``_train_round``.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy (a pretrained one).
        env: a ``TokenEnv``, its registered id, or None to sample from a loaded agent.
        learning_rate: of Adam, or a schedule of the remaining progress.
        batch_size: B, training sequences a round.
        max_grad_norm: the gradient's norm is clipped to it.
        policy_kwargs: keywords of the policy, where it is made by name.
        stats_window_size: episodes that ``rollout/ep_rew_mean`` is the mean of.
        tensorboard_log: a folder for TensorBoard curves.
        verbose: 1 prints the log.
        seed: of everything random; None draws one.
        device: ``"auto"`` takes a GPU where there is one.
    """

    # True from a round's first update until it is counted: what a checkpoint has between the two is
    # no whole round.
    within_update = False

    def __repr__(self) -> str:
        kind = f"{type(self).__name__} with {type(self.policy).__name__}"
        task = f"{self.task.name}, {self.task.reward.name}" if self.task else "no environment"
        done = f"{self.pretraining.step} batches of teacher forcing, {self.num_timesteps} timesteps"
        return f"<{kind}: {task}; {done}>"

    # --- what a subclass defines ------------------------------------------------------------

    @abstractmethod
    def _train_round(self) -> Round:
        """Sample, value, update; everything random from ``self._seed_of(purpose, ...)``."""

    # --- the supervised beginning -----------------------------------------------------------

    def pretrain(
        self,
        sequences: Sequences | list[str] | None = None,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        validation: Sequences | None = None,
        callback: Callable[[Self], bool] | None = None,
        log_interval: int = 50,
        reset: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Teach the policy to write what real sequences look like, by teacher forcing.

        The learning rate falls linearly to a hundredth of where it began.

        Args:
            sequences: what to imitate; by default the task's data.
            epochs: passes over it.
            batch_size: sequences a step.
            learning_rate: of Adam, at the first step.
            validation: sequences to report the likelihood of, after each epoch.
            callback: called with the agent after each step; False stops, to go on later.
            log_interval: steps between two entries of the log.
            reset: False goes on where a stopped pretraining (of a loaded agent, too) stood.
            progress_bar: show one.
        """
        data = self._real_sequences(sequences)
        self._ensure_logger("pretrain")
        if reset:
            self.pretraining = Pretraining()
            self._pretraining_optimizer = None
        state = self.pretraining
        per_epoch = steps_per_epoch(data, batch_size)
        state.steps = epochs * per_epoch
        if state.step < state.steps and self._pretraining_optimizer is None:
            self._pretraining_optimizer = torch.optim.Adam(self.policy.parameters())
        losses: list[float] = []
        bar = bar_of("teacher forcing", state.step, state.steps, "batch", progress_bar)
        while state.step < state.steps:
            assert self._pretraining_optimizer is not None
            for group in self._pretraining_optimizer.param_groups:
                group["lr"] = learning_rate * max(1 - state.step / state.steps, 0.01)
            seed = self._seed_of(Purpose.TEACHER_FORCING)
            batch = training_batch(data, state.step, batch_size, seed)
            with seeded(fold_in(seed, state.step)):
                losses.append(teacher_forcing_step(self.policy, self._pretraining_optimizer, batch))
            state.step += 1
            bar.update()
            if state.step % log_interval == 0 or state.step == state.steps:
                mean = sum(losses[-log_interval:]) / len(losses[-log_interval:])
                bar.set_postfix(nats_a_token=f"{mean:.3f}")
                self.logger.record("pretrain/nll", mean)
                if validation is not None and state.step % per_epoch < log_interval:
                    log_probs_BT = log_likelihoods(self.policy, validation)
                    held_out = -float(log_probs_BT.sum()) / validation.num_tokens
                    self.logger.record("pretrain/validation_nll", held_out)
                self.logger.dump(state.step)
            if callback is not None and not callback(self):
                bar.close()
                return self
        bar.close()
        self._pretraining_optimizer = None
        return self

    def _ensure_logger(self, name: str) -> None:
        if not hasattr(self, "_logger"):
            self._logger = configure_logger(self.verbose, self.tensorboard_log, name, True)
        for form in self.logger.output_formats:
            if isinstance(form, HumanOutputFormat):
                form.max_length = _LONGEST_NAME  # two names that are cut alike would be an error

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
            self._record(made)
            hooks.update_locals(locals())
            hooks.on_rollout_end()
            if self.rounds % log_interval == 0:
                self.logger.dump(self.num_timesteps)
            for _ in range(int(made.sequences.lengths_B.max())):
                going_on = hooks.on_step() and going_on
        hooks.on_training_end()
        return self

    def _before_learning(self) -> None:
        """What has to be there before the first round."""

    def _can_be_scored(self) -> bool:
        """Whether the reward can score another round; ``stopped`` says why not."""
        assert self.task is not None
        try:
            self.task.reward.ensure_usable()
        except BudgetExhausted as spent:
            self.stopped = str(spent)
        return self.stopped is None

    def _update_policy(self, loss: torch.Tensor) -> float:
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

    def _record(self, made: Round) -> None:
        sequences, scores = made.sequences, made.scores
        assert self.ep_info_buffer is not None
        lengths = sequences.lengths_B.tolist()
        for value, length, ok in zip(
            scores.values_B.tolist(), lengths, scores.ok_B.tolist(), strict=True
        ):
            if ok:
                self.ep_info_buffer.append({"r": value, "l": length})
        if self.ep_info_buffer:
            self.logger.record(
                "rollout/ep_rew_mean", float(np.mean([e["r"] for e in self.ep_info_buffer]))
            )
            self.logger.record(
                "rollout/ep_len_mean", float(np.mean([e["l"] for e in self.ep_info_buffer]))
            )
        self._record_reward(scores)
        if self.constraint is not None:
            self.logger.record("rollout/constraint_fallbacks", self.constraint.fallbacks)
        for name, value in made.metrics.items():
            self.logger.record(name, value)
        seconds = max((time.time_ns() - self.start_time) / 1e9, 1e-9)
        done = self.num_timesteps - self._num_timesteps_at_start
        self.logger.record("time/iterations", self.rounds, exclude="tensorboard")
        self.logger.record("time/fps", int(done / seconds))
        self.logger.record("time/time_elapsed", int(seconds), exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")

    def _record_reward(self, scores: Scores) -> None:
        """Every component's values, failures and figures, and those before its transform."""
        assert self.task is not None
        for name, part_B in scores.parts.items():
            component, raw, _ = name.partition(".raw")
            mean = float(part_B.nanmean())  # NaN where all failed
            self.logger.record(f"reward/{component}/{'raw' if raw else 'mean'}", mean)
            self.logger.record(f"reward/{component}/failed", int(part_B.isnan().sum()))
        for name, reward in self.task.reward.named().items():
            if not reward.children:
                for figure, value in reward.take_statistics().items():
                    self.logger.record(f"reward/{name}/{figure}", value)
        self.logger.record("reward/failed", int((~scores.ok_B).sum()))

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
