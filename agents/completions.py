"""Completions of every prefix of a batch of sequences.

Two backends draw the same tokens. ``reference`` is the paper's double loop, one prefix and one
completion at a time, each from its first token: the yardstick of exactness. ``tiled`` carries the
states of the prefixes along and completes many rows at once, in tiles that stay in cache.

Which completions there are to be is the scheme's to say (see rollouts.py). With ``reuse`` a
completion whose next token is the sequence's own stands for the next prefix as well.
"""

# Shapes: B sequences, T steps, N completions of a prefix, R rows of a tile, A actions
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from ..envs import Constraint, Sequences
from .draws import Draws, completion_draws
from .losses import token_log_probs
from .policies import Policy
from .sampling import COMPACT_EVERY, Masks, at_least_float32, complete, count_written

Backend = Literal["reference", "tiled"]
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
    tile_rows: int = 512
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
        logits_BTA = self.policy(tokens_BT).double()
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
        return completion_draws(
            self.scheme, self.seed, self.first + b_R, t + 1, n_R, self.completions
        )

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


@torch.no_grad()
def tiles(plan: Plan, backend: Backend = "tiled") -> Iterator[Tile]:
    """Complete every unfinished prefix N times, a tile after the other.

    Raises:
        ValueError: an unknown backend.
    """
    if backend not in _WRITERS:
        raise ValueError(f"unknown backend {backend!r}; expected one of {', '.join(_WRITERS)}")
    with plan.policy.fixed_weights():
        yield from _tiles(plan, _WRITERS[backend](plan))


def _tiles(plan: Plan, writer: _Writer) -> Iterator[Tile]:
    tokens_BT = plan.sequences.tokens_BT
    B, T = tokens_BT.shape
    reuse = plan.scheme == "reuse"
    drawn_BNT = tokens_BT.new_full((B, plan.completions, T) if reuse else (0,), -1)
    for t in range(int(plan.sequences.lengths_B.max()) - 1):
        missing_BN = plan.missing_BN(t)
        if reuse:
            kept_BN = missing_BN & (drawn_BNT[:, :, t] == tokens_BT[:, t, None])
            missing_BN = missing_BN & ~kept_BN
            b_R, n_R = kept_BN.nonzero().unbind(1)
            yield Tile(t, b_R, n_R, drawn_BNT[b_R, n_R], tokens=0, reused=True)
        for tile in writer.write(t, *missing_BN.nonzero().unbind(1)):
            if reuse:
                drawn_BNT[tile.b_R, tile.n_R] = tile.tokens_RT
            yield tile


class _Writer(ABC):
    """Writes completions; asked for t = 0, 1, ... in turn."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @abstractmethod
    def write(self, t: int, b_R: Tensor, n_R: Tensor) -> Iterator[Tile]:
        """Completions ``n_R`` of the first ``t + 1`` tokens of sequences ``b_R``."""


class _Tiled(_Writer):
    """Carries the state of every prefix along, and completes many rows at once."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        tokens_BT = plan.sequences.tokens_BT
        self.state = plan.policy.initial_state(len(tokens_BT))
        self.last_B = tokens_BT.new_full((len(tokens_BT),), plan.policy.vocabulary.bos)
        self.masks = None if plan.bound is None else Masks.after(plan.bound, tokens_BT[:, :0])

    def write(self, t: int, b_R: Tensor, n_R: Tensor) -> Iterator[Tile]:
        """Read token t everywhere, then complete, ``tile_rows`` rows at a time."""
        plan, masks = self.plan, self.masks
        tokens_BT = plan.sequences.tokens_BT
        _, self.state = plan.policy.step(self.last_B, self.state)
        self.last_B = tokens_BT[:, t]
        self.masks = masks = None if masks is None else masks.read(self.last_B)
        for b, n in zip(b_R.split(plan.tile_rows), n_R.split(plan.tile_rows), strict=True):
            if len(b) == 0:
                continue
            tokens_RT = tokens_BT[b]
            tokens_RT[:, t + 1 :] = plan.policy.vocabulary.pad
            written = complete(
                plan.policy,
                tokens_RT,
                t + 1,
                plan.policy.branch(self.state, b),
                self.last_B[b],
                plan.draws(b, t, n),
                masks=None if masks is None else masks.select(b),
                exclude_R=plan.excluded(b, t),
                compact_every=plan.compact_every,
            )
            yield Tile(t, b, n, tokens_RT, written)


class _Reference(_Writer):
    """One completion of each prefix at a time: read it from its first token, then write on."""

    def write(self, t: int, b_R: Tensor, n_R: Tensor) -> Iterator[Tile]:
        """All rows of a completion's number together, step by step to the last."""
        for n in n_R.unique().tolist():
            yield self._write_one(t, b_R[n_R == n], n)

    def _write_one(self, t: int, b_R: Tensor, n: int) -> Tile:
        plan, policy, vocabulary = self.plan, self.plan.policy, self.plan.policy.vocabulary
        tokens_RT = plan.sequences.tokens_BT[b_R]
        tokens_RT[:, t + 1 :] = vocabulary.pad
        n_R = torch.full_like(b_R, n)
        draws, excluded_R = plan.draws(b_R, t, n_R), plan.excluded(b_R, t)
        state = policy.initial_state(len(b_R))
        last_R = torch.full_like(b_R, vocabulary.bos)
        masks = None if plan.bound is None else Masks.after(plan.bound, tokens_RT[:, : t + 1])
        ended_R = torch.zeros_like(b_R, dtype=torch.bool)
        for step in range(tokens_RT.shape[1]):
            logits_RA, state = policy.step(last_R, state)
            if step <= t:
                last_R = tokens_RT[:, step]
                continue
            logits_RA = at_least_float32(logits_RA)
            if masks is not None:
                logits_RA = masks.hide(logits_RA, ended_R)
            if excluded_R is not None and step == t + 1:
                logits_RA = logits_RA.scatter(1, excluded_R[:, None], -torch.inf)
            last_R = draws.draw(step, logits_RA)
            tokens_RT[:, step] = last_R.masked_fill(ended_R, vocabulary.pad)
            if masks is not None:
                masks = masks.read(tokens_RT[:, step])
            if vocabulary.eos is not None:
                ended_R = ended_R | (last_R == vocabulary.eos)
        written = count_written(tokens_RT[:, t + 1 :], vocabulary)
        return Tile(t, b_R, n_R, tokens_RT, written)


_WRITERS: dict[str, type[_Writer]] = {"tiled": _Tiled, "reference": _Reference}
