"""Several objectives made one, beyond ``+`` and ``*``: powers, Pareto fronts, the worst shortfall.

    GeometricMean(QED(), Valid(), weights=[2, 1])    # geometric_mean(qed, valid, weights=[2, 1])

Rewards are given by position, options by keyword, in Python as in an expression. A sequence that
any of the rewards failed on is failed, and takes no part in what others are compared with.
"""

# Shapes: B sequences, I rewards, F fronts
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .base import Reward, Scores, joint_credit, joint_scores
from .checks import check_numbers
from .parts import function_name, joined_parts

if TYPE_CHECKING:
    from ..envs.sequences import Sequences


class Operator(Reward):
    """A reward computed from the values of others; subclasses define ``combine``.

    Its own value is logged too, under what it is called: ``geometric_mean``.
    """

    kind = "operator"

    def __init__(self, *rewards: Reward, **options: object) -> None:
        self._rewards = checked_rewards(type(self).__name__, rewards)
        self.name = call_text(self, rewards, options)
        self.credit = joint_credit(rewards)

    @property
    def children(self) -> tuple[Reward, ...]:
        """The rewards that are combined."""
        return self._rewards

    @abstractmethod
    def combine(self, values_IB: Tensor, sequences: Sequences) -> Tensor:
        """The values (B,) float32; ``values_IB`` is NaN where a reward failed."""

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences, not ok where any of the rewards is not."""
        scores = [reward(sequences) for reward in self._rewards]
        values_IB = torch.stack([score.values_B for score in scores])
        found = joint_scores(self.combine(values_IB, sequences), scores)
        return replace(found, parts=joined_parts([{self.label: found.values_B}, found.parts]))


class Mean(Operator):
    """The mean of the values: of an ensemble of discriminators, say, whose errors differ.

    Args:
        *rewards: on one scale.
    """

    def __init__(self, *rewards: Reward) -> None:
        super().__init__(*rewards)
        ends_IB = torch.tensor([reward.range for reward in rewards])
        self.range = bounds(ends_IB.mean(dim=0))

    def combine(self, values_IB: Tensor, sequences: Sequences) -> Tensor:
        """The mean."""
        return values_IB.mean(dim=0)


class WeightedProduct(Operator):
    """prod_i r_i ** w_i, of values that are at least 0.

    Args:
        *rewards: the factors r_i.
        weights: the exponents w_i, positive; 1 each by default.
    """

    def __init__(self, *rewards: Reward, weights: Sequence[float] | None = None) -> None:
        super().__init__(*rewards, weights=weights)
        self.exponents = self._exponents(checked_weights(rewards, weights))
        ends_IB = torch.tensor([reward.range for reward in rewards]).clamp(min=0)
        self.range = bounds(power_product(ends_IB, self.exponents))

    def _exponents(self, weights: tuple[float, ...]) -> tuple[float, ...]:
        return weights

    def combine(self, values_IB: Tensor, sequences: Sequences) -> Tensor:
        """The product of powers.

        Raises:
            ValueError: a value is negative.
        """
        for reward, values_B in zip(self.children, values_IB, strict=True):
            if (values_B < 0).any():
                first = int((values_B < 0).nonzero()[0])
                raise ValueError(
                    f"{reward.name} is {float(values_B[first]):g} for {sequences.texts[first]!r}; "
                    f"{self.name} takes values of at least 0, bring it to [0, 1] with a transform"
                )
        return power_product(values_IB, self.exponents)


class GeometricMean(WeightedProduct):
    """prod_i r_i ** (w_i / sum_j w_j): near 0 as soon as one value is, whatever the others are.

    REINVENT (Blaschke et al., 2020) calls it the custom product. There, a sequence whose every
    component failed gets the empty product 1, the best value there is; here it is failed.

    Args:
        *rewards: of values of at least 0.
        weights: positive; 1 each by default.
    """

    def _exponents(self, weights: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(weight / sum(weights) for weight in weights)


class Chebyshev(Operator):
    """1 - max_i w_i (z_i - r_i), the largest weight scaled to 1: the worst shortfall counts.

    The achievement scalarisation of Wierzbicki (1980), the weighted Chebyshev distance to a
    reference point z that one aspires to. With equal weights and z = 1 it is the least of the
    values. Unlike a weighted sum it can prefer any point of a Pareto front, one that bends inwards
    too; unlike ``Pareto`` a sequence has the same value in every batch, alone, and as a completion.

    Args:
        *rewards: on comparable scales, best [0, 1].
        weights: positive; 1 each by default.
        reference: the point z; 1 each by default.
    """

    def __init__(
        self,
        *rewards: Reward,
        weights: Sequence[float] | None = None,
        reference: Sequence[float] | None = None,
    ) -> None:
        super().__init__(*rewards, weights=weights, reference=reference)
        check_numbers(reference=[] if reference is None else reference)
        self.weights = checked_weights(rewards, weights)
        self.reference = tuple([1.0] * len(rewards) if reference is None else reference)
        if len(self.reference) != len(rewards) or not all(map(math.isfinite, self.reference)):
            raise ValueError(
                f"reference is {reference}; expected {len(rewards)} finite numbers, one for each "
                "reward"
            )
        ends_IB = torch.tensor([reward.range for reward in rewards])
        self.range = bounds(achievement(ends_IB, self.weights, self.reference))

    def combine(self, values_IB: Tensor, sequences: Sequences) -> Tensor:
        """One minus the worst shortfall."""
        return achievement(values_IB, self.weights, self.reference)


class Pareto(Operator):
    """How a sequence's trade-off stands in its batch, in [0, 1], without any weights.

    One sequence dominates another when it is nowhere worse and somewhere better. The first front is
    what nothing dominates, the second what only the first dominates, and so on (the non-dominated
    sorting of Deb, Pratap, Agarwal and Meyarivan, 2002). The value is the share of the other
    sequences that lie on a later front, those on the same front counted half: 0.5 for a sequence
    alone. Failed sequences are left out of the ranking.

    Ranks suit policy gradients where scales do not compare: they know no units and no outliers, and
    their mean is 0.5 in every batch, so that only the order teaches. Members of fronts are counted,
    not fronts, since the number of fronts is chance. Crowding distances are left out: they tell
    equal sequences apart by where they stand in the batch, and spread is a matter for diversity
    rewards. The price: values of different batches do not compare, completions are not ranked (the
    credit is always "terminal"), and with many rewards nearly everything lies on the first front.
    ``Chebyshev`` is the stationary alternative.

    Args:
        *rewards: more is better in each; their scales do not matter.
    """

    range = (0.0, 1.0)

    def __init__(self, *rewards: Reward) -> None:
        super().__init__(*rewards)
        self.credit = "terminal"

    def combine(self, values_IB: Tensor, sequences: Sequences) -> Tensor:
        """The ranks of what did not fail."""
        ok_B = ~values_IB.isnan().any(dim=0)
        values_B = torch.full_like(values_IB[0], torch.nan)
        values_B[ok_B] = pareto_ranks(values_IB[:, ok_B])
        return values_B


def power_product(values_IB: Tensor, exponents: Sequence[float]) -> Tensor:
    """prod_i r_i ** w_i for values of at least 0; 0 wherever one of them is 0. float32 (B,)."""
    exponents_I = values_IB.new_tensor(exponents, dtype=torch.float64)
    powers_IB = values_IB.double() ** exponents_I[:, None]
    return powers_IB.prod(dim=0).masked_fill((powers_IB == 0).any(dim=0), 0.0).float()


def achievement(values_IB: Tensor, weights: Sequence[float], reference: Sequence[float]) -> Tensor:
    """1 - max_i w_i / max_j w_j (z_i - r_i): Wierzbicki (1980), without the augmenting term."""
    scaled_I = values_IB.new_tensor(weights) / max(weights)
    short_IB = values_IB.new_tensor(reference)[:, None] - values_IB
    return 1 - (scaled_I[:, None] * short_IB).amax(dim=0)


def pareto_ranks(values_IB: Tensor) -> Tensor:
    """The share of the others on later fronts, plus half of that on the same one; float32 (B,)."""
    fronts_B = pareto_fronts(values_IB)
    sizes_F = torch.bincount(fronts_B)
    later_F = len(fronts_B) - sizes_F.cumsum(dim=0)
    ranks_F = (later_F + (sizes_F - 1) / 2) / max(len(fronts_B) - 1, 1)
    return ranks_F[fronts_B].float() if len(fronts_B) > 1 else torch.full_like(values_IB[0], 0.5)


def pareto_fronts(values_IB: Tensor) -> Tensor:
    """The front of each of B points, int64 from 0, the best; more is better in each of I values.

    Deb et al. (2002), fast non-dominated sorting: O(I B^2) time, O(B^2) bytes.
    """
    B = values_IB.shape[1]
    no_worse_BB = torch.ones(B, B, dtype=torch.bool, device=values_IB.device)
    better_BB = torch.zeros_like(no_worse_BB)
    for values_B in values_IB:
        no_worse_BB &= values_B[:, None] >= values_B
        better_BB |= values_B[:, None] > values_B
    dominates_BB = (no_worse_BB & better_BB).float()  # sums of floats are faster than of bools
    dominators_B = dominates_BB.sum(dim=0)
    fronts_B = torch.full((B,), -1, device=values_IB.device)
    front = 0
    while len(now := ((dominators_B == 0) & (fronts_B < 0)).nonzero()[:, 0]):
        fronts_B[now] = front
        dominators_B -= dominates_BB[now].sum(dim=0)
        front += 1
    return fronts_B


def checked_rewards(who: str, rewards: Sequence[object]) -> tuple[Reward, ...]:
    """The rewards, one or more.

    Raises:
        TypeError: there is none, or one of them is no Reward.
    """
    found = tuple(reward for reward in rewards if isinstance(reward, Reward))
    if not found or len(found) != len(rewards):
        raise TypeError(f"{who} takes one reward or more by position, got {list(rewards)}")
    return found


def checked_weights(
    rewards: Sequence[Reward], weights: Sequence[float] | None
) -> tuple[float, ...]:
    """A positive finite weight for each reward; 1 each by default.

    Raises:
        ValueError: another number of weights, or one that is not positive and finite.
    """
    if weights is None:
        return (1.0,) * len(rewards)
    check_numbers(weights=weights)
    if len(weights) != len(rewards) or not all(0 < weight < math.inf for weight in weights):
        raise ValueError(
            f"weights are {list(weights)}; expected {len(rewards)} positive numbers, one for each "
            f"of {', '.join(reward.name for reward in rewards)}"
        )
    return tuple(float(weight) for weight in weights)


def bounds(ends_2: Tensor) -> tuple[float, float]:
    """A range from its two ends."""
    return float(ends_2[0]), float(ends_2[1])


def call_text(made: Reward, rewards: Iterable[Reward], options: Mapping[str, object]) -> str:
    """The expression that makes a reward: its class in small letters, its rewards, its options.

    Options that are None are left out.
    """
    written = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    arguments = ", ".join([*(reward.name for reward in rewards), *written])
    return f"{function_name(type(made))}({arguments})"
