"""How tokens are drawn, and how the completions of one prefix share their randomness.

Every completion, taken alone, is an exact draw of the policy: what is shared makes the mean of the
N vary less, and never wrong. One uniform a row and step, through the inverse of the CDF.

- ``Independent``: every row its own uniform.
- ``Systematic``: at every step one uniform u for the N completions, and completion n gets
  (u + n z / N) mod 1, z drawn anew from the numbers coprime to N: they are spread evenly over the
  tokens at each step (antithetic for N = 2), and over their pairs as a randomly shifted lattice
  rule (Cranley and Patterson, 1976) is. With one z for all steps, those that drew one token first
  would draw alike ever after.
- ``Arithmetic`` (Vilnis et al., 2023, arXiv 2210.15458): one lattice point (u + n / N) mod 1 for a
  whole completion, decoded like an arithmetic code. Once at most one point of the lattice can be
  left in a completion's interval there is nothing to share, and its own uniforms take over; that
  also keeps the code's digits from running out.
"""

# Shapes: R rows, A actions
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd
from typing import Self

import torch
from torch import Tensor

from ..envs.categorical import cumulative, find_in, sample_categorical
from .counter_rng import Uniforms


class Draws(ABC):
    """Draws one token a row and step; rows can be dropped."""

    @abstractmethod
    def draw(self, step: int, logits_RA: Tensor) -> Tensor:
        """The tokens of a step, int64 (R,); -inf is never drawn."""

    @abstractmethod
    def select(self, rows: Tensor) -> Self:
        """The draws of these rows."""

    @abstractmethod
    def join(self, other: Self) -> Self:
        """The draws of these rows and those, of one scheme."""


class PointDraws(Draws):
    """Draws by one point a row and step, which is known before the logits are."""

    @abstractmethod
    def points(self, step: int, dtype: torch.dtype) -> Tensor:
        """Where in the CDF the tokens of a step are, in [0, 1), (R,)."""

    def draw(self, step: int, logits_RA: Tensor) -> Tensor:
        """The tokens of a step."""
        return sample_categorical(logits_RA, self.points(step, logits_RA.dtype))


@dataclass(frozen=True)
class Independent(PointDraws):
    """Every row its own uniform at every step."""

    uniforms: Uniforms

    def points(self, step: int, dtype: torch.dtype) -> Tensor:
        """The uniforms."""
        return self.uniforms.at(step, dtype)

    def select(self, rows: Tensor) -> Self:
        """The draws of these rows."""
        return replace(self, uniforms=self.uniforms.select(rows))

    def join(self, other: Self) -> Self:
        """The draws of these rows and those."""
        return replace(self, uniforms=self.uniforms.join(other.uniforms))


@dataclass(frozen=True)
class Systematic(PointDraws):
    """The completions of a prefix on a shifted lattice, one shift and one generator a step.

    Args:
        shift: the uniforms u of every row's prefix.
        generator: the uniforms that choose z.
        n_R: the number of the completion.
        units_U: the numbers below N that are coprime to it.
        completions: N.
    """

    shift: Uniforms
    generator: Uniforms
    n_R: Tensor
    units_U: Tensor
    completions: int

    def points(self, step: int, dtype: torch.dtype) -> Tensor:
        """The lattice's."""
        chosen_R = (self.generator.at(step, torch.float64) * len(self.units_U)).long()
        places_R = self.n_R * self.units_U[chosen_R] % self.completions
        points_R = (self.shift.at(step, torch.float64) + places_R.double() / self.completions) % 1.0
        return _below_one(points_R, dtype)

    def select(self, rows: Tensor) -> Self:
        """The draws of these rows."""
        return replace(
            self,
            shift=self.shift.select(rows),
            generator=self.generator.select(rows),
            n_R=self.n_R[rows],
        )

    def join(self, other: Self) -> Self:
        """The draws of these rows and those."""
        return replace(
            self,
            shift=self.shift.join(other.shift),
            generator=self.generator.join(other.generator),
            n_R=torch.cat([self.n_R, other.n_R]),
        )


@dataclass
class Arithmetic(Draws):
    """One lattice point for a whole completion.

    Args:
        own: the uniforms that take over.
        point_R: where the completion's point lies in its interval, float64 in [0, 1).
        width_R: the interval's width, which is the probability of what was drawn so far, float64.
        least: the width of an interval that two points of the lattice cannot share, 1 / N.
    """

    own: Uniforms
    point_R: Tensor
    width_R: Tensor
    least: float

    def draw(self, step: int, logits_RA: Tensor) -> Tensor:
        """The tokens of a step; moves the points into the tokens' intervals."""
        own_R = self.own.at(step, torch.float64)
        self.point_R = torch.where(self.width_R > self.least, self.point_R, own_R)
        cdf_RA = cumulative(logits_RA)
        target_R = _below_one(self.point_R, cdf_RA.dtype) * cdf_RA[:, -1]
        token_R = find_in(cdf_RA, target_R)
        ends_R2 = torch.stack([token_R - 1, token_R], dim=1).clamp(0, cdf_RA.shape[1] - 1)
        low_R, high_R = (cdf_RA.gather(1, ends_R2).double() / cdf_RA[:, -1:].double()).unbind(1)
        low_R = low_R.masked_fill(token_R == 0, 0.0)
        share_R = high_R - low_R
        self.point_R = ((self.point_R - low_R) / share_R).clamp(0.0, 1.0 - 2.0**-53)
        self.width_R = self.width_R * share_R
        return token_R

    def select(self, rows: Tensor) -> Self:
        """The draws of these rows."""
        return replace(
            self,
            own=self.own.select(rows),
            point_R=self.point_R[rows],
            width_R=self.width_R[rows],
        )

    def join(self, other: Self) -> Self:
        """The draws of these rows and those."""
        return replace(
            self,
            own=self.own.join(other.own),
            point_R=torch.cat([self.point_R, other.point_R]),
            width_R=torch.cat([self.width_R, other.width_R]),
        )


def completion_draws(
    scheme: str, seed: int | Tensor, b_R: Tensor, t: int, n_R: Tensor, completions: int
) -> Draws:
    """The draws of completions ``n_R`` of ``t`` tokens of sequences ``b_R``.

    Args:
        scheme: ``"systematic"``, ``"arithmetic"``, or any other for independent ones.
        seed: of the counter-based random numbers, or its two words (see ``Uniforms``).
        b_R: the sequence of each row.
        t: how many tokens the prefix has.
        n_R: the number of the completion, below ``completions``.
        completions: N.
    """
    own = Uniforms(seed, b_R, t, n_R)
    if scheme not in ("systematic", "arithmetic"):
        return Independent(own)
    N = completions
    shared = Uniforms(seed, b_R, t, torch.full_like(n_R, N))  # as of one completion more
    if scheme == "systematic":
        generator = Uniforms(seed, b_R, t, torch.full_like(n_R, N + 1))
        return Systematic(shared, generator, n_R, _units(N, n_R.device), N)
    point_R = (shared.at(0, torch.float64) + n_R.double() / N) % 1.0
    return Arithmetic(own, point_R, torch.ones_like(point_R), 1.0 / N)


@lru_cache
def _units(N: int, device: torch.device) -> Tensor:
    """The numbers below N that are coprime to it; kept, as a graph being recorded cannot ask."""
    return torch.tensor([z for z in range(1, N + 1) if gcd(z, N) == 1], device=device)


def _below_one(points_R: Tensor, dtype: torch.dtype) -> Tensor:
    """In ``dtype``, where rounding must not reach 1."""
    return points_R.to(dtype).clamp(max=1.0 - torch.finfo(dtype).eps / 2)
