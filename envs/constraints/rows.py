"""The masks of sequences that are being written one token a step: what both environments ask."""

# Shapes: B rows, E of them beginning anew, T steps, A actions
from __future__ import annotations

import numpy as np
import torch

from .base import Constraint, State


class RowMasks:
    """Carries a constraint along B rows, some of which end and begin anew.

    Args:
        constraint: bound to the vocabulary and the length.
        batch: B.
    """

    def __init__(self, constraint: Constraint, batch: int) -> None:
        self.constraint = constraint
        self._pad = constraint.vocabulary.pad
        self._state: State = constraint.start(batch)
        self._begun = [begun.numpy() for begun in self._state]
        self._free_B = np.zeros(batch, bool)  # nothing is forbidden there
        self._rows_B = np.arange(batch)
        self.mask_BA: np.ndarray
        """bool (B, A): what may be written next; anything, after the end."""
        self.refresh()

    def restart(self, rows_E: np.ndarray, prefixes_ET: np.ndarray | None = None) -> None:
        """Begin rows anew, by their numbers, empty or after a prefix (``pad`` after it)."""
        state = [tensor.numpy().copy() for tensor in self._state]
        new = self._begun
        if prefixes_ET is not None:
            new = [state.numpy() for state in self.constraint.after(torch.from_numpy(prefixes_ET))]
        for array, begun in zip(state, new, strict=True):
            array[rows_E] = begun[: len(rows_E)]  # at the beginning all rows are alike
        self._state = tuple(map(torch.from_numpy, state))
        self._free_B[rows_E] = False

    def forbids(self, tokens_B: np.ndarray) -> np.ndarray:
        """Which of these tokens may not be written, bool (B,)."""
        refused_B: np.ndarray = ~self.mask_BA[self._rows_B, tokens_B]
        return refused_B

    def advance(self, tokens_B: np.ndarray, ended_B: np.ndarray, forbidden: list[int]) -> None:
        """Read a token in each row; those that end or write a forbidden one are then free."""
        self._free_B |= ended_B
        self._free_B[forbidden] = True
        read_B = np.where(self._free_B, self._pad, tokens_B)
        self._state = self.constraint.advance(self._state, torch.from_numpy(read_B))

    def refresh(self) -> None:
        """Work ``mask_BA`` out, once a step."""
        free_B = torch.from_numpy(self._free_B) if self._free_B.any() else None
        self.mask_BA = self.constraint.actions(self._state, free_B).numpy()

    def refusal(self, token: int, position: int) -> str:
        """What is said of a forbidden action."""
        spelling = self.constraint.vocabulary.tokens[token]
        return (
            f"action {token}, the token {spelling!r}, is forbidden at position {position} by "
            f"{self.constraint}"
        )
