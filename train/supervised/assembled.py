"""What a learner is made of: a policy, other modules beside it, optimisers, averages, a seed.

Everything random is a function of (seed, purpose, step), so nothing but counters and weights has to
be kept to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, get_args

import torch
from stable_baselines3.common.utils import get_device
from torch import Tensor, nn

from ...agents.assembled import Purpose, check_policy_options, policy_of_name
from ...agents.checks import check_device, check_least, check_positive
from ...agents.counter_rng import fold_in
from ...agents.policies import Policy
from ...agents.pretraining import seeded
from ...envs import Constraint, Vocabulary
from ...rewards.state import with_prefix
from .augmentation import AUGMENTATIONS
from .schedules import Schedule

Weights = dict[str, Tensor]


@dataclass
class Progress:
    """How far a fit has come."""

    step: int = 0
    """Updates so far."""
    seconds: float = 0.0
    """Wall time of all sittings."""
    best: float | None = None
    """The best figure on held-out sequences."""
    waited: int = 0
    """Epochs since then."""
    stopped: str | None = None
    """Why the fit ended early, if it did."""


class AssembledLearner:
    """The parts of a learner, put together; ``Learner`` documents the arguments."""

    def __init__(
        self,
        policy: str | Policy = "GRU",
        *,
        vocabulary: Vocabulary | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        schedule: Schedule = "linear",
        warmup_steps: int = 0,
        weight_decay: float = 0.0,
        max_grad_norm: float = 1.0,
        averaging: float = 0.0,
        patience: int | None = None,
        augmentation: str | None = None,
        max_length: int | None = None,
        seed: int = 0,
        device: torch.device | str = "auto",
    ) -> None:
        check_least(1, batch_size=batch_size, max_length=max_length or 1)
        check_least(1, patience=1 if patience is None else patience)
        check_least(0, warmup_steps=warmup_steps, weight_decay=weight_decay, seed=seed)
        check_positive(learning_rate=learning_rate, max_grad_norm=max_grad_norm)
        check_device(device)
        check_policy_options(policy, policy_kwargs)
        check_known("schedule", schedule, get_args(Schedule))
        check_known("augmentation", augmentation, [None, *AUGMENTATIONS])
        if not 0 <= averaging < 1:
            raise ValueError(f"averaging is {averaging!r}; expected a share in [0, 1)")
        self.batch_size, self.learning_rate, self.schedule = batch_size, learning_rate, schedule
        self.warmup_steps, self.weight_decay = warmup_steps, weight_decay
        self.max_grad_norm, self.averaging = max_grad_norm, averaging
        self.patience, self.augmentation = patience, augmentation
        self.max_length = max_length or 0  # 0 until it is known
        self.seed = seed
        self.device = get_device(device)
        self.constraint: Constraint | None = None  # which tokens may come next when it samples
        self.progress = Progress()
        self.sampled = 0
        # True from a step's first update until it is counted: what is between is no whole step.
        self.within_update = False
        self._optimizers: dict[str, torch.optim.Optimizer] | None = None
        self._average: Weights | None = None  # exponentially weighted, of all weights
        self._best: Weights | None = None  # those of the best figure on held-out sequences
        self._in_training: Weights | None = None  # those to go on from, while others are shown
        self.policy = self._made(policy, vocabulary, policy_kwargs or {})
        self.policy.to(self.device).eval()

    # --- what a subclass may define -----------------------------------------------------------

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All that is trained and saved, by name."""
        return {"policy": self.policy}

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name, each of the modules that it moves."""
        return {"all": self.adam(*self.modules.values())}

    # --- what it builds on --------------------------------------------------------------------

    def adam(self, *modules: nn.Module, learning_rate: float | None = None) -> torch.optim.AdamW:
        """Adam over these modules' weights; weight decay acts on matrices alone.

        Args:
            modules: whose weights it moves.
            learning_rate: at the first step; the learner's own by default.
        """
        weights = list(dict.fromkeys(w for module in modules for w in module.parameters()))
        weights = [w for w in weights if w.requires_grad]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": 0.0}]
        if self.weight_decay:
            matrices, vectors = ([w for w in weights if (w.ndim > 1) == m] for m in (True, False))
            groups = [
                {"params": matrices, "weight_decay": self.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ]
        rate = self.learning_rate if learning_rate is None else learning_rate
        for group in groups:
            group["lr"] = group["initial_lr"] = rate
        return torch.optim.AdamW(groups)

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers, made when they are first wanted."""
        if self._optimizers is None:
            self._optimizers = self.make_optimizers()
        return self._optimizers

    def seeded(self, purpose: Purpose, *numbers: int) -> AbstractContextManager[None]:
        """A block whose random numbers are a function of (seed, purpose, numbers)."""
        return seeded(self.seed_of(purpose, *numbers))

    def seed_of(self, purpose: Purpose, *numbers: int) -> int:
        """The seed of a purpose."""
        return fold_in(self.seed, purpose, *numbers)

    def descend(self, loss: Tensor, optimizer: str = "all") -> float:
        """One step down a loss, of the weights of one optimiser; no other gets a gradient.

        Returns:
            The gradient's norm before it was clipped.

        Raises:
            FloatingPointError: that norm is not finite; the weights are as they were.
        """
        chosen = self.optimizers[optimizer]
        weights = [weight for group in chosen.param_groups for weight in group["params"]]
        loss.backward(inputs=weights)
        norm = nn.utils.clip_grad_norm_(weights, self.max_grad_norm)
        if norm.isfinite():
            self.within_update = True
            chosen.step()
        chosen.zero_grad(set_to_none=True)
        if not norm.isfinite():
            raise FloatingPointError(
                f"the gradient's norm is {float(norm)} in step {self.progress.step} (loss "
                f"{float(loss.detach())}), so the weights were left as they were; take a smaller "
                "learning_rate"
            )
        return float(norm)

    # --- weights ------------------------------------------------------------------------------

    def _weights(self) -> Weights:
        """All weights by ``module.name``; the tensors themselves, no copies."""
        return {
            f"{name}.{key}": tensor
            for name, module in self.modules.items()
            for key, tensor in module.state_dict().items()
        }

    def _load_weights(self, weights: Mapping[str, Tensor]) -> None:
        for name, module in self.modules.items():
            module.load_state_dict(with_prefix(name, weights))

    def _update_average(self) -> None:
        """The average moves by 1 - averaging to the weights, in the first steps by more."""
        if not self.averaging:
            return
        if self._average is None:
            self._average = copied(self._weights())
            return
        step = self.progress.step
        share = 1 - min(self.averaging, (1 + step) / (10 + step))
        for key, weight in self._weights().items():
            if weight.is_floating_point():
                self._average[key].lerp_(weight, share)
            else:
                self._average[key].copy_(weight)

    def _show(self, weights: Weights | None) -> None:
        """Put weights in place, and keep those in training; None leaves these."""
        if weights is not None and self._in_training is None:
            self._in_training = copied(self._weights())
            self._load_weights(weights)

    def _back_to_training(self) -> None:
        if self._in_training is not None:
            self._load_weights(self._in_training)
            self._in_training = None

    def _made(
        self, policy: str | Policy, vocabulary: Vocabulary | None, options: dict[str, Any]
    ) -> Policy:
        if isinstance(policy, Policy):
            if vocabulary is not None and vocabulary != policy.vocabulary:
                raise ValueError(
                    f"the policy writes {policy.vocabulary}, the vocabulary is {vocabulary}; give "
                    "the policy alone"
                )
            return policy
        if vocabulary is None:
            raise ValueError(f"a {policy} policy needs a vocabulary; give vocabulary=")
        with self.seeded(Purpose.INITIAL_WEIGHTS):
            return policy_of_name(policy)(vocabulary, **options)


def copied(weights: Weights) -> Weights:
    """Copies of these tensors."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def check_known(what: str, name: object, known: list[Any] | tuple[Any, ...]) -> None:
    """Raise where a name is none of those known."""
    if name not in known:
        raise ValueError(f"{what} is {name!r}; expected one of {', '.join(map(repr, known))}")
