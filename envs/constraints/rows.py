"""The masks of sequences that are being written one token a step: what both environments ask."""

# Shapes: B rows, T steps, A actions
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

    def restart(self, rows_B: np.ndarray, prefixes_BT: np.ndarray | None = None) -> None:
        """Begin rows anew, empty or after a prefix (``pad`` after it)."""
        new = self._begun
        if prefixes_BT is not None:
            new = [begun.numpy() for begun in self.constraint.after(torch.from_numpy(prefixes_BT))]
        self._state = tuple(
            torch.from_numpy(np.where(rows_B.reshape(-1, *[1] * (old.ndim - 1)), begun, old))
            for begun, old in zip(new, (old.numpy() for old in self._state), strict=True)
        )
        self._free_B[rows_B] = False

    def forbids(self, tokens_B: np.ndarray) -> np.ndarray:
        """Which of these tokens may not be written, bool (B,)."""
        refused_B: np.ndarray = ~self.mask_BA[self._rows_B, tokens_B]
        return refused_B

    def advance(self, tokens_B: np.ndarray, free_B: np.ndarray) -> None:
        """Read a token in each row that is not free; rows in ``free_B`` are free from now on."""
        self._free_B |= free_B
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
