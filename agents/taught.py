"""The supervised beginning of every agent, and the rewards that learn beside it.

The policy is taught by teacher forcing (pretraining.py); then each discriminator, or any other
reward that learns, is shown real sequences and what the policy writes. While the agent learns it is
shown both in every round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from stable_baselines3.common.logger import HumanOutputFormat
from stable_baselines3.common.utils import configure_logger

from ..envs import Sequences
from ..rewards import TrainableReward
from ..rewards.checks import check_whole
from .assembled import Pretraining, Purpose
from .checks import check_positive
from .counter_rng import fold_in
from .divergence import learning_from
from .parallel import sample_together, world
from .pretraining import (
    log_likelihoods,
    seeded,
    steps_per_epoch,
    teacher_forcing_step,
    training_batch,
)
from .progress import progress_bar as bar_of
from .stored import StoredAgent

_LONGEST_NAME = 1000  # characters of a name in the printed log; rewards are named by expressions


class TaughtAgent(StoredAgent):
    """An agent that begins by imitating real sequences."""

    # True from a round's first update until it is counted: what a checkpoint has between the two is
    # no whole round.
    within_update = False

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
        """Teach the policy to write what real sequences look like, then the discriminators.

        The learning rate falls linearly to a hundredth of where it began.

        Args:
            sequences: what to imitate; by default the task's data.
            epochs: passes over it, by teacher forcing.
            batch_size: sequences a step.
            learning_rate: of Adam, at the first step.
            discriminator_steps: updates of each reward that learns, after that.
            validation: sequences to report the likelihood of, after each epoch.
            callback: called with the agent after each step; False stops, to go on later.
            log_interval: steps between two entries of the log.
            reset: False goes on where a stopped pretraining (of a loaded agent, too) stood.
            progress_bar: show one.

        Raises:
            ValueError: an option is out of its range; or the data, or what options of the agent
                name, cannot be used.
        """
        check_whole(0, epochs=epochs, discriminator_steps=discriminator_steps)
        check_whole(1, batch_size=batch_size, log_interval=log_interval)
        check_positive(learning_rate=learning_rate)
        data = self._real_sequences(sequences)
        self._check_processes()
        self._read_inputs()
        self._ensure_logger("pretrain")
        if reset:
            self.pretraining = Pretraining()
            self._pretraining_optimizer = None
        self.pretraining.steps = epochs * steps_per_epoch(data, batch_size)
        going_on = self._teach_policy(
            data, batch_size, learning_rate, validation, callback, log_interval, progress_bar
        )
        if going_on and self._trainable_rewards():
            self._teach_discriminators(data, discriminator_steps, callback, progress_bar)
        return self

    def _teach_policy(
        self,
        data: Sequences,
        batch_size: int,
        learning_rate: float,
        validation: Sequences | None,
        callback: Callable[[Self], bool] | None,
        log_interval: int,
        progress_bar: bool,
    ) -> bool:
        """Teacher forcing from where it stands; whether it came to its end."""
        state, per_epoch = self.pretraining, steps_per_epoch(data, batch_size)
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
            with (
                seeded(world().own_seed(fold_in(seed, state.step))),
                learning_from({"real": batch}, {"step": torch.tensor(state.step)}),
            ):
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
            if callback is not None and not world().all(callback(self)):
                bar.close()
                return False
        bar.close()
        self._pretraining_optimizer = None
        return True

    def _teach_discriminators(
        self,
        real: Sequences,
        steps: int,
        callback: Callable[[Self], bool] | None,
        progress_bar: bool,
    ) -> None:
        state = self.pretraining
        bar = bar_of("discriminator", state.discriminator_step, steps, "batch", progress_bar)
        while state.discriminator_step < steps:
            metrics = self._update_discriminators(real, 0, state.discriminator_step)
            state.discriminator_step += 1
            self.within_update = False
            bar.update()
            if state.discriminator_step % 10 == 0 or state.discriminator_step == steps:
                bar.set_postfix({k.split("/")[-1]: f"{v:.3f}" for k, v in metrics.items()})
                for name, value in metrics.items():
                    self.logger.record(f"pretrain/{name}", value)
                self.logger.dump(state.step + state.discriminator_step)
            if callback is not None and not world().all(callback(self)):
                break
        bar.close()

    def _update_discriminators(self, real: Sequences, *counter: int) -> dict[str, float]:
        """One update of each, on real sequences drawn anew and sequences written anew."""
        self.within_update = True
        seed = self._seed_of(Purpose.DISCRIMINATOR, *counter)
        n = self.discriminator_batch_size
        generated = self._written_to_judge(n, fold_in(seed, 0))
        metrics: dict[str, float] = {}
        with seeded(fold_in(seed, 1)):
            rows = torch.randint(len(real), (n,))
            for name, reward in self._trainable_rewards().items():
                with learning_from({"real": real[rows], "generated": generated}):
                    found = _updated(reward, real[rows], generated)
                world().align(reward.network)
                metrics |= {f"{name}/{key}": value for key, value in found.items()}
        return metrics

    def _written_to_judge(self, n: int, seed: int) -> Sequences:
        """What discriminators are to tell from real ones, written as training sequences are."""
        return sample_together(
            self.policy, n, max_length=self.max_length, seed=seed, constraint=self.constraint
        )

    def _read_inputs(self) -> None:
        """Read what options name; a mistake there shows before anything is learnt."""

    def _check_processes(self) -> None:
        """Several processes have to be about the same thing."""
        if self.batch_size < world().size:
            raise ValueError(
                f"batch_size is {self.batch_size} for {world().size} processes; expected at least "
                "a sequence for each"
            )
        if (seed := world().first(lambda: self.seed)) != self.seed:
            raise ValueError(
                f"this process's agent has the seed {self.seed}, the first one's {seed}; give all "
                "processes the same seed"
            )

    def _ensure_logger(self, name: str) -> None:
        if not hasattr(self, "_logger"):
            self._logger = configure_logger(self.verbose, self.tensorboard_log, name, True)
        for form in self.logger.output_formats:
            if isinstance(form, HumanOutputFormat):
                form.max_length = _LONGEST_NAME  # two names that are cut alike would be an error


def _updated(reward: TrainableReward, real: Sequences, generated: Sequences) -> dict[str, float]:
    """Update a reward; all processes are to know the same of what comes from outside."""
    if world().size == 1 or not reward.from_outside:
        return reward.update(real, generated)
    with torch.random.fork_rng():  # the others draw nothing meanwhile
        found, state = world().first(lambda: (reward.update(real, generated), reward.state()))
    if not world().is_first:
        reward.restore(*state)
    return found
