"""Some tokens only, or all but some."""

# Shapes: B sequences, A actions
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import IncrementalConstraint, State


class SameEverywhere(IncrementalConstraint):
    """A mask that does not depend on what was written."""

    _allowed_A: Tensor

    def start(self, batch: int) -> State:
        """Nothing, for each row: (B, 0)."""
        return (torch.empty((batch, 0), device=self.device),)

    def advance(self, state: State, tokens_B: Tensor) -> State:
        """Nothing changes."""
        return state

    def allowed(self, state: State) -> Tensor:
        """The same for each row."""
        return self._allowed_A.expand(len(state[0]), -1)


@dataclass(eq=False)
class AllowedTokens(SameEverywhere):
    """These tokens only, and the end token, if there is one.

    Args:
        tokens: as the vocabulary spells them.
    """

    tokens: list[str]

    def prepare(self) -> None:
        """Look the tokens up."""
        self._allowed_A = torch.zeros(self.vocabulary.num_actions, dtype=torch.bool)
        self._allowed_A[self._ids_of(self.tokens)] = True
        if not self._allowed_A.any():
            raise ValueError(f"{self} allows nothing; name at least one token")
        if self.vocabulary.eos is not None:
            self._allowed_A[self.vocabulary.eos] = True
        self._allowed_A = self._allowed_A.to(self.device)


@dataclass(eq=False)
class ForbiddenTokens(SameEverywhere):
    """All tokens but these; with ``"<eos>"`` among them every sequence has T tokens.

    Args:
        tokens: as the vocabulary spells them.
    """

    tokens: list[str]

    def prepare(self) -> None:
        """Look the tokens up."""
        self._allowed_A = torch.ones(self.vocabulary.num_actions, dtype=torch.bool)
        self._allowed_A[self._ids_of(self.tokens)] = False
        if not self._allowed_A.any():
            raise ValueError(f"{self} forbids every token; leave at least one")
        self._allowed_A = self._allowed_A.to(self.device)
