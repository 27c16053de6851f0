"""A recurrent discriminator: GRU or LSTM over embedded tokens, judged by its state at the end.

The networks of Cho et al. (2014, arXiv 1406.1078) and Hochreiter and Schmidhuber (1997). They read
from left to right, so that the state at a sequence's last token has seen no padding, and
completions of one prefix go on from its state.
"""

# Shapes: B sequences, T steps, E embedding, H hidden units, L layers, R completions
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from .base import Discriminator
from .network import PrefixStates, TokenNetwork

if TYPE_CHECKING:
    from ...envs.vocabulary import Vocabulary

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


@dataclass(eq=False)
class RecurrentDiscriminator(Discriminator):
    """How real a sequence is, by a GRU or an LSTM; learnt from real and generated ones."""

    cell: Literal["gru", "lstm"] = "gru"
    """What it is made of."""
    embedding: int = 64
    """Size of a token's embedding."""
    hidden: int = 128
    """Units of a layer."""
    layers: int = 1
    """How many layers."""
    dropout: float = 0.25
    """Share of units dropped while training, after the embedding and every layer."""

    name = "recurrent_discriminator"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.cell not in _CELLS or min(self.embedding, self.hidden, self.layers) < 1:
            raise ValueError(
                f"cell {self.cell!r}, embedding {self.embedding}, hidden {self.hidden}, layers "
                f"{self.layers}; expected 'gru' or 'lstm' and positive numbers"
            )
        super().__post_init__()

    def make_network(self, vocabulary: Vocabulary, max_length: int) -> RecurrentNetwork:
        """The recurrent network; any length will do."""
        return RecurrentNetwork(
            vocabulary, self.cell, self.embedding, self.hidden, self.layers, self.dropout
        )


class RecurrentNetwork(TokenNetwork):
    """Tokens to one output; see the top of this file."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        cell: str,
        embedding: int,
        hidden: int,
        layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary.num_inputs, embedding, padding_idx=vocabulary.pad)
        between = dropout if layers > 1 else 0.0
        self.cells = _CELLS[cell](embedding, hidden, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, 1)

    def judge(self, embedded_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        """Outputs (B,) of the state at the last real token."""
        return self._judge_from(None, embedded_BTE, mask_BT)

    def read_prefixes(self, tokens_BT: Tensor) -> PrefixStates:
        """The states after each token, (T, B, L, H); of an LSTM two such tensors."""
        state: PrefixStates | None = None
        states = []
        for embedded_BE in self.embedding(tokens_BT).unbind(dim=1):
            state = self._read(embedded_BE[:, None], state)[1]
            states.append(state)
        return tuple(torch.stack(found).transpose(1, 2) for found in zip(*states, strict=True))

    def completed_outputs(self, tokens_RT: Tensor, length: int, shared: PrefixStates) -> Tensor:
        """Outputs (R,), reading on from the prefix's state."""
        rest_RT = tokens_RT[:, length:]
        state = tuple(found_RLH.transpose(0, 1).contiguous() for found_RLH in shared)
        return self._judge_from(state, self.embedding(rest_RT), self.mask(rest_RT))

    def _judge_from(
        self, state: PrefixStates | None, embedded_BTE: Tensor, mask_BT: Tensor
    ) -> Tensor:
        hidden_BTH, _ = self._read(self.dropout(embedded_BTE), state)
        rows = torch.arange(len(mask_BT), device=mask_BT.device)
        last_BH = hidden_BTH[rows, mask_BT.sum(dim=1) - 1]
        outputs_B: Tensor = self.output(self.dropout(last_BH))[:, 0]
        return outputs_B

    def _read(
        self, embedded_BTE: Tensor, state: PrefixStates | None
    ) -> tuple[Tensor, PrefixStates]:
        """What the top layer says at every step, and the state at the end, (L, B, H) a tensor."""
        if isinstance(self.cells, nn.LSTM):
            hidden_BTH, state = self.cells(embedded_BTE, state)
            return hidden_BTH, state
        hidden_BTH, state_LBH = self.cells(embedded_BTE, None if state is None else state[0])
        return hidden_BTH, (state_LBH,)
