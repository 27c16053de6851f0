"""A fixed text with holes, such as a scaffold that is to be filled in."""

# Shapes: B sequences, P places of the template, A actions
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import IncrementalConstraint, State


@dataclass(eq=False)
class Template(IncrementalConstraint):
    """Fixed tokens and holes of a fixed size: ``Template(["c1ccc(", 4, ")cc1"])``.

    Args:
        parts: a text is written as it stands; a number is a hole of as many tokens, any but the
            end token.
        open_end: whatever is wanted may follow the last part; otherwise the sequence ends there,
            by the end token or, in a language without one, because it has T tokens.
    """

    parts: list[str | int]
    open_end: bool = False

    def prepare(self) -> None:
        """Lay the template out: a row of the table for each place, the last one for all after."""
        vocabulary, T = self.vocabulary, self.max_length
        fixed_P: list[int | None] = []
        for part in self.parts:
            if isinstance(part, str):
                fixed_P += vocabulary.encode([part], end=False).tokens_BT[0].tolist()
            elif part < 0:
                raise ValueError(f"{self} has a hole of {part} tokens; expected at least 0")
            else:
                fixed_P += [None] * part
        if len(fixed_P) > T:
            raise ValueError(f"{self} has {len(fixed_P)} tokens and max_length is {T}; shorten it")
        if vocabulary.eos is None and not self.open_end and len(fixed_P) < T:
            raise ValueError(
                f"{self} has {len(fixed_P)} tokens, and in a language without an end token every "
                f"sequence has {T}; lengthen it, or give open_end=True"
            )
        table_PA = torch.ones((len(fixed_P) + 1, vocabulary.num_actions), dtype=torch.bool)
        for place, token in enumerate(fixed_P):
            if token is not None:
                table_PA[place] = False
                table_PA[place, token] = True
            elif vocabulary.eos is not None:
                table_PA[place, vocabulary.eos] = False
        if vocabulary.eos is not None and not self.open_end:
            table_PA[-1] = False
            table_PA[-1, vocabulary.eos] = True
        self._table_PA = table_PA.to(self.device)

    def start(self, batch: int) -> State:
        """The place: (B,)."""
        return (torch.zeros(batch, dtype=torch.int64, device=self.device),)

    def advance(self, state: State, tokens_B: Tensor) -> State:
        """Go on to the next place."""
        place_B = state[0] + (tokens_B != self.vocabulary.pad)
        return (place_B.clamp(max=len(self._table_PA) - 1),)

    def allowed(self, state: State) -> Tensor:
        """What the place allows."""
        return self._table_PA[state[0]]
