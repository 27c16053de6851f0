"""Sampling: a policy writes whole sequences, many at once.

One uniform a row and step, from counter-based random numbers, through the inverse of the CDF: the
same seed writes the same sequence number b, whatever else is written beside it. Rows that have
ended are dropped from the batch every few steps.
"""

# Shapes: B sequences, R rows of a tile, T = max_length steps, A actions
from __future__ import annotations

import torch
from torch import Tensor

from ..envs import Constraint, Sequences
from .completing import TILE_ROWS, Masks, Rows, complete, count_written
from .counter_rng import Uniforms
from .draws import Independent
from .policies import Policy, State
from .precision import at_least_float32, in_precision
from .sharpening import Sharpening


@torch.no_grad()
def sample(
    policy: Policy,
    batch: int,
    *,
    max_length: int,
    condition: Tensor | None = None,
    seed: int = 0,
    prompt: str | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    constraint: Constraint | None = None,
    dtype: torch.dtype | None = None,
    first: int = 0,
    tile_rows: int = TILE_ROWS,
) -> Sequences:
    """Let a policy write ``batch`` sequences of at most ``max_length`` tokens.

    Args:
        policy: who writes.
        batch: B.
        max_length: T, the end token counted.
        condition: (B, C), what each is written under, for a policy that reads one; by default
            drawn from its prior.
        seed: of the random numbers; sequence b depends on (seed, b) alone.
        prompt: a prefix that every sequence begins with.
        temperature: logits are divided by it; below 1 is sharper.
        top_k: only the k most probable tokens are drawn from.
        top_p: only the nucleus is drawn from, the fewest tokens of at least this probability
            together (see sharpening.py).
        constraint: which tokens may come next; what it forbids is never drawn.
        dtype: of the weights while writing, such as ``torch.bfloat16``; the policy's own by
            default. Tokens are drawn in float32 at least (see precision.py).
        first: the number b of the first of them; the rest of a batch from there on.
        tile_rows: how many are written at once; changes speed and memory, not the result.

    Returns:
        Sequences with ``log_probs_BT`` of what was drawn, 0 for the prompt, in nats, under the
        distribution that was drawn from (temperature, top-k, nucleus and constraint included), and
        with the condition that each was written under.

    Raises:
        ValueError: fewer than 0 sequences or 1 token, a temperature of 0 or less, a ``top_k`` or
            ``top_p`` out of range, a prompt that leaves no room or is forbidden, or a policy whose
            logits are no numbers.
    """
    if batch < 0 or max_length < 1:
        raise ValueError(f"{batch} sequences of {max_length} tokens; expected at least 0 of 1")
    sharpen = Sharpening(temperature=temperature, top_k=top_k, top_p=top_p)
    policy = in_precision(policy, dtype)
    vocabulary = policy.vocabulary
    shape = (batch, max_length)
    tokens_BT = torch.full(shape, vocabulary.pad, dtype=torch.int64, device=policy.device)
    log_probs_BT = at_least_float32(torch.zeros(shape, dtype=policy.dtype, device=policy.device))
    if condition is None:
        condition = policy.draw_condition(seed, first + torch.arange(batch, device=policy.device))
    start = 0
    if constraint is not None:
        constraint = constraint.bound(vocabulary, max_length, policy.device)
    if prompt:
        prefix = vocabulary.encode([prompt], end=False).tokens_BT[0]
        start = len(prefix)
        if start >= max_length:
            raise ValueError(
                f"the prompt {prompt!r} has {start} tokens and max_length is {max_length}; "
                "shorten it, so that at least one token can be written"
            )
        if constraint is not None:
            constraint.check_prompt(prompt, prefix)
        tokens_BT[:, :start] = prefix.to(policy.device)
    for start_row in range(0, batch, tile_rows):
        rows = slice(start_row, start_row + tile_rows)
        b_R = torch.arange(start_row, min(start_row + tile_rows, batch), device=policy.device)
        draws = Independent(Uniforms(seed, first + b_R, 0, torch.zeros_like(b_R)))
        masks = None if constraint is None else Masks.after(constraint, tokens_BT[rows, :start])
        with policy.fixed_weights():
            given = None if condition is None else condition[rows]
            logits_RA, state = read_prefix(policy, tokens_BT[rows, :start], given)
            complete(
                policy,
                tokens_BT[rows],
                {start: Rows(logits_RA, state, draws, masks=masks)},
                sharpen=sharpen,
                log_probs_RT=log_probs_BT[rows],
            )
        count_written(tokens_BT[rows], vocabulary)
    sequences = Sequences.from_tokens(tokens_BT, vocabulary)
    return Sequences(sequences.tokens_BT, sequences.lengths_B, vocabulary, log_probs_BT, condition)


def read_prefix(
    policy: Policy, prefix_RT: Tensor, condition: Tensor | None = None
) -> tuple[Tensor, State]:
    """Logits (R, A) of what follows a prefix, and the state after it."""
    bos_R1 = prefix_RT.new_full((len(prefix_RT), 1), policy.vocabulary.bos)
    state = policy.initial_state(len(prefix_RT), condition)
    for last_R in torch.cat([bos_R1, prefix_RT], dim=1).unbind(dim=1):
        logits_RA, state = policy.step(last_R, state)
    return logits_RA, state
