"""The Policy contract: who writes."""

# Shapes: B sequences, T steps, A actions
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...envs import Vocabulary
from .conditions import ConditionPrior

State = tuple[Tensor, ...]  # the policy's own; rows are taken by its ``select`` and ``branch``


class Policy(nn.Module, ABC):
    """A distribution over the next token, given the tokens so far.

    ``step`` and ``forward`` agree to float precision (in eval mode): a test holds every policy to
    it.

    Attributes:
        vocabulary: what it writes.
        output: the last layer, from ``features`` to logits. A critic is made of a policy by another
            last layer; policies that no critic is wanted for need neither.
        fixed_shapes: whether the tensors of a state have a row for each row of the batch, and keep
            their shapes from step to step; the backends ``graph`` and ``triton`` need it.
        condition_size: C, the numbers of the condition (B, C) that it reads; 0 where it reads none.
        prior: what a condition is drawn from where none is given; only where it reads one.
    """

    name: ClassVar[str]
    fixed_shapes: ClassVar[bool] = False
    vocabulary: Vocabulary
    output: nn.Linear
    condition_size: int = 0
    prior: ConditionPrior

    @abstractmethod
    def initial_state(self, batch: int, condition: Tensor | None = None) -> State:
        """The state before the first token, for a batch."""

    @abstractmethod
    def step(self, tokens_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token (``bos`` first); logits (B, A) of the next and the new state.

        Never with dropout. ``pad`` may be read too; what follows it means nothing.
        """

    @contextmanager
    def fixed_weights(self) -> Iterator[None]:
        """Within, the weights stay as they are: what steps derive from them may be kept."""
        yield

    def select(self, state: State, rows: Tensor) -> State:
        """The state of these rows of the batch; one may be named more than once."""
        return tuple(tensor[rows] for tensor in state)

    def branch(self, state: State, rows: Tensor) -> State:
        """The state of ``len(rows)`` new rows, each going on from the row that it names."""
        return self.select(state, rows)

    @abstractmethod
    def forward(self, tokens_BT: Tensor, condition: Tensor | None = None) -> Tensor:
        """Teacher forcing in one pass: logits (B, T, A), those at t given the tokens before t."""

    def features(self, tokens_BT: Tensor, condition: Tensor | None = None) -> Tensor:
        """What ``output`` makes the logits of, (B, T, H): those at t know the tokens before t."""
        raise NotImplementedError(
            f"{type(self).__name__} shares no features; define features(tokens_BT) and make "
            "forward output(features(tokens_BT))"
        )

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's keywords, JSON values, without the vocabulary."""

    def draw_condition(self, seed: int, b_B: Tensor) -> Tensor | None:
        """Conditions (B, C) for sequences number ``b_B``, of the prior; None where it reads none.

        A sequence that is written under one keeps it (``Sequences.condition_B``): the gradient of
        its log-probability given the condition is the policy gradient of what is written overall,
        for the prior has no weights.
        """
        return self.prior.draw(seed, b_B) if self.condition_size else None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    def shifted(self, tokens_BT: Tensor) -> Tensor:
        """What is read to predict ``tokens_BT``: ``bos``, then all but the last."""
        bos_B1 = tokens_BT.new_full((len(tokens_BT), 1), self.vocabulary.bos)
        return torch.cat([bos_B1, tokens_BT[:, :-1]], dim=1)
