"""Rows under way, written to their ends together, each from its own first column.

At a step all rows write the same column, so rows whose prefixes are longer join the others when
their turn comes, and a batch stays full while others end. Rows that go on from one history share
its state, and so long as they draw the same tokens, the policy reads these once for all of them.
"""

# Shapes: R rows, U histories of rows, T = max_length steps, A actions
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..envs import Constraint, Vocabulary
from ..envs.categorical import excluding
from .draws import Draws
from .heads import Head
from .policies import Policy, State
from .precision import at_least_float32
from .sharpening import Sharpening

TILE_ROWS = 1024
COMPACT_EVERY = 2


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


@dataclass(eq=False)
class Rows:
    """What R rows go on from, and what they draw with.

    Args:
        x_UX: the logits (U, A) of their next column; with a head the features (U, H).
        state: of U rows, after the prefixes.
        draws: of the rows.
        of_R: which of the U a row goes on from, int64; None where each has its own.
        masks: what may be written next.
        exclude_U: for each of the U a token that is not written next, -1 for none.

    Attributes:
        number_R: which rows of the table they are, int64; those that join go on counting.
        ended_R: which have ended.
    """

    x_UX: Tensor
    state: State
    draws: Draws
    of_R: Tensor | None = None
    masks: Masks | None = None
    exclude_U: Tensor | None = None

    def __post_init__(self) -> None:
        R = len(self.x_UX if self.of_R is None else self.of_R)
        self.number_R = torch.arange(R, device=self.x_UX.device)
        self.ended_R = torch.zeros_like(self.number_R, dtype=torch.bool)

    def join(self, new: Rows, arrived: int) -> None:
        """Go on with these and new ones, whose numbers begin with ``arrived``."""
        U, old_of_R, new_of_R = len(self.x_UX), self._histories_of(), new._histories_of()
        assert (self.masks is None) == (new.masks is None)
        if self.masks is not None and new.masks is not None:
            self.masks = self.masks.join(new.masks)
        if new.exclude_U is not None:  # the others have made their first step
            self.exclude_U = torch.cat([new.exclude_U.new_full((U,), -1), new.exclude_U])
        self.x_UX = torch.cat([self.x_UX, new.x_UX])
        self.state = tuple(map(torch.cat, zip(self.state, new.state, strict=True)))
        self.draws = self.draws.join(new.draws)
        self.of_R = torch.cat([old_of_R, U + new_of_R])
        self.number_R = torch.cat([self.number_R, arrived + new.number_R])
        self.ended_R = torch.cat([self.ended_R, new.ended_R])

    def drop_ended(self, token_R: Tensor) -> Tensor:
        """Keep the others, and their tokens."""
        here = (~self.ended_R).nonzero()[:, 0]
        if len(here) < len(self.ended_R):
            self.of_R, self.draws = self._histories_of()[here], self.draws.select(here)
            self.number_R, self.ended_R = self.number_R[here], self.ended_R[here]
            self.masks = None if self.masks is None else self.masks.select(here)
            token_R = token_R[here]
        return token_R

    def _histories_of(self) -> Tensor:
        if self.of_R is not None:
            return self.of_R
        return torch.arange(len(self.x_UX), device=self.x_UX.device)


@torch.no_grad()
def complete(
    policy: Policy,
    tokens_RT: Tensor,
    arrivals: Mapping[int, Rows],
    *,
    sharpen: Sharpening | None = None,
    compact_every: int | None = COMPACT_EVERY,
    log_probs_RT: Tensor | None = None,
    head: Head | None = None,
) -> None:
    """Write ``tokens_RT`` in place, each row to its end; none has ended before.

    Args:
        policy: who writes; of ``fixed_shapes`` where there is more than one arrival.
        tokens_RT: int64, the rows' prefixes, ``pad`` after them; in the order of their arrival.
        arrivals: the rows that begin, by the column that they write first.
        sharpen: what is done to the logits before.
        compact_every: steps between looking for rows that have ended and dropping them; None
            never drops.
        log_probs_RT: filled in place with the log-probabilities of what is drawn, where given.
        head: steps and draws where given; for what needs no logits: none of ``sharpen``, ``masks``
            and ``log_probs_RT``.
    """
    pad, eos = policy.vocabulary.pad, policy.vocabulary.eos
    start, last, T = min(arrivals), max(arrivals), tokens_RT.shape[1]
    read_token = policy.step if head is None else head.step
    rows, arrived = arrivals[start], 0
    for step in range(start, T):
        if (new := arrivals.get(step)) is not None:
            if step > start:
                rows.join(new, arrived)
            arrived += len(new.number_R)
        if len(rows.number_R) == 0:
            continue
        exclude_U, rows.exclude_U = rows.exclude_U, None
        if head is not None:
            token_R = head.draw(step, rows.x_UX, rows.draws, rows.of_R, exclude_U)
        else:
            logits_UA = at_least_float32(rows.x_UX)
            if exclude_U is not None:
                logits_UA = excluding(logits_UA.clone(), exclude_U)
            logits_RA = logits_UA if rows.of_R is None else logits_UA[rows.of_R]
            if rows.masks is not None:
                logits_RA = rows.masks.hide(logits_RA, rows.ended_R)
            if sharpen is not None:
                logits_RA = sharpen(logits_RA)
            token_R = rows.draws.draw(step, logits_RA)
        if eos is not None:
            token_R = token_R.masked_fill(rows.ended_R, pad)
        if log_probs_RT is not None:
            chosen_R = logits_RA.gather(1, token_R.clamp(max=pad - 2)[:, None])[:, 0]
            log_probs_R = (chosen_R - logits_RA.logsumexp(dim=1)).masked_fill(rows.ended_R, 0.0)
            log_probs_RT[rows.number_R, step] = log_probs_R
        tokens_RT[rows.number_R, step] = token_R
        if step + 1 == T:
            break
        if rows.masks is not None:
            rows.masks = rows.masks.read(token_R)
        if eos is not None:
            rows.ended_R = rows.ended_R | (token_R == eos)
            if compact_every and (step - start) % compact_every == compact_every - 1:
                token_R = rows.drop_ended(token_R)
                if len(token_R) == 0 and step >= last:
                    break
        next_U = token_R
        if rows.of_R is not None:
            from_U, next_U, rows.of_R = _histories(rows.of_R, token_R)
            if len(from_U) != len(rows.x_UX) or (from_U[1:] <= from_U[:-1]).any():  # else all stay
                rows.state = policy.select(rows.state, from_U)
        if len(next_U):
            rows.x_UX, rows.state = read_token(next_U, rows.state)
        else:
            rows.x_UX = rows.x_UX[:0]


def _histories(of_R: Tensor, token_R: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """The histories that one more token makes of those of the rows.

    Returns:
        What each goes on from, its token, and which is a row's; None where each has its own.
    """
    tokens = int(token_R.max()) + 1 if len(token_R) else 1
    histories_U, new_of_R = (of_R * tokens + token_R).unique(return_inverse=True)
    if len(histories_U) == len(of_R):
        return of_R, token_R, None
    return histories_U // tokens, histories_U % tokens, new_of_R


UNDRAWABLE = (
    "no token can be drawn: the policy's logits hold NaN, or -inf alone; its weights have probably "
    "diverged, so go back to an older checkpoint, or lower the learning rate"
)


def count_written(tokens_RT: Tensor, vocabulary: Vocabulary) -> int:
    """How many of these are tokens, no padding.

    Raises:
        ValueError: one is what stands for a draw from no distribution.
    """
    if bool((tokens_RT == vocabulary.bos).any()):
        raise ValueError(UNDRAWABLE)
    return int((tokens_RT != vocabulary.pad).sum())
