"""A minimum length.

An agent rewarded for variety within a sequence learns to write one token and stop, if it may.
"""

# Shapes: B sequences, A actions
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import IncrementalConstraint, State


@dataclass(eq=False)
class MinimumLength(IncrementalConstraint):
    """No end before ``tokens`` tokens, the end token not counted.

    Args:
        tokens: at least so many; at most T.
    """

    tokens: int

    def prepare(self) -> None:
        """See that it can be met."""
        if not 0 <= self.tokens <= self.max_length:
            raise ValueError(
                f"{self} cannot be met: tokens should be from 0 to max_length, {self.max_length}"
            )
        A, eos = self.vocabulary.num_actions, self.vocabulary.eos
        written_T1 = torch.arange(self.max_length + 1, device=self.device)[:, None]
        others_A = torch.arange(A, device=self.device) != (A if eos is None else eos)
        self._allowed_TA = (written_T1 >= self.tokens) | others_A

    def start(self, batch: int) -> State:
        """How many tokens were written: (B,)."""
        return (torch.zeros(batch, dtype=torch.int64, device=self.device),)

    def advance(self, state: State, tokens_B: Tensor) -> State:
        """Count."""
        return (state[0] + (tokens_B != self.vocabulary.pad),)

    def allowed(self, state: State) -> Tensor:
        """All but the end token, and that too once there are enough."""
        return self._allowed_TA[state[0]]
