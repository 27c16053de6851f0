"""A batch of finished sequences: what policies produce, rewards score and learners read."""

# Shapes: B sequences, T steps
from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Prefixes:
    """What a batch of completions begins with: its row r goes on from sequence ``rows_R[r]``.

    A reward need not look at it. One that does can score a prefix once for all its completions.

    Args:
        sequences: B sequences.
        rows_R: int64, which of them each row begins with.
        length: how many tokens of it, the same for all rows.
        kept: what rewards have computed of ``sequences``, each under a key of its own; shared by
            all batches of completions of them.
    """

    sequences: Sequences
    rows_R: Tensor
    length: int
    kept: dict[object, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Sequences:
    """B sequences of at most T tokens; nothing of it changes once it is made.

    Args:
        tokens_BT: int64 ids, ``vocabulary.pad`` after the end.
        lengths_B: int64 numbers of tokens, the end token counted.
        vocabulary: what the ids mean.
        log_probs_BT: log-probabilities in nats that the writing policy gave the tokens, 0 in the
            padding; None where nobody sampled them.
        condition_B: what each sequence is conditioned on, with B rows: int64 labels (B,) or real
            properties (B, C); None where there is none.
        prefixes: what they begin with, where they are completions.
    """

    tokens_BT: Tensor
    lengths_B: Tensor
    vocabulary: Vocabulary
    log_probs_BT: Tensor | None = None
    condition_B: Tensor | None = None
    prefixes: Prefixes | None = None

    def __post_init__(self) -> None:
        if self.tokens_BT.ndim != 2 or self.lengths_B.shape != self.tokens_BT.shape[:1]:
            raise ValueError(
                f"tokens have shape {tuple(self.tokens_BT.shape)} and lengths "
                f"{tuple(self.lengths_B.shape)}; expected (B, T) and (B,)"
            )
        if self.condition_B is not None and len(self.condition_B) != len(self.tokens_BT):
            raise ValueError(
                f"there are {len(self.condition_B)} conditions for {len(self.tokens_BT)} "
                "sequences; give one for each"
            )

    @classmethod
    def from_tokens(cls, tokens_BT: Tensor, vocabulary: Vocabulary) -> Sequences:
        """Find each row's end: at its end token, else before its first padding, else T.

        What stands after the end is replaced by padding.
        """
        padding_BT = tokens_BT == vocabulary.pad
        ended_BT = padding_BT
        if vocabulary.eos is not None:
            ended_BT = padding_BT | (tokens_BT == vocabulary.eos)
        T = tokens_BT.shape[1]
        if T == 0:
            return cls(tokens_BT, tokens_BT.new_zeros(len(tokens_BT)), vocabulary)
        steps_T = torch.arange(T, device=tokens_BT.device)
        end_B = torch.where(ended_BT, steps_T, T).amin(dim=1)
        at_eos_B = (end_B < T) & ~padding_BT.gather(1, end_B.clamp(max=T - 1)[:, None])[:, 0]
        lengths_B = end_B + at_eos_B
        tokens_BT = tokens_BT.masked_fill(steps_T >= lengths_B[:, None], vocabulary.pad)
        return cls(tokens_BT, lengths_B, vocabulary)

    @cached_property
    def texts(self) -> list[str]:
        """The sequences as text, decoded at the first use."""
        return self.vocabulary.decode(self.tokens_BT)

    @cached_property
    def mask_BT(self) -> Tensor:
        """True at real tokens (the end token is one), False in the padding."""
        steps_T = torch.arange(self.tokens_BT.shape[1], device=self.tokens_BT.device)
        return steps_T < self.lengths_B[:, None]

    @property
    def num_tokens(self) -> int:
        """The number of real tokens in the batch."""
        return int(self.lengths_B.sum())

    def __repr__(self) -> str:
        shown = [text if len(text) <= 40 else text[:37] + "..." for text in self[:3].texts]
        listed = ", ".join([*map(repr, shown), *(["..."] if len(self) > 3 else [])])
        return f"<Sequences: {len(self)} of {self.num_tokens} tokens in all: {listed}>"

    def __len__(self) -> int:
        return len(self.tokens_BT)

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> Sequences:
        if not isinstance(rows, slice | Tensor):
            rows = torch.as_tensor(rows)
            if rows.dtype != torch.bool:
                rows = rows.long()  # of no rows at all too
        log_probs_BT = None if self.log_probs_BT is None else self.log_probs_BT[rows]
        condition_B = None if self.condition_B is None else self.condition_B[rows]
        return Sequences(
            self.tokens_BT[rows], self.lengths_B[rows], self.vocabulary, log_probs_BT, condition_B
        )

    def to(self, device: torch.device | str) -> Sequences:
        """The same sequences on another device."""
        log_probs_BT = None if self.log_probs_BT is None else self.log_probs_BT.to(device)
        condition_B = None if self.condition_B is None else self.condition_B.to(device)
        return replace(
            self,
            tokens_BT=self.tokens_BT.to(device),
            lengths_B=self.lengths_B.to(device),
            log_probs_BT=log_probs_BT,
            condition_B=condition_B,
        )

    def given(self, condition_B: Tensor) -> Sequences:
        """The same sequences, each with what it is conditioned on."""
        return replace(self, condition_B=condition_B)

    def padded(self, length: int) -> Sequences:
        """The same sequences, T made ``length`` by adding or dropping columns of padding.

        Raises:
            ValueError: a sequence is longer than ``length``.
        """
        longest = int(self.lengths_B.max()) if len(self) else 0
        if longest > length:
            raise ValueError(
                f"a sequence of {longest} tokens does not fit into {length}; "
                "give a larger max_length, or leave long sequences out"
            )
        extra = length - self.tokens_BT.shape[1]
        log_probs_BT = self.log_probs_BT
        if log_probs_BT is not None:
            log_probs_BT = F.pad(log_probs_BT, (0, extra))
        return replace(
            self,
            tokens_BT=F.pad(self.tokens_BT, (0, extra), value=self.vocabulary.pad),
            log_probs_BT=log_probs_BT,
        )
