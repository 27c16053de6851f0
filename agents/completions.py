"""Completions of every prefix of a batch of sequences.

All backends draw the same tokens:

- ``reference``: the paper's double loop, one prefix and one completion at a time, each from its
  first token: the yardstick of exactness.
- ``tiled``: carries the states of the prefixes along and completes many rows at once, in tiles that
  stay in cache, with policies of ``fixed_shapes`` those of several prefixes; drops rows that have
  ended. For every policy and constraint.
- ``graph``: all rows of all prefixes at once (staircase.py), on a GPU as one CUDA graph. For
  policies of ``fixed_shapes``; with a constraint it is not recorded, and runs step by step.
- ``triton``: the same rows, a step of GRU or LSTM and its draw fused into Triton kernels
  (fused.py). Without constraints, ``plain``, ``reuse`` or ``backward``.
- ``auto``: on a GPU ``graph``, where it can be recorded and has rows enough to be worth it, and
  scheme ``reuse`` is not asked for, which saves it nothing; ``tiled`` everywhere else.

Which completions there are to be is the scheme's to say (see rollouts.py). With ``reuse`` a
completion whose next token is the sequence's own stands for the next prefix as well.
"""

# Shapes: B sequences, T steps, N completions of a prefix, R rows of a tile, A actions
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import get_args

import torch
from torch import Tensor

from .completing import Masks, Rows, complete, count_written
from .heads import head_of
from .plans import Backend, Plan, Scheme, Tile
from .precision import at_least_float32
from .sampling import read_prefix
from .staircase import Climb, climb_by_steps, completions_of

__all__ = ["Backend", "Plan", "Scheme", "Tile", "best_backend", "tiles"]

_WORTH_RECORDING = 4096  # rows; below, recording a graph costs more than it saves


@torch.no_grad()
def tiles(plan: Plan, backend: Backend = "auto") -> Iterator[Tile]:
    """Complete every unfinished prefix N times, a tile after the other.

    Raises:
        ValueError: an unknown backend, or one that cannot do what is asked.
    """
    if backend not in get_args(Backend):
        known = ", ".join(get_args(Backend))
        raise ValueError(f"unknown backend {backend!r}; expected one of {known}")
    if backend == "auto":
        backend = best_backend(plan)
    with plan.policy.fixed_weights():
        yield from _tiles(plan, _WRITERS[backend](plan))


def best_backend(plan: Plan) -> Backend:
    """What ``auto`` stands for; see the top of this file."""
    B, T = plan.sequences.tokens_BT.shape
    recordable = plan.policy.fixed_shapes and plan.constraint is None and plan.scheme != "reuse"
    enough = B * (T - 1) * plan.completions >= _WORTH_RECORDING
    return "graph" if plan.policy.device.type == "cuda" and recordable and enough else "tiled"


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
        tokens_BT, condition_B = plan.sequences.tokens_BT, plan.sequences.condition_B
        _, self.state = read_prefix(plan.policy, tokens_BT[:, :0], condition_B)
        self.masks = None if plan.bound is None else Masks.after(plan.bound, tokens_BT[:, :0])
        needs_logits = plan.bound is not None or plan.scheme == "arithmetic"
        self.head = None if needs_logits else head_of(plan.policy)
        self.read_token = plan.policy.step if self.head is None else self.head.step
        self._ahead: dict[int, list[Tile]] = {}  # written with the rows of a shorter prefix

    def write(self, t: int, b_R: Tensor, n_R: Tensor) -> Iterator[Tile]:
        """Read token t everywhere, then complete, ``tile_rows`` rows at a time.

        Where they are fewer, together with those of the next prefixes.
        """
        if t in self._ahead:
            yield from self._ahead.pop(t)
            return
        x_BX, most = self._read(t), self.plan.tile_rows
        if len(b_R) > most:
            for b, n in zip(b_R.split(most), n_R.split(most), strict=True):
                yield from self._complete({t: (b, n)}, {t + 1: self._rows(t, x_BX, b, n)})
        elif len(b_R):
            rows_of = {t: (b_R, n_R)}
            arrivals = {t + 1: self._rows(t, x_BX, b_R, n_R)}
            for later, b, n in self._also(t, len(b_R)):
                x_BX, self._ahead[later] = self._read(later), []
                if len(b):
                    rows_of[later] = b, n
                    arrivals[later + 1] = self._rows(later, x_BX, b, n)
            first, *others = self._complete(rows_of, arrivals)
            self._ahead |= {tile.t: [tile] for tile in others}
            yield first

    def _also(self, t: int, rows: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """The rows of the prefixes after ``t`` for which there is room beside so many."""
        plan = self.plan
        if not plan.policy.fixed_shapes or plan.scheme == "reuse":  # which has to see them first
            return
        for later in range(t + 1, int(plan.sequences.lengths_B.max()) - 1):
            b_R, n_R = plan.missing_BN(later).nonzero().unbind(1)
            rows += len(b_R)
            if rows > plan.tile_rows:
                return
            yield later, b_R, n_R

    def _read(self, t: int) -> Tensor:
        """What token t of every sequence gives, logits or features."""
        token_B = self.plan.sequences.tokens_BT[:, t]
        x_BX, self.state = self.read_token(token_B, self.state)
        self.masks = None if self.masks is None else self.masks.read(token_B)
        return x_BX

    def _rows(self, t: int, x_BX: Tensor, b_R: Tensor, n_R: Tensor) -> Rows:
        """Completions ``n_R`` of sequences ``b_R``, whose token t has just been read."""
        plan = self.plan
        owners_U, of_R = b_R.unique(return_inverse=True)
        return Rows(
            x_BX[owners_U],
            plan.policy.branch(self.state, owners_U),
            plan.draws(b_R, t, n_R),
            of_R,
            None if self.masks is None else self.masks.select(b_R),
            plan.excluded(owners_U, t),
        )

    def _complete(
        self, rows_of: dict[int, tuple[Tensor, Tensor]], arrivals: dict[int, Rows]
    ) -> list[Tile]:
        """A tile for each prefix."""
        plan, vocabulary = self.plan, self.plan.policy.vocabulary
        tables = []
        for t, (b_R, _) in rows_of.items():
            tokens_RT = plan.sequences.tokens_BT[b_R]
            tokens_RT[:, t + 1 :] = vocabulary.pad
            tables.append(tokens_RT)
        table_RT = torch.cat(tables)
        complete(
            plan.policy,
            table_RT,
            arrivals,
            compact_every=plan.compact_every,
            head=self.head,
        )
        parts = table_RT.split([len(tokens_RT) for tokens_RT in tables])
        return [
            Tile(t, b, n, tokens_RT, count_written(tokens_RT[:, t + 1 :], vocabulary))
            for (t, (b, n)), tokens_RT in zip(rows_of.items(), parts, strict=True)
        ]


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
        condition_B = plan.sequences.condition_B
        state = policy.initial_state(len(b_R), None if condition_B is None else condition_B[b_R])
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


class _Graph(_Writer):
    """Writes the whole staircase when first asked."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.climb: Climb = climb_by_steps
        if not plan.policy.fixed_shapes:
            raise ValueError(
                "backend 'graph' needs a policy whose state keeps its shapes, such as GRU or LSTM, "
                f"not {type(plan.policy).__name__}; take backend='tiled'"
            )

    @cached_property
    def completions_TBNT(self) -> Tensor:
        """All of them, by prefix."""
        return completions_of(self.plan, self.climb)

    def write(self, t: int, b_R: Tensor, n_R: Tensor) -> Iterator[Tile]:
        """Those that are asked for, in one tile."""
        if len(b_R):
            tokens_RT = self.completions_TBNT[t, b_R, n_R]
            written = count_written(tokens_RT[:, t + 1 :], self.plan.policy.vocabulary)
            yield Tile(t, b_R, n_R, tokens_RT, written)


class _Triton(_Graph):
    """The same staircase by fused kernels."""

    def __init__(self, plan: Plan) -> None:
        try:
            from .fused import check_can_be_fused, climb_by_kernels
        except ModuleNotFoundError as missing:
            raise ValueError(
                f"backend 'triton' needs Triton ({missing}), which CUDA builds of torch bring "
                "along; take backend='graph' or 'tiled', or pip install triton"
            ) from missing
        check_can_be_fused(plan)
        super().__init__(plan)
        self.climb = climb_by_kernels


_WRITERS: dict[str, type[_Writer]] = {
    "reference": _Reference,
    "tiled": _Tiled,
    "graph": _Graph,
    "triton": _Triton,
}
