"""What all supervised learners share: fit, evaluate, sample, save, load, and a policy to take away.

A learner fits a policy to real sequences. A subclass gives ``training_step``, and where it needs
more than the policy: ``modules`` (all that is trained and saved), ``make_optimizers`` (who moves
what) and ``evaluate``. A step with two players calls ``descend`` twice:

    def training_step(self, batch, step):
        self.descend(self.discriminator_loss(batch), "discriminator")
        return {"nll": self.descend(self.generator_loss(batch), "generator")}

Everything random in a step is a function of (seed, step), so a saved learner goes on as if it had
never been stopped: to the bit, with its averages, schedules and early stopping.
"""

# Shapes: B sequences, T steps
from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Self

from stable_baselines3.common.logger import Logger
from torch import Tensor

from ...agents.assembled import Purpose
from ...agents.pretraining import log_likelihoods, steps_per_epoch, training_batch
from ...agents.progress import progress_bar as bar_of
from ...agents.sampling import sample
from ...envs import Sequences, Task
from ..metrics import Estimate
from .augmentation import augmented
from .figures import likelihood_figures
from .schedules import rate_factor
from .stored import StoredLearner


class Learner(StoredLearner, ABC):
    """Fits a policy to real sequences.

    The base of all supervised learners: subclasses define ``training_step``.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy.
        vocabulary: what a policy made by name writes.
        policy_kwargs: keywords of the policy, where it is made by name.
        batch_size: B, sequences a step.
        learning_rate: of Adam, at the first step after the warm-up.
        schedule: ``"constant"``, ``"linear"`` or ``"cosine"``, down to a hundredth of it.
        warmup_steps: steps over which the learning rate rises from 0.
        weight_decay: of AdamW, on matrices.
        max_grad_norm: the gradient's norm is clipped to it.
        averaging: the share of the old in an exponential average of the weights, such as 0.999;
            what is evaluated and kept is then the average. 0 keeps the last weights.
        patience: epochs without a better figure on held-out sequences before the fit stops.
        augmentation: ``"randomised_smiles"`` spells every molecule anew at every epoch.
        max_length: T, the most tokens that are sampled; by default those of the data.
        seed: of everything random.
        device: ``"auto"`` takes a GPU where there is one.
    """

    watched: ClassVar[str] = "nats_a_token"
    """The figure on held-out sequences that early stopping looks at; less is better."""

    logger: Logger | None = None
    """Where the curves go, Stable-Baselines3's; none by default."""

    def __repr__(self) -> str:
        done = f"{self.progress.step} steps"
        return f"<{type(self).__name__} of {type(self.policy).__name__}: {done}>"

    # --- what a subclass defines --------------------------------------------------------------

    @abstractmethod
    def training_step(self, batch: Sequences, step: int) -> Mapping[str, float]:
        """Update the modules by ``descend``; figures of the step for the log, ``nll`` first.

        Modules are in training mode, torch's generators seeded by (seed, step).
        """

    def prepare(self, data: Sequences) -> None:
        """Before the first step of every sitting: look at what is learnt from."""

    def evaluate(self, sequences: Sequences | list[str]) -> dict[str, Estimate]:
        """Figures of given sequences, each with its standard error.

        Args:
            sequences: held out, with their conditions where the learner has any.
        """
        real = self._encoded(sequences)
        return likelihood_figures(log_likelihoods(self.policy, real), real)

    def sample(
        self,
        n: int,
        *,
        condition: Tensor | None = None,
        seed: int | None = None,
        prompt: str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Sequences:
        """Write ``n`` sequences.

        Args:
            n: how many.
            condition: what they are to be like, for a conditional learner; n rows, or one for all.
            seed: one seed, one result; None gives other sequences at every call.
            prompt: what all of them begin with.
            temperature: below 1 is sharper.
            top_k: only the k most probable tokens are drawn from.
            top_p: only the fewest tokens of at least this probability together.
        """
        seed = self._sample_seed(seed)
        condition = self._to_write_under(n, condition, seed)
        return sample(
            self.policy,
            n,
            max_length=self._length(),
            condition=condition,
            seed=seed,
            prompt=prompt,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            constraint=self.constraint,
        )

    def use_task(self, task: Task) -> None:
        """Write what the task wants: its length, under its constraint.

        Raises:
            ValueError: the task has another vocabulary.
        """
        if task.vocabulary != self.policy.vocabulary:
            raise ValueError(
                f"the policy writes {self.policy.vocabulary} and the task {task.vocabulary}; make "
                "the task from the same data, or with vocabulary=learner.policy.vocabulary"
            )
        self.constraint, self.max_length = task.constraint, task.max_length

    # --- fitting ------------------------------------------------------------------------------

    def fit(
        self,
        sequences: Sequences | list[str],
        validation: Sequences | list[str] | None = None,
        *,
        max_epochs: int = 10,
        max_seconds: float | None = None,
        callback: Callable[[Self], bool | None] | None = None,
        log_interval: int = 50,
        reset: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn from real sequences; afterwards ``policy`` has the weights to be used.

        These are the best on held-out sequences where there are any, else the last; the average of
        weights in both cases where one is kept.

        Args:
            sequences: what to learn from.
            validation: held out: evaluated after every epoch, to keep the best weights.
            max_epochs: passes over the sequences; the learning rate's schedule runs over them.
            max_seconds: a limit of wall time, summed over sittings. The schedule then ends with
                what is reached first, so it follows the clock and no two fits are the same.
            callback: called with the learner after each step; False stops, to go on later.
            log_interval: steps between two entries of the log.
            reset: False goes on where a stopped fit (of a loaded learner, too) stood; the other
                arguments are to be the same.
            progress_bar: show one.
        """
        data = self._encoded(sequences)
        held_out = None if validation is None else self._encoded(validation)
        self.max_length = max(self.max_length, int(data.lengths_B.max()))
        if reset:
            self._forget()
        self._back_to_training()
        self.prepare(data)
        per_epoch = steps_per_epoch(data, self.batch_size)
        steps, state, figures = max_epochs * per_epoch, self.progress, _Means()
        bar = bar_of(type(self).__name__, state.step, steps, "batch", progress_bar)
        try:
            while (done := self._share_done(steps, max_seconds)) < 1 and not state.stopped:
                began = time.monotonic()
                figures.add(self._step(data, per_epoch, done))
                at_end = state.step % per_epoch == 0
                if at_end and held_out is not None:
                    self._validate(held_out, max_epochs)
                state.seconds += time.monotonic() - began
                bar.update()
                if state.step % log_interval == 0 or state.step == steps:
                    bar.set_postfix(figures.shown())
                    self._record(figures.take())
                if callback is not None and callback(self) is False:
                    break
        finally:
            bar.close()
        if not self.within_update:
            self._show(self._best or self._average)
        return self

    def _share_done(self, steps: int, max_seconds: float | None) -> float:
        """The share of the fit that is done, by steps or by the clock, in [0, 1]."""
        clock = 0.0 if max_seconds is None else self.progress.seconds / max_seconds
        return max(self.progress.step / max(steps, 1), clock) if steps else 1.0

    def _step(self, data: Sequences, per_epoch: int, done: float) -> Mapping[str, float]:
        """One update of everything, and its place in the averages."""
        step, modules = self.progress.step, self.modules.values()
        factor = rate_factor(self.schedule, done, step, self.warmup_steps)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        seed = self.seed_of(Purpose.TEACHER_FORCING)
        batch = training_batch(data, step, self.batch_size, seed)
        if self.augmentation is not None:
            spelling = self.seed_of(Purpose.TEACHER_FORCING, step, 1)
            batch = augmented(batch, self.augmentation, spelling, self.max_length)
        for module in modules:
            module.train()
        try:
            with self.seeded(Purpose.TEACHER_FORCING, step):
                figures = self.training_step(batch.to(self.device), step)
        finally:
            for module in modules:
                module.eval()
        self._update_average()
        self.progress.step += 1
        self.within_update = False
        return figures

    def _validate(self, held_out: Sequences, max_epochs: int) -> None:
        """Evaluate what would be kept; keep it if it is the best so far."""
        state = self.progress
        self._show(self._average)
        try:
            figures = self.evaluate(held_out)
            value = figures[self.watched].value
            if state.best is None or value < state.best:
                state.best, state.waited = value, 0
                self._best = {k: w.detach().clone() for k, w in self._weights().items()}
            else:
                state.waited += 1
        finally:
            self._back_to_training()
        self._record({f"validation_{name}": each.value for name, each in figures.items()})
        if self.patience is not None and state.waited >= self.patience:
            state.stopped = (
                f"{self.watched} on held-out sequences has not fallen below {state.best:.4f} for "
                f"{state.waited} epochs"
            )

    def _forget(self) -> None:
        """Begin a fit anew from the weights as they are."""
        self._optimizers = self._average = self._best = self._in_training = None
        self.progress = type(self.progress)()

    def _record(self, figures: Mapping[str, float]) -> None:
        if self.logger is not None:
            for name, value in figures.items():
                self.logger.record(f"fit/{name}", value)
            self.logger.dump(self.progress.step)

    # --- what subclasses build on, too --------------------------------------------------------

    def _refuse_conditions(self) -> None:
        """For learners whose own text is written without a condition."""
        if self.policy.condition_size:
            raise ValueError(
                f"the policy reads a condition of {self.policy.condition_size} numbers, and a "
                f"{type(self).__name__} writes without one; give a policy that reads none"
            )

    def _encoded(self, sequences: Sequences | list[str]) -> Sequences:
        if isinstance(sequences, list):
            sequences = self.policy.vocabulary.encode(sequences)
        if not len(sequences):
            raise ValueError("there are no sequences to learn from; give some")
        if sequences.vocabulary != self.policy.vocabulary:
            raise ValueError(
                f"the sequences are of {sequences.vocabulary}, the policy writes "
                f"{self.policy.vocabulary}; encode them with learner.policy.vocabulary"
            )
        return sequences

    def _to_write_under(self, n: int, condition: Tensor | None, seed: int) -> Tensor | None:
        """What the policy is to write n sequences under; None leaves it to the policy."""
        if condition is not None:
            raise ValueError(f"a {type(self).__name__} takes no condition; give none")
        return None

    def _length(self) -> int:
        if not self.max_length:
            raise ValueError("how long sequences may get is not known; fit first, or max_length=")
        return self.max_length

    def _sample_seed(self, seed: int | None) -> int:
        if seed is not None:
            return seed
        self.sampled += 1
        return self.seed_of(Purpose.SAMPLE, self.sampled - 1)


class _Means:
    """Figures of steps, averaged between two entries of the log."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._sums.setdefault(name, []).append(value)

    def shown(self) -> dict[str, str]:
        """The first of them, for the bar."""
        return {name: f"{sum(v) / len(v):.3f}" for name, v in list(self._sums.items())[:1]}

    def take(self) -> dict[str, float]:
        means = {name: sum(values) / len(values) for name, values in self._sums.items()}
        self._sums = {}
        return means
