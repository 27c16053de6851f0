"""No immediate repetition: no group of n tokens right after itself."""

# Shapes: B sequences, W = 2n - 1 tokens, A actions
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import IncrementalConstraint, State


@dataclass(eq=False)
class NoRepetition(IncrementalConstraint):
    """No group of ``n`` tokens right after itself; combine several sizes with ``&``.

    The end token is no repetition. One size forbids at most one token a step, so it leaves an
    action wherever there are two.

    Args:
        n: the size of the group; 1 for no token twice in a row.
    """

    n: int = 1

    def prepare(self) -> None:
        """See that it means something."""
        if self.n < 1:
            raise ValueError(f"{self}: n should be at least 1")
        if self.vocabulary.num_actions < 2:
            raise ValueError(f"{self} cannot be met with a single token; add tokens")

    def start(self, batch: int) -> State:
        """The last 2n - 1 tokens, -1 for none: (B, W)."""
        shape = (batch, 2 * self.n - 1)
        return (torch.full(shape, -1, dtype=torch.int64, device=self.device),)

    def advance(self, state: State, tokens_B: Tensor) -> State:
        """Move on by one."""
        (last_BW,) = state
        moved_BW = torch.cat([last_BW[:, 1:], tokens_B[:, None]], dim=1)
        return (torch.where((tokens_B != self.vocabulary.pad)[:, None], moved_BW, last_BW),)

    def allowed(self, state: State) -> Tensor:
        """All but the token that would complete the group a second time."""
        (last_BW,) = state
        n, A = self.n, self.vocabulary.num_actions
        again_B = (last_BW[:, : n - 1] == last_BW[:, n:]).all(dim=1) & (last_BW[:, 0] >= 0)
        mask_BA = torch.ones((len(last_BW), A + 1), dtype=torch.bool, device=self.device)
        banned_B = torch.where(again_B, last_BW[:, n - 1], A)  # column A is nobody's
        return mask_BA.scatter_(1, banned_B[:, None], False)[:, :A]
