"""The Reward contract: what a batch of finished sequences is worth.

A reward is called with a batch and knows no environment. Its components combine with numbers and
operators, ``0.5 * ConvDiscriminator() + 0.5 * QED() * Valid()``, and every component's own values
are kept beside the total.

A component that fails on a sequence marks it not ok. A failure is never 0 and never 1: its value is
NaN, it is left out of the gradient, and it is counted. A string that is no molecule is no failure;
its druglikeness is a true 0.0.
"""

# Shapes: B sequences
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..envs.sequences import Sequences
    from ..envs.vocabulary import Vocabulary

Credit = Literal["rollouts", "terminal"]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a reward says of B sequences.

    Args:
        values_B: float32, on the sequences' device; NaN where ``ok_B`` is False.
        ok_B: bool, False where a component failed.
        parts: every component's own value by name, (B,) float32, NaN where it failed.
    """

    values_B: Tensor
    ok_B: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, values_B: Tensor, ok_B: Tensor | None = None) -> Scores:
        """The scores of a single component; not ok where ``ok_B`` says so or a value is NaN."""
        values_B = values_B.detach().float()
        if ok_B is not None:
            values_B = values_B.masked_fill(~ok_B, torch.nan)
        ok_B = values_B == values_B  # NaN alone differs from itself
        return cls(values_B, ok_B, {name: values_B})


class Reward(ABC):
    """Scores a batch of sequences; subclasses define ``__call__``.

    Attributes:
        name: under which the values are logged.
        credit: ``"rollouts"`` when the reward is cheap enough to score every Monte Carlo
            completion, ``"terminal"`` when it scores the finished sequence once.
        range: the lowest and the highest value, as far as they are known.
    """

    name: str = "reward"
    credit: Credit = "terminal"
    range: tuple[float, float] = (-float("inf"), float("inf"))

    @abstractmethod
    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences."""

    @property
    def children(self) -> tuple[Reward, ...]:
        """The rewards that this one is made of; none for a component."""
        return ()

    def components(self) -> Iterator[Reward]:
        """The leaves of the expression, each object once."""
        seen: set[int] = set()
        stack: list[Reward] = [self]
        while stack:
            reward = stack.pop()
            stack.extend(reversed(reward.children))
            if not reward.children and id(reward) not in seen:
                seen.add(id(reward))
                yield reward

    def terms(self) -> list[tuple[float, Reward]]:
        """The reward as a weighted sum; a single term when it is not a sum."""
        return [(1.0, self)]

    def prepare(self, vocabulary: Vocabulary, max_length: int, device: torch.device | str) -> None:
        """Tell the components which sequences will come; what needs no telling ignores it."""
        for child in self.children:
            child.prepare(vocabulary, max_length, device)

    def __add__(self, other: Reward) -> Reward:
        if not isinstance(other, Reward):
            return NotImplemented
        return Sum([*self.terms(), *other.terms()])

    def __radd__(self, other: float) -> Reward:
        return self if other == 0 else NotImplemented  # so that sum([...]) works

    def __mul__(self, other: float | Reward) -> Reward:
        if isinstance(other, int | float):
            return Sum([(other * weight, reward) for weight, reward in self.terms()])
        if not isinstance(other, Reward):
            return NotImplemented
        mine, theirs = self.terms(), other.terms()
        if len(mine) > 1 or len(theirs) > 1:
            return Product([self, other])
        (weight, left), (other_weight, right) = mine[0], theirs[0]
        product = Product([*_factors(left), *_factors(right)])
        scale = weight * other_weight
        return product if scale == 1.0 else Sum([(scale, product)])

    __rmul__ = __mul__


class TrainableReward(Reward):
    """A reward that learns: a discriminator, a preference model.

    Attributes:
        network: its weights; exists once ``prepare`` was called.
        optimizer: what updates them.
        updates: how many updates it has had.
    """

    credit: Credit = "rollouts"
    network: nn.Module
    optimizer: torch.optim.Optimizer
    updates: int = 0

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Make the weights anew, as a function of the seed alone; after ``prepare``."""

    @abstractmethod
    def update(self, real: Sequences, generated: Sequences) -> dict[str, float]:
        """Learn from one batch of each; returns metrics for the log."""


class Sum(Reward):
    """A weighted sum, usually written ``0.5 * a + 0.5 * b``."""

    def __init__(self, terms: list[tuple[float, Reward]]) -> None:
        self._terms = terms
        self.name = " + ".join(
            reward.name if weight == 1 else f"{weight:g} * {reward.name}"
            for weight, reward in terms
        )
        lows, highs = zip(
            *(sorted((w * r.range[0], w * r.range[1])) for w, r in terms), strict=True
        )
        self.range = (sum(lows), sum(highs))
        self.credit = _joint_credit([reward for _, reward in terms])

    @property
    def children(self) -> tuple[Reward, ...]:
        """The summands."""
        return tuple(reward for _, reward in self._terms)

    def terms(self) -> list[tuple[float, Reward]]:
        """The weights and the summands."""
        return self._terms

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences: sum_i w_i r_i, not ok where any summand is not."""
        scores = [reward(sequences) for reward in self.children]
        weighted = [w * s.values_B for (w, _), s in zip(self._terms, scores, strict=True)]
        return _joint_scores(torch.stack(weighted).sum(dim=0), scores)


class Product(Reward):
    """A product, usually written ``a * b``."""

    def __init__(self, factors: list[Reward]) -> None:
        self._factors = tuple(factors)
        self.name = " * ".join(
            f"({reward.name})" if isinstance(reward, Sum) else reward.name for reward in factors
        )
        low, high = 1.0, 1.0
        for reward in factors:
            ends = [_times(a, b) for a in (low, high) for b in reward.range]
            low, high = min(ends), max(ends)
        self.range = (low, high)
        self.credit = _joint_credit(factors)

    @property
    def children(self) -> tuple[Reward, ...]:
        """The factors."""
        return self._factors

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences: prod_i r_i, not ok where any factor is not."""
        scores = [reward(sequences) for reward in self._factors]
        return _joint_scores(torch.stack([s.values_B for s in scores]).prod(dim=0), scores)


def _factors(reward: Reward) -> tuple[Reward, ...]:
    return reward.children if isinstance(reward, Product) else (reward,)


def _times(a: float, b: float) -> float:
    return 0.0 if 0.0 in (a, b) else a * b  # 0 * inf is 0 for a bound


def _joint_credit(rewards: list[Reward]) -> Credit:
    return "rollouts" if all(reward.credit == "rollouts" for reward in rewards) else "terminal"


def _joint_scores(values_B: Tensor, scores: list[Scores]) -> Scores:
    parts: dict[str, Tensor] = {}
    for score in scores:
        for name, part_B in score.parts.items():
            count = sum(known == name or known.startswith(f"{name}#") for known in parts)
            parts[name if count == 0 else f"{name}#{count + 1}"] = part_B
    ok_B = torch.stack([score.ok_B for score in scores]).all(dim=0)
    return Scores(values_B.masked_fill(~ok_B, torch.nan), ok_B, parts)
