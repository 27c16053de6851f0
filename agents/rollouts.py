"""Monte Carlo rollouts: value a prefix by completing it N times and scoring what comes out.

SeqGAN (Yu et al., 2017, arXiv 1609.05473), eq. 4: Q(Y_1:t-1, y_t) is the mean score of N
completions of Y_1:t by the rollout policy. Unlike the paper, a finished prefix is scored once, not
N times: it is its own completion.

Two backends draw the same tokens. ``reference`` is the paper's double loop, one prefix and one
completion at a time, each from its first token: the yardstick of exactness. ``tiled`` carries the
states of the prefixes along and completes many rows at once, in tiles that stay in cache.
"""

# Shapes: B sequences, T steps, N completions of a prefix, R rows of a tile
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..envs import Constraint, Sequences
from ..envs.categorical import sample_categorical
from ..rewards import Scores
from .counter_rng import Uniforms
from .policies import Policy
from .sampling import COMPACT_EVERY, Masks, complete

Scorer = Callable[[Sequences], Scores]
Backend = Literal["reference", "tiled"]


@dataclass(frozen=True, eq=False)
class Rollouts:
    """The Monte Carlo values of B sequences.

    Args:
        q_BT: the value of each prefix that ends with token t, in the policy's dtype; the exact
            score at the last token; 0 in the padding; NaN where every completion failed.
        n_BT: int64, how many scored completions stand behind a value (1 at the last token).
        variance_BT: the unbiased variance of one completion's score, 0 where n < 2; the standard
            error of a value is sqrt(variance / n).
        scores: the finished sequences' own scores.
        tokens: how many tokens were written for it.
    """

    q_BT: Tensor
    n_BT: Tensor
    variance_BT: Tensor
    scores: Scores
    tokens: int


@torch.no_grad()
def action_values(
    policy: Policy,
    sequences: Sequences,
    scorer: Scorer,
    *,
    completions: int = 16,
    backend: Backend = "tiled",
    seed: int = 0,
    constraint: Constraint | None = None,
    tile_rows: int = 512,
    compact_every: int = COMPACT_EVERY,
) -> Rollouts:
    """Estimate Q(Y_1:t-1, y_t) for every token of ``sequences``.

    Args:
        policy: the rollout policy.
        sequences: B finished sequences, T the longest that a completion may get.
        scorer: a Reward, or any function of Sequences that gives Scores.
        completions: N.
        backend: ``"tiled"`` or ``"reference"``; the same tokens from both.
        seed: of the random numbers; the draw for (b, t, n, step) depends on nothing else.
        constraint: which tokens may come next, in completions as in ``sequences``.
        tile_rows: the most rows completed at once (``tiled``); bounds memory.
        compact_every: steps between dropping rows that have ended (``tiled``).

    Raises:
        ValueError: an option out of range.
    """
    if completions < 1 or tile_rows < 1 or compact_every < 1:
        raise ValueError(
            f"completions {completions}, tile_rows {tile_rows} and compact_every {compact_every} "
            "should be at least 1"
        )
    sequences = sequences.to(policy.device)
    finished = scorer(sequences)
    B, T = sequences.tokens_BT.shape
    values_BTN = torch.full((B, T, completions), torch.nan, device=policy.device)
    tokens = 0
    for tile in tiles(
        policy,
        sequences,
        completions=completions,
        backend=backend,
        seed=seed,
        constraint=constraint,
        tile_rows=tile_rows,
        compact_every=compact_every,
    ):
        written = Sequences.from_tokens(tile.tokens_RT, policy.vocabulary)
        values_BTN[tile.b_R, tile.t, tile.n_R] = scorer(written).values_B
        tokens += tile.tokens
    return _summarise(values_BTN, sequences, finished, policy.dtype, tokens)


@dataclass(frozen=True, eq=False)
class Tile:
    """Completions of prefixes that end with token ``t``: row r is completion n of sequence b."""

    t: int
    b_R: Tensor
    n_R: Tensor
    tokens_RT: Tensor
    tokens: int


def tiles(
    policy: Policy,
    sequences: Sequences,
    *,
    completions: int,
    backend: Backend = "tiled",
    seed: int = 0,
    constraint: Constraint | None = None,
    tile_rows: int = 512,
    compact_every: int = COMPACT_EVERY,
) -> Iterator[Tile]:
    """Complete every unfinished prefix N times, a tile after the other.

    Raises:
        ValueError: an unknown backend.
    """
    if constraint is not None:
        T = sequences.tokens_BT.shape[1]
        constraint = constraint.bound(policy.vocabulary, T, policy.device)
    if backend == "reference":
        return _reference(policy, sequences, completions, seed, constraint)
    if backend == "tiled":
        return _tiled(policy, sequences, completions, seed, constraint, tile_rows, compact_every)
    raise ValueError(f"unknown backend {backend!r}; expected 'tiled' or 'reference'")


@torch.no_grad()
def _tiled(
    policy: Policy,
    sequences: Sequences,
    completions: int,
    seed: int,
    constraint: Constraint | None,
    tile_rows: int,
    compact_every: int,
) -> Iterator[Tile]:
    tokens_BT, lengths_B = sequences.tokens_BT, sequences.lengths_B
    B, T = tokens_BT.shape
    n_N = torch.arange(completions, device=policy.device)
    state = policy.initial_state(B)
    last_B = tokens_BT.new_full((B,), policy.vocabulary.bos)
    masks = None if constraint is None else Masks.after(constraint, tokens_BT[:, :0])
    for t in range(T - 1):
        _, state = policy.step(last_B, state)
        last_B = tokens_BT[:, t]
        masks = None if masks is None else masks.read(last_B)
        unfinished = (lengths_B - 1 > t).nonzero()[:, 0]
        if len(unfinished) == 0:
            return
        b_rows = unfinished.repeat_interleave(completions)
        n_rows = n_N.repeat(len(unfinished))
        for b_R, n_R in zip(b_rows.split(tile_rows), n_rows.split(tile_rows), strict=True):
            tokens_RT = tokens_BT[b_R]
            tokens_RT[:, t + 1 :] = policy.vocabulary.pad
            written = complete(
                policy,
                tokens_RT,
                t + 1,
                policy.branch(state, b_R),
                last_B[b_R],
                Uniforms(seed, b_R, t + 1, n_R),
                masks=None if masks is None else masks.select(b_R),
                compact_every=compact_every,
            )
            yield Tile(t, b_R, n_R, tokens_RT, written)


@torch.no_grad()
def _reference(
    policy: Policy,
    sequences: Sequences,
    completions: int,
    seed: int,
    constraint: Constraint | None,
) -> Iterator[Tile]:
    """For every completion, for every prefix: read it from its first token, then write on."""
    vocabulary = policy.vocabulary
    B, T = sequences.tokens_BT.shape
    for n in range(completions):
        for t in range(T - 1):
            tokens_BT = sequences.tokens_BT.clone()
            tokens_BT[:, t + 1 :] = vocabulary.pad
            b_B = torch.arange(B, device=policy.device)
            uniforms = Uniforms(seed, b_B, t + 1, torch.full_like(b_B, n))
            state = policy.initial_state(B)
            last_B = torch.full_like(b_B, vocabulary.bos)
            masks = None if constraint is None else Masks.after(constraint, tokens_BT[:, : t + 1])
            ended_B = sequences.lengths_B - 1 <= t
            for step in range(T):
                logits_BA, state = policy.step(last_B, state)
                if step <= t:
                    last_B = tokens_BT[:, step]
                    continue
                if masks is not None:
                    logits_BA = masks.hide(logits_BA, ended_B)
                last_B = sample_categorical(logits_BA, uniforms.at(step, logits_BA.dtype))
                tokens_BT[:, step] = last_B
                if masks is not None:
                    masks = masks.read(last_B.masked_fill(ended_B, vocabulary.pad))
                    if vocabulary.eos is not None:
                        ended_B = ended_B | (last_B == vocabulary.eos)
            unfinished = (sequences.lengths_B - 1 > t).nonzero()[:, 0]
            written = Sequences.from_tokens(tokens_BT[unfinished], vocabulary)
            n_R = torch.full_like(unfinished, n)
            count = written.num_tokens - len(unfinished) * (t + 1)
            yield Tile(t, unfinished, n_R, written.tokens_BT, count)


def _summarise(
    values_BTN: Tensor, sequences: Sequences, finished: Scores, dtype: torch.dtype, tokens: int
) -> Rollouts:
    """Means, counts and variances; float64, so that N equal scores have exactly their mean."""
    values_BTN = values_BTN.double()
    scored_BTN = ~values_BTN.isnan()
    n_BT = scored_BTN.sum(dim=2)
    mean_BT = values_BTN.nansum(dim=2) / n_BT  # 0 / 0 is NaN: every completion failed
    squares_BT = (values_BTN - mean_BT[:, :, None]).square().nansum(dim=2)
    variance_BT = torch.where(n_BT > 1, squares_BT / (n_BT - 1).clamp(min=1), 0.0)
    steps_T = torch.arange(values_BTN.shape[1], device=values_BTN.device)
    last_BT = steps_T == sequences.lengths_B[:, None] - 1
    q_BT = torch.where(last_BT, finished.values_B.double()[:, None], mean_BT)
    n_BT = torch.where(last_BT, finished.ok_B[:, None].long(), n_BT)
    q_BT = q_BT.masked_fill(~sequences.mask_BT, 0.0)
    return Rollouts(q_BT.to(dtype), n_BT, variance_BT.to(dtype), finished, tokens)
