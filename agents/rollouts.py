"""Monte Carlo rollouts: value a prefix by completing it N times and scoring what comes out.

SeqGAN (Yu et al., 2017, arXiv 1609.05473), eq. 4: Q(Y_1:t-1, y_t) is the mean score of N
completions of Y_1:t by the rollout policy. Unlike the paper, a finished prefix is scored once, not
N times: it is its own completion. Completions tell the scorer which prefixes they go on from, so
that it can score each of them once for all its completions.

Five schemes spend the completions, all without bias:

- ``plain``: N independent completions of every prefix.
- ``systematic`` and ``arithmetic``: the N of one prefix share their randomness (draws.py).
- ``reuse``: a completion whose next token is the sequence's own is an exact completion of the next
  prefix too, and its score is known; only what is missing from N is written anew.
- ``backward``: Q(t) = pi(y) Q(t+1) + (1 - pi(y)) E[R | another token than y], where y is the next
  token of the sequence: only the second part is estimated, and a sum from the end gives the values.
  Of N plain completions a share of 1 - pi(y) would go there, so N (1 - pi(y)) are written, rounded
  up, and no fewer than two, to tell a variance, unless N is two: stratified sampling with
  proportional allocation (Cochran, 1977, Sampling Techniques, 5.6), so no value varies more than
  that of N plain ones.
"""

# Shapes: B sequences, T steps, N completions of a prefix, R rows of a tile
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..envs import Constraint, Prefixes, Sequences
from ..rewards import Scores
from .completing import COMPACT_EVERY, TILE_ROWS
from .completions import Backend, Plan, Scheme, Tile, tiles
from .policies import Policy
from .precision import in_precision

Scorer = Callable[[Sequences], Scores]


@dataclass(frozen=True, eq=False)
class Rollouts:
    """The Monte Carlo values of B sequences.

    Args:
        q_BT: the value of each prefix that ends with token t, in the policy's dtype; the exact
            score at the last token; 0 in the padding; NaN where every completion failed.
        n_BT: int64, how many scored completions were drawn or reused for a value (1 at the last
            token, 0 in the padding and where there is no value).
        variance_BT: the estimated variance of a value, the square of its standard error; 0 where
            it is exact, NaN where one completion does not tell. Too high, on the safe side, where
            completions share their randomness.
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
    scheme: Scheme = "plain",
    backend: Backend = "auto",
    seed: int = 0,
    constraint: Constraint | None = None,
    dtype: torch.dtype | None = None,
    tile_rows: int = TILE_ROWS,
    compact_every: int = COMPACT_EVERY,
    first: int = 0,
) -> Rollouts:
    """Estimate Q(Y_1:t-1, y_t) for every token of ``sequences``.

    Args:
        policy: the rollout policy.
        sequences: B finished sequences, T the longest that a completion may get.
        scorer: a Reward, or any function of Sequences that gives Scores.
        completions: N, of every prefix; with ``backward`` no more than are worth N plain ones.
        scheme: how they are spent; see the top of this file.
        backend: ``"auto"``, ``"reference"``, ``"tiled"``, ``"graph"`` or ``"triton"``; the same
            tokens from all (see completions.py).
        seed: of the random numbers; the draw for (b, t, n, step) depends on nothing else.
        constraint: which tokens may come next, in completions as in ``sequences``.
        dtype: of the weights while writing, such as ``torch.bfloat16``; the policy's own by
            default. ``precision.distribution_change`` says what it does to the distribution.
        tile_rows: the most rows completed at once (``tiled``); bounds memory.
        compact_every: steps between dropping rows that have ended (``tiled``).
        first: the number b of the first sequence, where these are a part of a batch.

    Raises:
        ValueError: an option out of range, or a backend that cannot do what is asked.
    """
    plan = Plan(
        in_precision(policy, dtype),
        sequences.to(policy.device),
        completions,
        scheme,
        seed,
        constraint,
        tile_rows,
        compact_every,
        first,
    )
    finished = scorer(plan.sequences)
    shape = (*plan.sequences.tokens_BT.shape, completions)
    values_BTN = finished.values_B.new_full(shape, torch.nan)
    kept: dict[object, object] = {}
    tokens = 0
    for tile in tiles(plan, backend):
        if tile.reused:
            values_R = values_BTN[tile.b_R, tile.t - 1, tile.n_R]
        else:
            values_R = scorer(with_prefixes(plan, tile, kept)).values_B
        values_BTN[tile.b_R, tile.t, tile.n_R] = values_R
        tokens += tile.tokens
    q_BT, n_BT, variance_BT = estimates(plan, values_BTN, finished)
    return Rollouts(q_BT.to(policy.dtype), n_BT, variance_BT.to(policy.dtype), finished, tokens)


def with_prefixes(plan: Plan, tile: Tile, kept: dict[object, object]) -> Sequences:
    """A tile's completions, with the prefixes that they go on from.

    Args:
        plan: that the tile is of.
        tile: newly written.
        kept: what scorers keep of the plan's sequences; one for all its tiles.
    """
    completed = Sequences.from_tokens(tile.tokens_RT, plan.sequences.vocabulary)
    return replace(completed, prefixes=Prefixes(plan.sequences, tile.b_R, tile.t + 1, kept))


def estimates(plan: Plan, values_BTN: Tensor, finished: Scores) -> tuple[Tensor, Tensor, Tensor]:
    """Values, counts and variances from the scores of completions, NaN where there are none.

    In float64, so that N equal scores have exactly their mean.
    """
    sequences, values_BTN = plan.sequences, values_BTN.double()
    n_BT = (~values_BTN.isnan()).sum(dim=2)
    q_BT = values_BTN.nansum(dim=2) / n_BT  # 0 / 0 is NaN: every completion failed
    squares_BT = (values_BTN - q_BT[:, :, None]).square().nansum(dim=2)
    variance_BT = squares_BT / (n_BT - 1).clamp(min=0) / n_BT
    steps_T = torch.arange(values_BTN.shape[1], device=values_BTN.device)
    last_BT = steps_T == sequences.lengths_B[:, None] - 1
    q_BT = torch.where(last_BT, finished.values_B.double()[:, None], q_BT)
    n_BT = torch.where(last_BT, finished.ok_B[:, None].long(), n_BT)
    variance_BT = variance_BT.masked_fill(last_BT & finished.ok_B[:, None], 0.0)
    if plan.scheme == "backward":
        _sum_backwards(plan, q_BT, n_BT, variance_BT)
    outside_BT = ~sequences.mask_BT
    return q_BT.masked_fill(outside_BT, 0.0), n_BT, variance_BT.masked_fill(outside_BT, 0.0)


def _sum_backwards(plan: Plan, q_BT: Tensor, n_BT: Tensor, variance_BT: Tensor) -> None:
    """Add, in place and from the end, what follows if the next token is the sequence's own.

    Where all of one side failed, the other stands for both, as among plain completions.
    """
    lengths_B = plan.sequences.lengths_B
    for t in range(int(lengths_B.max()) - 2, -1, -1):
        inside_B, own_B, other_B = lengths_B - 1 > t, n_BT[:, t + 1] > 0, n_BT[:, t] > 0
        p_B = torch.where(own_B, plan.next_probability_BT[:, t], 0.0).masked_fill(~other_B, 1.0)
        for table_BT, power in ((q_BT, 1), (variance_BT, 2)):
            follows_B = table_BT[:, t + 1].masked_fill(p_B == 0, 0.0)
            leaves_B = table_BT[:, t].masked_fill(p_B == 1, 0.0)
            total_B = p_B**power * follows_B + (1 - p_B) ** power * leaves_B
            table_BT[:, t] = torch.where(inside_B, total_B, table_BT[:, t])
        n_BT[:, t] += torch.where(inside_B, n_BT[:, t + 1], 0)
