"""Learners whose sequences may be conditioned, on a class or on real properties.

The policy reads the condition c at every step: a class one-hot, properties standardised over the
data. Where a learner has codes, c stands after the code z. Where nothing is asked for the policy
draws its own: c from the classes or from the data, z from the prior.

``evaluate`` says how well c steers, where c can be measured: objectives name it.
"""

# Shapes: B sequences, L numbers of a code, C of a condition c, M modes of what is drawn
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...agents.assembled import Purpose
from ...agents.checks import check_least
from ...agents.policies import Policy
from ...envs import Sequences
from ...rewards import make_reward
from ..metrics import Estimate
from .asked import class_figures, measured, property_figures
from .learner import Learner

_DRAWN_FROM = 32  # rows of data whose properties are written when none are asked for
_MOST = 2000  # conditions that are written for in an evaluation


class ConditionalLearner(Learner):
    """A learner that may be conditional; ``Learner`` documents the other arguments.

    Args:
        policy: ``"GRU"``, ``"LSTM"``, ``"Transformer"``, or a Policy whose ``condition_size`` is
            the numbers of c, and of a code where there is one, and whose ``modes`` are the classes,
            32 of properties, times the prior's.
        classes: how many, of sequences that carry labels, int64 (B,); 0 where there are none.
        class_of: the name of an objective that says the class of a text, where labels are not
            carried, such as ``"rings"``.
        properties: names of objectives that c is made of, such as ``["qed"]``; or how many real
            numbers the sequences carry (B, C).
        **options: of ``Learner``.
    """

    latent = 0  # L
    components = 1  # modes of the prior of z

    def __init__(
        self,
        policy: str | Policy = "GRU",
        *,
        classes: int = 0,
        class_of: str | None = None,
        properties: list[str] | int = 0,
        **options: Any,
    ) -> None:
        check_least(0, classes=classes)
        numbers = properties if isinstance(properties, int) else len(properties)
        check_least(0, properties=numbers)
        if classes and numbers:
            raise ValueError(f"classes is {classes} and properties {properties!r}; give one")
        if class_of is not None and not classes:
            raise ValueError(f"class_of is {class_of!r} and classes 0; say how many classes")
        self.classes, self.class_of, self.properties = classes, class_of, properties
        named = [] if isinstance(properties, int) else properties
        self._measures = [make_reward(name) for name in ([class_of] if class_of else named)]
        self.condition_numbers = classes or numbers
        size = self.latent + self.condition_numbers
        modes = self.components * (classes or (_DRAWN_FROM if numbers else 1))
        if isinstance(policy, str) and size:
            reads = {"condition_size": size, "modes": modes}
            options["policy_kwargs"] = reads | (options.get("policy_kwargs") or {})
        super().__init__(policy, **options)
        if self.policy.condition_size != size:
            raise ValueError(
                f"the policy reads a condition of {self.policy.condition_size} numbers; with "
                f"latent={self.latent}, classes={classes} and properties={properties!r} it should "
                f"be one of condition_size={size}"
            )
        if size and len(self.policy.prior.mean_MC) != modes:
            raise ValueError(
                f"the policy draws what it reads from {len(self.policy.prior.mean_MC)} modes; make "
                f"it with modes={modes}"
            )
        self.scaling = Scaling(self.condition_numbers).to(self.device)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The policy, and the scale of real conditions."""
        real = self.condition_numbers and not self.classes
        return super().modules | ({"scaling": self.scaling} if real else {})

    def prepare(self, data: Sequences) -> None:
        """At the first step, take the scale of conditions, and what is drawn, from the data."""
        if self.progress.step or not self.policy.condition_size:
            return
        if self.condition_numbers and not self.classes:
            self.scaling.measure(self._carried(data))
        mean_ML, scale_L = self.code_prior()
        rows_MC = self._drawn_conditions(data)
        prior = self.policy.prior
        both = [mean_ML.repeat_interleave(len(rows_MC), dim=0), rows_MC.repeat(len(mean_ML), 1)]
        prior.mean_MC.copy_(torch.cat(both, dim=1))
        prior.scale_C.copy_(torch.cat([scale_L, scale_L.new_zeros(self.condition_numbers)]))

    def code_prior(self) -> tuple[Tensor, Tensor]:
        """Means (components, L) and deviations (L,) of the prior of codes."""
        return torch.zeros(self.components, self.latent), torch.ones(self.latent)

    def _drawn_conditions(self, data: Sequences) -> Tensor:
        """Conditions (M, C), as the policy reads them, that are written when none is asked for."""
        if self.classes:
            return torch.eye(self.classes)
        if not self.condition_numbers:
            return torch.zeros(1, 0)
        rows = torch.linspace(0, len(data) - 1, _DRAWN_FROM).long()
        given = self.condition_of(data[rows])
        assert given is not None
        return given.cpu()

    # --- conditions ---------------------------------------------------------------------------

    def condition_of(self, sequences: Sequences) -> Tensor | None:
        """C of sequences as the networks read it, (B, C); None for an unconditional learner."""
        return self._as_read(self._carried(sequences)) if self.condition_numbers else None

    def _carried(self, sequences: Sequences) -> Tensor:
        if sequences.condition_B is None:
            raise ValueError(
                f"the sequences have no condition; a learner with classes={self.classes}, "
                f"properties={self.properties!r} needs sequences.given(conditions)"
            )
        return sequences.condition_B

    def _as_read(self, condition: Tensor) -> Tensor:
        if self.classes:
            if condition.ndim != 1 or condition.is_floating_point():
                raise ValueError(
                    f"the condition has shape {tuple(condition.shape)} and type {condition.dtype}; "
                    f"expected labels, int64 (B,), below {self.classes}"
                )
            if len(condition) and not 0 <= condition.min() <= condition.max() < self.classes:
                raise ValueError(
                    f"the labels are {int(condition.min())} to {int(condition.max())}; expected "
                    f"those of {self.classes} classes, 0 to {self.classes - 1}"
                )
            return F.one_hot(condition.to(self.device), self.classes).to(self.policy.dtype)
        if condition.ndim != 2 or condition.shape[1] != self.condition_numbers:
            raise ValueError(
                f"the condition has shape {tuple(condition.shape)}; expected "
                f"(B, {self.condition_numbers})"
            )
        scaled: Tensor = self.scaling(condition.to(self.device, self.policy.dtype))
        return scaled

    def _encoded(self, sequences: Sequences | list[str]) -> Sequences:
        """With the conditions that objectives name, where the sequences carry none."""
        found = super()._encoded(sequences)
        if found.condition_B is not None or not self._measures:
            return found
        values_BC = measured(self._measures, found)
        failed_B = values_BC.isnan().any(dim=1)
        if failed_B.any():
            names, first = [each.name for each in self._measures], int(failed_B.nonzero()[0, 0])
            raise ValueError(
                f"{int(failed_B.sum())} sequences have no {' or '.join(names)}, the "
                f"first {found.texts[first]!r}; leave them out"
            )
        return found.given(_labels(values_BC[:, 0]) if self.classes else values_BC)

    # --- writing ------------------------------------------------------------------------------

    def _to_write_under(self, n: int, condition: Tensor | None, seed: int) -> Tensor | None:
        """A code of the prior where there are codes, and c as it is asked for."""
        if condition is None:
            return None
        if not self.condition_numbers:
            return super()._to_write_under(n, condition, seed)
        asked = self._as_read(condition)
        drawn = self.policy.draw_condition(seed, torch.arange(n, device=self.device))
        assert drawn is not None
        if len(asked) not in (1, n):
            raise ValueError(f"there are {len(asked)} conditions for {n} sequences; give n, or one")
        return self.under(drawn[:, : self.latent], asked.expand(n, -1))

    def under(self, z_BL: Tensor, condition_BC: Tensor | None) -> Tensor:
        """What the policy reads: a code, then c, (B, L + C)."""
        return z_BL if condition_BC is None else torch.cat([z_BL, condition_BC], dim=1)

    def asked_for(self, numbers: list[float]) -> Tensor:
        """The condition of one sequence, for ``sample``: its class, or its C properties."""
        given = torch.tensor(numbers)
        return _labels(given) if self.classes else given[None]

    def asked_figures(self, sequences: Sequences | list[str]) -> dict[str, Estimate]:
        """What is written for the conditions of at most 2,000 sequences, against these conditions.

        See asked.py; no figures where no objective names what conditions are.

        Args:
            sequences: held out; whose conditions are asked for.
        """
        if not self._measures:
            return {}
        asked = self._carried(self._encoded(sequences))[:_MOST].cpu()
        seed = self.seed_of(Purpose.MINIBATCHES)
        found_BC = measured(self._measures, self.sample(len(asked), condition=asked, seed=seed))
        if self.classes:
            return class_figures(asked, found_BC[:, 0].cpu())
        return property_figures([each.name for each in self._measures], asked, found_BC.cpu())


def _labels(values_B: Tensor) -> Tensor:
    """Classes, int64, of numbers."""
    if (values_B != values_B.round()).any():
        value = float(values_B[values_B != values_B.round()][0])
        raise ValueError(f"a class is {value}; expected 0, 1, 2, ...")
    return values_B.long()


class Scaling(nn.Module):
    """Properties to mean 0 and deviation 1 over the data.

    Args:
        size: C.
    """

    mean_C: Tensor
    deviation_C: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean_C", torch.zeros(size))
        self.register_buffer("deviation_C", torch.ones(size))

    def measure(self, condition_BC: Tensor) -> None:
        """Take the scale of these."""
        self.mean_C.copy_(condition_BC.mean(dim=0))
        self.deviation_C.copy_(condition_BC.std(dim=0, correction=0).clamp(min=1e-6))

    def forward(self, condition_BC: Tensor) -> Tensor:
        """Standardised."""
        return (condition_BC - self.mean_C) / self.deviation_C
