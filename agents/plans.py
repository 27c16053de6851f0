"""What rollouts are asked to complete, and how: the plan that every backend works from."""

# Shapes: B sequences, T steps, N completions of a prefix, R rows of a tile, A actions
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from ..envs import Constraint, Sequences
from .draws import Draws, completion_draws
from .losses import token_log_probs
from .policies import Policy
from .sampling import COMPACT_EVERY, TILE_ROWS

Backend = Literal["auto", "reference", "tiled", "graph", "triton"]
Scheme = Literal["plain", "systematic", "arithmetic", "reuse", "backward"]


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
        logits_BTA = self.policy(tokens_BT, self.sequences.condition_B).double()
        if self.bound is not None:
            logits_BTA = logits_BTA.masked_fill(~self.bound.along(tokens_BT), -torch.inf)
        log_probs_BT = token_log_probs(logits_BTA, tokens_BT, self.sequences.mask_BT)
        return log_probs_BT.exp()[:, 1:]

    def missing_BN(self, t: int) -> Tensor:
        """Which completions of ``t + 1`` tokens there are to be."""
        wanted_B = self.sequences.lengths_B - 1 > t
        if self.scheme == "backward":  # where the next token is certain, there is no other
            wanted_B = wanted_B & ~(self.next_probability_BT[:, t] >= 1)  # NaN is to be found
        return wanted_B[:, None].repeat(1, self.completions)

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
