"""Sampling: a policy writes whole sequences, many at once.

One uniform a row and step, from counter-based random numbers, through the inverse of the CDF: the
same seed writes the same sequence number b, whatever else is written beside it. Rows that have
ended are dropped from the batch every few steps.
"""

# Shapes: R rows, U histories of rows, T = max_length steps, A actions
from __future__ import annotations

import torch
from torch import Tensor

from ..envs import Constraint, Sequences, Vocabulary
from .counter_rng import Uniforms
from .draws import Draws, Independent
from .heads import Head
from .policies import Policy, State
from .precision import at_least_float32, in_precision
from .sharpening import Sharpening

TILE_ROWS = 1024
COMPACT_EVERY = 2


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
                start,
                logits_RA,
                state,
                draws,
                sharpen=sharpen,
                masks=masks,
                log_probs_RT=log_probs_BT[rows],
            )
    sequences = Sequences.from_tokens(tokens_BT, vocabulary)
    return Sequences(sequences.tokens_BT, sequences.lengths_B, vocabulary, log_probs_BT, condition)


class Masks:
    """A constraint along R rows: bound, and its state, to be carried beside the policy's."""

    def __init__(self, constraint: Constraint, state: State) -> None:
        self._constraint, self._state = constraint, state

    @classmethod
    def after(cls, constraint: Constraint, prefixes_RT: Tensor) -> Masks:
        """After these tokens; the constraint is bound."""
        return cls(constraint, constraint.after(prefixes_RT))

    def hide(self, logits_RA: Tensor, ended_R: Tensor) -> Tensor:
        """The logits with -inf at what is forbidden; all of them in rows that have ended."""
        return logits_RA.masked_fill(~self._constraint.actions(self._state, ended_R), -torch.inf)

    def read(self, tokens_R: Tensor) -> Masks:
        """After one more token in each row; ``pad`` leaves a row as it is."""
        return Masks(self._constraint, self._constraint.advance(self._state, tokens_R))

    def select(self, rows: Tensor) -> Masks:
        """Those of these rows."""
        return Masks(self._constraint, tuple(tensor[rows] for tensor in self._state))

    def join(self, other: Masks) -> Masks:
        """Those of these rows and those."""
        pairs = zip(self._state, other._state, strict=True)
        return Masks(self._constraint, tuple(map(torch.cat, pairs)))


def read_prefix(
    policy: Policy, prefix_RT: Tensor, condition: Tensor | None = None
) -> tuple[Tensor, State]:
    """Logits (R, A) of what follows a prefix, and the state after it."""
    bos_R1 = prefix_RT.new_full((len(prefix_RT), 1), policy.vocabulary.bos)
    state = policy.initial_state(len(prefix_RT), condition)
    for last_R in torch.cat([bos_R1, prefix_RT], dim=1).unbind(dim=1):
        logits_RA, state = policy.step(last_R, state)
    return logits_RA, state


@torch.no_grad()
def complete(
    policy: Policy,
    tokens_RT: Tensor,
    start: int,
    x_UX: Tensor,
    state: State,
    draws: Draws,
    *,
    of_R: Tensor | None = None,
    sharpen: Sharpening | None = None,
    masks: Masks | None = None,
    exclude_U: Tensor | None = None,
    compact_every: int | None = COMPACT_EVERY,
    log_probs_RT: Tensor | None = None,
    head: Head | None = None,
) -> int:
    """Write ``tokens_RT[:, start:]`` in place, each row to its end; no row has ended before.

    Rows that go on from one history share its state, and so long as they draw the same tokens,
    the policy reads these once for all of them.

    Args:
        policy: who writes.
        tokens_RT: int64, prefixes in the first ``start`` columns, ``pad`` after them.
        start: the first column to write.
        x_UX: the logits (U, A) of column ``start``; with a head the features (U, H).
        state: of U rows, after the prefixes.
        draws: of the rows.
        of_R: which of the U a row goes on from, int64; None where each has its own.
        sharpen: what is done to the logits before.
        masks: what may be written, after ``start`` tokens.
        exclude_U: for each of the U a token that is not written in column ``start``.
        compact_every: steps between looking for rows that have ended and dropping them; None
            never drops.
        log_probs_RT: filled in place with the log-probabilities of what is drawn, where given.
        head: steps and draws where given; for what needs no logits: none of ``sharpen``, ``masks``
            and ``log_probs_RT``.

    Returns:
        How many tokens were written, those after a row's end not counted.

    Raises:
        ValueError: the policy's logits are no numbers.
    """
    pad, eos = policy.vocabulary.pad, policy.vocabulary.eos
    T = tokens_RT.shape[1]
    read_token = policy.step if head is None else head.step
    rows_R: Tensor | None = None  # the rows still here; None means all of them
    ended_R = torch.zeros_like(tokens_RT[:, 0], dtype=torch.bool)
    for step in range(start, T):
        excluded_U = exclude_U if step == start else None
        if head is not None:
            token_R = head.draw(step, x_UX, draws, of_R, excluded_U)
        else:
            logits_UA = at_least_float32(x_UX)
            if excluded_U is not None:
                logits_UA = logits_UA.scatter(1, excluded_U[:, None], -torch.inf)
            logits_RA = logits_UA if of_R is None else logits_UA[of_R]
            if masks is not None:
                logits_RA = masks.hide(logits_RA, ended_R)
            if sharpen is not None:
                logits_RA = sharpen(logits_RA)
            token_R = draws.draw(step, logits_RA)
        if eos is not None:
            token_R = token_R.masked_fill(ended_R, pad)
        if log_probs_RT is not None:
            chosen_R = logits_RA.gather(1, token_R.clamp(max=pad - 2)[:, None])[:, 0]
            log_probs_R = (chosen_R - logits_RA.logsumexp(dim=1)).masked_fill(ended_R, 0.0)
            _write(log_probs_RT, rows_R, step, log_probs_R)
        _write(tokens_RT, rows_R, step, token_R)
        if step + 1 == T:
            break
        if masks is not None:
            masks = masks.read(token_R)
        if eos is not None:
            ended_R = ended_R | (token_R == eos)
            if compact_every and (step - start) % compact_every == compact_every - 1:
                here = (~ended_R).nonzero()[:, 0]
                if len(here) == 0:
                    break
                if len(here) < len(ended_R):
                    rows_R = here if rows_R is None else rows_R[here]
                    token_R, ended_R, draws = token_R[here], ended_R[here], draws.select(here)
                    masks = None if masks is None else masks.select(here)
                    of_R = here if of_R is None else of_R[here]
        next_U = token_R
        if of_R is not None:
            from_U, next_U, of_R = _histories(of_R, token_R)
            if len(from_U) != len(x_UX) or (from_U[1:] <= from_U[:-1]).any():  # else all stay
                state = policy.select(state, from_U)
        x_UX, state = read_token(next_U, state)
    return count_written(tokens_RT[:, start:], policy.vocabulary)


def _histories(of_R: Tensor, token_R: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """The histories that one more token makes of those of the rows.

    Returns:
        What each goes on from, its token, and which is a row's; None where each has its own.
    """
    tokens = int(token_R.max()) + 1
    histories_U, new_of_R = (of_R * tokens + token_R).unique(return_inverse=True)
    if len(histories_U) == len(of_R):
        return of_R, token_R, None
    return histories_U // tokens, histories_U % tokens, new_of_R


def count_written(tokens_RT: Tensor, vocabulary: Vocabulary) -> int:
    """How many of these are tokens, no padding.

    Raises:
        ValueError: one is what stands for a draw from no distribution.
    """
    if bool((tokens_RT == vocabulary.bos).any()):
        raise ValueError(
            "no token can be drawn: the policy's logits hold NaN, or -inf alone; its weights have "
            "probably diverged, so go back to an older checkpoint, or lower the learning rate"
        )
    return int((tokens_RT != vocabulary.pad).sum())


def _write(table_RT: Tensor, rows_R: Tensor | None, step: int, values_R: Tensor) -> None:
    if rows_R is None:
        table_RT[:, step] = values_R
    else:
        table_RT[rows_R, step] = values_R
