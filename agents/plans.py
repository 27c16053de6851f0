"""What rollouts are asked to complete, and how: the plan that every backend works from."""

# Shapes: B sequences, T steps, N completions of a prefix, R rows of a tile, A actions
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from ..envs import Constraint, Sequences
from .completing import COMPACT_EVERY, TILE_ROWS
from .draws import Draws, completion_draws
from .losses import token_log_probs
from .policies import Policy
from .precision import at_least_float32

Backend = Literal["auto", "reference", "tiled", "graph", "triton"]
Scheme = Literal["plain", "systematic", "arithmetic", "reuse", "backward"]

_ROUNDING = 1e-6  # of a completion: a share that gives a whole number may come out a little above


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be completed, and how; the arguments of ``action_values``."""

    policy: Policy
    sequences: Sequences
    completions: int = 16
    scheme: Scheme = "plain"
    seed: int = 0
    constraint: Constraint | None = None
    tile_rows: int = TILE_ROWS
    compact_every: int = COMPACT_EVERY
    first: int = 0

    def __post_init__(self) -> None:
        if min(self.completions, self.tile_rows, self.compact_every) < 1:
            raise ValueError(
                f"completions {self.completions}, tile_rows {self.tile_rows} and compact_every "
                f"{self.compact_every} should be at least 1"
            )
        if self.scheme not in get_args(Scheme):
            raise ValueError(
                f"unknown scheme {self.scheme!r}; expected one of {', '.join(get_args(Scheme))}"
            )

    @cached_property
    def bound(self) -> Constraint | None:
        """The constraint, bound to the task."""
        if self.constraint is None:
            return None
        T = self.sequences.tokens_BT.shape[1]
        return self.constraint.bound(self.policy.vocabulary, T, self.policy.device)

    @cached_property
    @torch.no_grad()
    def next_probability_BT(self) -> Tensor:
        """The probability, after token t, of the token that follows in the sequence; float64."""
        tokens_BT = self.sequences.tokens_BT
        logits_BTA = at_least_float32(self.policy(tokens_BT, self.sequences.condition_B))
        if self.bound is not None:
            logits_BTA = logits_BTA.masked_fill(~self.bound.along(tokens_BT), -torch.inf)
        log_probs_BT = token_log_probs(logits_BTA, tokens_BT, self.sequences.mask_BT)
        return log_probs_BT.double().exp().clamp(max=1.0)[:, 1:]

    @cached_property
    def wanted_BT(self) -> Tensor:
        """How many completions of the first t + 1 tokens there are to be, int64 (B, T - 1)."""
        unfinished_BT, N = self.sequences.mask_BT[:, 1:], self.completions
        if self.scheme != "backward":
            return N * unfinished_BT
        other_BT = 1 - self.next_probability_BT
        least = 2 if N > 2 else 1
        wanted_BT = (N * other_BT.nan_to_num(1.0) - _ROUNDING).ceil().clamp(min=least)
        return wanted_BT.long() * (unfinished_BT & (other_BT != 0))  # NaN is to be found

    def missing_BN(self, t: int) -> Tensor:
        """Which completions of ``t + 1`` tokens there are to be."""
        n_N = torch.arange(self.completions, device=self.policy.device)
        return n_N < self.wanted_BT[:, t, None]

    def draws(self, b_R: Tensor, t: int, n_R: Tensor) -> Draws:
        """Of completions of ``t + 1`` tokens."""
        numbers_R = self.first + b_R
        return completion_draws(self.scheme, self.seed, numbers_R, t + 1, n_R, self.completions)

    def excluded(self, b_R: Tensor, t: int) -> Tensor | None:
        """What a completion of ``t + 1`` tokens may not begin with, where there is such a token."""
        return self.sequences.tokens_BT[b_R, t + 1] if self.scheme == "backward" else None


@dataclass(frozen=True, eq=False)
class Tile:
    """Completions of prefixes that end with token ``t``: row r is completion n of sequence b.

    Where ``reused``, they are those that stood at (b, t - 1, n), and no token was written.
    """

    t: int
    b_R: Tensor
    n_R: Tensor
    tokens_RT: Tensor
    tokens: int
    reused: bool = False
