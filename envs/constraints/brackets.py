"""Balanced brackets: a Dyck language, with other tokens in between."""

# Shapes: B sequences, D brackets open at once, A actions
from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .base import IncrementalConstraint, State


@dataclass(eq=False)
class BalancedBrackets(IncrementalConstraint):
    """Every bracket is closed by its own kind, before the end and within T.

    Args:
        pairs: opening and closing token of each kind; by default the round ones.
    """

    pairs: list[tuple[str, str]] = field(default_factory=lambda: [("(", ")")])

    def prepare(self) -> None:
        """Look the tokens up: the kind that each opens or closes, -1 for neither."""
        A, eos = self.vocabulary.num_actions, self.vocabulary.eos
        opens = self._ids_of(left for left, _ in self.pairs)
        closes = self._ids_of(right for _, right in self.pairs)
        if not opens or len({*opens, *closes}) < 2 * len(opens):
            raise ValueError(f"{self}: give at least one pair, of tokens that are all different")
        if len(opens) + len(closes) == A and self.max_length % 2:
            raise ValueError(
                f"{self} cannot be met: {self.max_length} tokens, an odd number, all brackets; "
                "make max_length even"
            )
        self._opened_A, self._closed_A = torch.full((2, A + 2), -1).to(self.device)
        for kind, (left, right) in enumerate(zip(opens, closes, strict=True)):
            self._opened_A[left], self._closed_A[right] = kind, kind
        # By how much a token changes how many brackets are open, and what is neither nor the end.
        self._change_A = (self._opened_A >= 0).long() - (self._closed_A >= 0).long()
        self._end_A = torch.arange(A, device=self.device) == (A if eos is None else eos)

    def start(self, batch: int) -> State:
        """Which kinds are open (B, D), how many of them (B,), how many tokens (B,)."""
        zeros_B = torch.zeros(batch, dtype=torch.int64, device=self.device)
        depth = self.max_length // 2 + 1
        return zeros_B[:, None].repeat(1, depth), zeros_B, zeros_B

    def advance(self, state: State, tokens_B: Tensor) -> State:
        """Open or close."""
        stack_BD, depth_B, length_B = state
        opened_B1 = self._opened_A[tokens_B][:, None]
        deepest = stack_BD.shape[1] - 1  # passed only by what is forbidden
        top_B1 = depth_B[:, None]
        kept_B1 = torch.where(opened_B1 >= 0, opened_B1, stack_BD.gather(1, top_B1))
        depth_B = (depth_B + self._change_A[tokens_B]).clamp(0, deepest)
        length_B = length_B + (tokens_B != self.vocabulary.pad)
        return stack_BD.scatter(1, top_B1, kept_B1), depth_B, length_B

    def allowed(self, state: State) -> Tensor:
        """Close what was opened last; open while there is room to close; end when all is closed."""
        stack_BD, depth_B, length_B = state
        A = self.vocabulary.num_actions
        open_B1 = depth_B[:, None]
        last_B1 = stack_BD.gather(1, (open_B1 - 1).clamp(min=0))
        closed_A, change_A = self._closed_A[:A], self._change_A[:A]
        matches_BA = (closed_A < 0) | ((closed_A == last_B1) & (open_B1 > 0))
        room_B1 = (self.max_length - 1 - length_B)[:, None]
        fits_BA = open_B1 + change_A <= room_B1
        mask_BA: Tensor = matches_BA & fits_BA & (~self._end_A | (open_B1 == 0))
        return mask_BA
