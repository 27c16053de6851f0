"""Transforms: a reward's values brought to [0, 1], where they can be compared and multiplied.

    Sigmoid(QED(), low=0.2, high=0.8)      # in an expression: sigmoid(qed, low=0.2, high=0.8)

The formulas are those of REINVENT 4 (Loeffler et al., 2024; ``reinvent/scoring/transforms``) and
GuacaMol (Brown et al., 2019; ``guacamol/score_modifier.py``); as functions of tensors they stand in
curves.py. A transform is a Reward around one other Reward, and keeps its credit. A failure stays
one: NaN in, NaN out. What the reward itself said stands among the parts as ``<name>.raw``.
"""

# Shapes: B sequences
from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import curves
from .base import Reward, Scores
from .combining import bounds, call_text, checked_rewards
from .parts import transformed_parts

if TYPE_CHECKING:
    from ..envs.sequences import Sequences

_LEAST_SPREAD = 0.01  # what spreads less over all its reward's range was meant for another one


@dataclass(eq=False, repr=False)
class Transform(Reward):
    """A function of another reward's values; subclasses add options and define ``transform``.

    It is logged under the label of that reward, and what it was given under that with ``.raw``.
    """

    reward: Reward

    kind = "transform"

    def __post_init__(self) -> None:
        """Check the options; name, credit and range follow from the reward."""
        checked_rewards(type(self).__name__, [self.reward])
        defaults = {field.name: field.default for field in fields(self)}
        given = {k: v for k, v in self.options().items() if v != defaults[k]}
        self.name = call_text(self, [self.reward], given)
        self.check()
        self.credit = self.reward.credit
        self.range = self.image(*self.reward.range)
        self._check_spread()

    @abstractmethod
    def transform(self, x_B: Tensor) -> Tensor:
        """The values for those of the reward, in the same dtype; NaN for NaN."""

    def turns(self) -> tuple[float, ...]:
        """Where it turns from rising to falling, or jumps; nowhere when it is monotone."""
        return ()

    def image(self, low: float, high: float) -> tuple[float, float]:
        """The least and the greatest value for anything in [low, high]."""
        places = [low, high, *(min(max(turn, low), high) for turn in self.turns())]
        return bounds(self.transform(torch.tensor(places, dtype=torch.float64)).sort()[0][[0, -1]])

    def check(self) -> None:
        """Check the options.

        Raises:
            ValueError: one of them is no number, or they do not fit together.
        """
        for name, value in self.options().items():
            if not isinstance(value, int | float) or math.isnan(value):
                raise ValueError(f"{self.name}: {name} is {value!r}; expected a number")

    def _check_spread(self) -> None:
        (low, high), (least, greatest) = self.reward.range, self.range
        if greatest - least < _LEAST_SPREAD:
            raise ValueError(
                f"{self.name} says nothing: {self.reward.name} lies in {low:g} .. {high:g}, which "
                f"becomes {least:.3g} .. {greatest:.3g}; choose options that fit that range"
            )

    def require(self, holds: bool, what: str) -> None:
        """Raise a ValueError that says what is expected of the options, unless it holds."""
        if not holds:
            raise ValueError(f"{self.name}: expected {what}")

    def options(self) -> dict[str, object]:
        """The options by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)[1:]}

    @property
    def children(self) -> tuple[Reward, ...]:
        """The reward that is transformed."""
        return (self.reward,)

    @property
    def label(self) -> str:
        """That of the reward."""
        return self.reward.label

    def __call__(self, sequences: Sequences) -> Scores:
        """Score B sequences, not ok where the reward is not."""
        scores = self.reward(sequences)
        values_B = self.transform(scores.values_B).masked_fill(~scores.ok_B, torch.nan)
        parts = transformed_parts(self.label, values_B, scores.values_B, scores.parts)
        return replace(scores, values_B=values_B, parts=parts)


@dataclass(eq=False, repr=False)
class Sigmoid(Transform):
    """1 / (1 + 10 ** (-10 k (x - (low + high) / 2) / (high - low))), as in REINVENT.

    With k = 0.5 it is 0.003 at ``low``, 0.5 half way and 0.997 at ``high``.
    """

    _: KW_ONLY
    low: float
    high: float
    k: float = 0.5

    def check(self) -> None:
        """Numbers, low < high, k > 0."""
        super().check()
        self.require(self.low < self.high and self.k > 0, "low < high and k > 0")

    def transform(self, x_B: Tensor) -> Tensor:
        """The function above."""
        return curves.sigmoid(x_B, self.low, self.high, self.k)


@dataclass(eq=False, repr=False)
class ReverseSigmoid(Sigmoid):
    """1 - Sigmoid: with k = 0.5 it is 0.997 at ``low``, 0.5 half way and 0.003 at ``high``."""

    def transform(self, x_B: Tensor) -> Tensor:
        """The function above."""
        return curves.sigmoid(x_B, self.low, self.high, -self.k)


@dataclass(eq=False, repr=False)
class DoubleSigmoid(Sigmoid):
    """1 / (1 + 10 ** (-k min(x - low, high - x))): near 1 between ``low`` and ``high``, 0 outside.

    It is 0.5 at ``low`` and at ``high``. k is in powers of ten a unit of x: REINVENT's coef_si /
    coef_div = coef_se / coef_div, with its defaults 150 / 100.
    """

    _: KW_ONLY
    k: float = 1.5

    def turns(self) -> tuple[float, ...]:
        """The top, half way."""
        return ((self.low + self.high) / 2,)

    def transform(self, x_B: Tensor) -> Tensor:
        """The function above."""
        return curves.double_sigmoid(x_B, self.low, self.high, self.k)


@dataclass(eq=False, repr=False)
class Step(Transform):
    """1 where low <= x <= high, 0 elsewhere; either bound may be left out, as in REINVENT."""

    _: KW_ONLY
    low: float = -math.inf
    high: float = math.inf

    def check(self) -> None:
        """Numbers, low <= high."""
        super().check()
        self.require(self.low <= self.high, "low <= high")

    def turns(self) -> tuple[float, ...]:
        """Both bounds."""
        return self.low, self.high

    def transform(self, x_B: Tensor) -> Tensor:
        """The function above."""
        return curves.step(x_B, self.low, self.high)


@dataclass(eq=False, repr=False)
class Linear(Transform):
    """(x - low) / (high - low), clipped to [0, 1]: ``low`` -> 0, ``high`` -> 1.

    With low > high it falls. GuacaMol's clipped modifier, and the mapping of ORGAN's objectives.
    """

    _: KW_ONLY
    low: float
    high: float

    def check(self) -> None:
        """Finite numbers, low other than high."""
        super().check()
        finite = math.isfinite(self.low) and math.isfinite(self.high)
        self.require(finite and self.low != self.high, "finite low and high that differ")

    def transform(self, x_B: Tensor) -> Tensor:
        """The function above."""
        return curves.linear(x_B, self.low, self.high)


@dataclass(eq=False, repr=False)
class Gaussian(Transform):
    """exp(-((x - mean) / sd) ** 2 / 2): 1 at ``mean``, 0.607 one ``sd`` away; GuacaMol's."""

    _: KW_ONLY
    mean: float
    sd: float

    def check(self) -> None:
        """Numbers, sd > 0."""
        super().check()
        self.require(math.isfinite(self.mean) and self.sd > 0, "a finite mean and sd > 0")

    def turns(self) -> tuple[float, ...]:
        """The top."""
        return (self.mean,)

    def transform(self, x_B: Tensor) -> Tensor:
        """The function above."""
        return curves.gaussian(x_B, self.mean, self.sd)


@dataclass(eq=False, repr=False)
class MinGaussian(Gaussian):
    """1 for x <= mean, Gaussian above: GuacaMol's, for what should be small."""

    def transform(self, x_B: Tensor) -> Tensor:
        """The function above."""
        return curves.gaussian(x_B.clamp(min=self.mean), self.mean, self.sd)


@dataclass(eq=False, repr=False)
class MaxGaussian(Gaussian):
    """1 for x >= mean, Gaussian below: GuacaMol's, for what should be large."""

    def transform(self, x_B: Tensor) -> Tensor:
        """The function above."""
        return curves.gaussian(x_B.clamp(max=self.mean), self.mean, self.sd)


@dataclass(eq=False, repr=False)
class Clip(Transform):
    """min(max(x, low), high)."""

    _: KW_ONLY
    low: float = 0.0
    high: float = 1.0

    def check(self) -> None:
        """Numbers, low < high."""
        super().check()
        self.require(self.low < self.high, "low < high")

    def transform(self, x_B: Tensor) -> Tensor:
        """The function above."""
        return x_B.clamp(self.low, self.high)


@dataclass(eq=False, repr=False)
class ValueMap(Transform):
    """A table: ``value_map(rings, values={0: 0.2, 1: 1, 2: 0.7}, otherwise=0)``.

    A value that is not in it becomes ``otherwise``; without that it is an error.
    """

    _: KW_ONLY
    values: Mapping[float, float]
    otherwise: float | None = None

    def check(self) -> None:
        """A table of numbers."""
        fits = isinstance(self.values, Mapping) and len(self.values) > 0
        self.require(fits, "values={x: y, ...} with at least one pair")
        numbers = [*self.values.keys(), *self.values.values(), self.otherwise or 0]
        fits = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
        self.require(fits, "finite numbers in values and otherwise")

    def image(self, low: float, high: float) -> tuple[float, float]:
        """The least and the greatest of the table."""
        outcomes = [*self.values.values(), *([] if self.otherwise is None else [self.otherwise])]
        return float(min(outcomes)), float(max(outcomes))

    def transform(self, x_B: Tensor) -> Tensor:
        """The value of each, looked up.

        Raises:
            ValueError: one is not in the table, and there is no ``otherwise``.
        """
        mapped_B = curves.value_map(x_B, self.values, self.otherwise)
        unknown_B = mapped_B.isnan() & ~x_B.isnan()
        if unknown_B.any():
            raise ValueError(
                f"{self.name}: {float(x_B[unknown_B][0]):g} is not among values; add it, or give "
                "otherwise="
            )
        return mapped_B
