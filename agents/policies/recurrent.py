"""Recurrent policies: embedding, GRU or LSTM, linear output.

The weights are those of ``nn.GRU`` and ``nn.LSTM``, which do the pass over whole sequences. The
single step is written out: while the weights are fixed its first layer reads a table, ``embedding @
W_ih + b_ih`` for every token.

A condition c (B, C) enters at the first state, by a linear layer, and at every step beside the
embedding: its share in the first layer's gates is added to the token's, so the table stays exact.
It is the last tensor of the state.
"""

# Shapes: B sequences, T steps, A actions, V = A + 2 inputs, H hidden units, C of a condition
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...envs import Vocabulary
from ...rewards.packed import add_product, linear, pack
from .base import Policy, State
from .conditions import ConditionPrior, checked_condition
from .layers import TiedOutput, VariationalDropout


class RecurrentPolicy(Policy):
    """What GRU and LSTM share: all but the cell."""

    fixed_shapes = True
    _network: ClassVar[type[nn.GRU] | type[nn.LSTM]]
    states: ClassVar[int]  # tensors of state a layer, h first

    def __init__(
        self,
        vocabulary: Vocabulary,
        embedding: int = 128,
        hidden: int = 256,
        layers: int = 1,
        dropout: float = 0.0,
        variational: bool = False,
        tied: bool = False,
        condition_size: int = 0,
        modes: int = 1,
    ) -> None:
        super().__init__()
        if min(embedding, hidden, layers, modes, condition_size + 1) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"embedding {embedding}, hidden {hidden}, layers {layers}, modes {modes} should be "
                f"at least 1, condition_size {condition_size} at least 0 and dropout {dropout} in "
                "[0, 1)"
            )
        if tied and embedding != hidden:
            raise ValueError(
                f"a tied output needs embedding {embedding} and hidden {hidden} to be equal"
            )
        self.vocabulary = vocabulary
        self._config = dict(
            embedding=embedding,
            hidden=hidden,
            layers=layers,
            dropout=dropout,
            variational=variational,
            tied=tied,
        )
        if condition_size:
            self._config |= dict(condition_size=condition_size, modes=modes)
        self.embedding = nn.Embedding(vocabulary.num_inputs, embedding)
        self.dropout = (VariationalDropout if variational else nn.Dropout)(dropout)
        between = dropout if layers > 1 and not variational else 0.0
        inputs = embedding + condition_size
        self.network = self._network(inputs, hidden, layers, batch_first=True, dropout=between)
        A = vocabulary.num_actions
        self.output = TiedOutput(self.embedding, A) if tied else nn.Linear(hidden, A)
        self.layers, self.hidden, self.condition_size = layers, hidden, condition_size
        if condition_size:
            self.first_state = nn.Linear(condition_size, self.states * layers * hidden)
            self.prior = ConditionPrior(condition_size, modes)
        self._table: Tensor | None = None  # of the input's share in the first layer's gates
        self._packed: dict[str, Tensor | None] = {}  # weights, by name; see rewards/packed.py

    def initial_state(self, batch: int, condition: Tensor | None = None) -> State:
        """Zeros, (B, H) a tensor; with a condition what it makes of them, and the condition."""
        condition = checked_condition(condition, batch, self.condition_size)
        if condition is None:
            zeros_BH = torch.zeros((batch, self.hidden), device=self.device, dtype=self.dtype)
            return (zeros_BH,) * (self.states * self.layers)
        c_BC = condition.to(self.device, self.dtype)
        return (*torch.tanh(self.first_state(c_BC)).split(self.hidden, dim=1), c_BC)

    def features(self, tokens_BT: Tensor, condition: Tensor | None = None) -> Tensor:
        """The last layer's hidden states (B, T, H)."""
        state = self.initial_state(len(tokens_BT), condition)
        return self.read(self.shifted(tokens_BT), state)[0]

    def read(self, inputs_BT: Tensor, state: State) -> tuple[Tensor, State]:
        """Read tokens in one pass, from a state on: features (B, T, H) and the state after them.

        So a long text can be read in chunks.
        """
        condition = state[self.states * self.layers :]
        hidden = state[: self.states * self.layers]
        kinds = [torch.stack(hidden[kind :: self.states]) for kind in range(self.states)]
        embedded = self.dropout(self.embedding(inputs_BT))
        if condition:
            c_BTC = condition[0][:, None].expand(-1, inputs_BT.shape[1], -1)
            embedded = torch.cat([embedded, c_BTC], dim=2)
        hidden_BTH, last = self.network(embedded, kinds[0] if len(kinds) == 1 else tuple(kinds))
        by_kind = [last] if len(kinds) == 1 else last
        by_layer = zip(*(kind_LBH.unbind(0) for kind_LBH in by_kind), strict=True)
        new = tuple(tensor for layer in by_layer for tensor in layer)
        return self.dropout(hidden_BTH), new + condition

    def forward(self, tokens_BT: Tensor, condition: Tensor | None = None) -> Tensor:
        """Logits (B, T, A) in one pass."""
        logits_BTA: Tensor = self.output(self.features(tokens_BT, condition))
        return logits_BTA

    def step(self, tokens_B: Tensor, state: State) -> tuple[Tensor, State]:
        """One token; logits (B, A)."""
        features_BH, state = self.step_features(tokens_B, state)
        return self.output(features_BH), state

    def step_features(self, tokens_B: Tensor, state: State) -> tuple[Tensor, State]:
        """One token; features (B, H), which ``output`` makes the logits of."""
        if self._table is None or torch.is_grad_enabled():
            gates = self._inputs(self.embedding(tokens_B), 0)
        else:
            gates = F.embedding(tokens_B, self._table)
        return self._after(gates, state)

    def step_embedded(self, embedded_BE: Tensor, state: State) -> tuple[Tensor, State]:
        """``step`` for what is embedded already, such as a mixture of tokens; logits (B, A)."""
        features_BH, state = self._after(self._inputs(embedded_BE, 0), state)
        return self.output(features_BH), state

    def _after(self, gates: Tensor, state: State) -> tuple[Tensor, State]:
        """Features and the new state, from the input's share in the first layer's gates."""
        condition = state[self.states * self.layers :]
        if condition:
            of_condition = self.weight("weight_ih", 0)[:, -self.condition_size :]
            gates = torch.addmm(gates, condition[0], of_condition.T)
        new: list[Tensor] = []
        for layer in range(self.layers):
            if layer:
                gates = self._inputs(new[-self.states], layer)
            new += self._cell(gates, state[layer * self.states :][: self.states], layer)
        return new[-self.states], (*new, *condition)

    @contextmanager
    def fixed_weights(self) -> Iterator[None]:
        """Within, steps look the first layer's input up in a table, and weights are packed."""
        outer = self._table, self._packed
        named = dict(self.network.named_parameters())
        of_steps = {k: w for k, w in named.items() if w.dim() == 2 and k != "weight_ih_l0"}
        self._packed = {name: pack(weight) for name, weight in of_steps.items()}
        self._table = self.input_table()
        try:
            yield
        finally:
            self._table, self._packed = outer

    @torch.no_grad()
    def input_table(self) -> Tensor:
        """The input's share in the first layer's gates for every token, (V, gates H)."""
        return self._inputs(self.embedding.weight, 0)

    def config(self) -> dict[str, Any]:
        """The constructor's keywords."""
        return dict(self._config)

    def weight(self, name: str, layer: int) -> Tensor:
        """A parameter of a layer, by its name without the layer's number."""
        weight: Tensor = getattr(self.network, f"{name}_l{layer}")
        return weight

    def packed(self, name: str, layer: int) -> Tensor | None:
        """The same, packed, where it is; packed weights have no gradients."""
        return None if torch.is_grad_enabled() else self._packed.get(f"{name}_l{layer}")

    @abstractmethod
    def input_bias(self, layer: int) -> Tensor:
        """What is added to the input's share in a layer's gates, (gates H,)."""

    @abstractmethod
    def _cell(self, gates: Tensor, state: State, layer: int) -> State:
        """One layer's new state, h first; ``gates`` is the input's share and is written over."""

    def _inputs(self, x: Tensor, layer: int) -> Tensor:
        weight = self.weight("weight_ih", layer)[:, : x.shape[1]]  # the condition's share apart
        return linear(x, weight, self.input_bias(layer), self.packed("weight_ih", layer))


class GRUPolicy(RecurrentPolicy):
    """A GRU (Cho et al., 2014) over embedded tokens.

    Args:
        vocabulary: what it reads and writes.
        embedding: size of a token's embedding.
        hidden: H, units of a layer.
        layers: how many layers.
        dropout: share of units dropped while training, between all layers.
        variational: drop the same units at every step, of the embedding and of the last layer alone
            (see layers.py).
        tied: the output layer has the embedding's weights; they are of one size then.
        condition_size: C, numbers of a condition that it reads; 0 for none.
        modes: M, of what conditions are drawn from where none is given (see conditions.py).
    """

    name = "GRU"
    _network = nn.GRU
    states = 1

    def input_bias(self, layer: int) -> Tensor:
        """The input's own."""
        return self.weight("bias_ih", layer)

    def _cell(self, gates: Tensor, state: State, layer: int) -> State:
        (h_BH,) = state
        H = self.hidden
        weight, bias = self.weight("weight_hh", layer), self.weight("bias_hh", layer)
        recurrent = linear(h_BH, weight, bias, self.packed("weight_hh", layer))
        reset_update = (gates[:, : 2 * H] + recurrent[:, : 2 * H]).sigmoid_()
        reset, update = reset_update[:, :H], reset_update[:, H:]
        candidate = _tanh(torch.addcmul(gates[:, 2 * H :], reset, recurrent[:, 2 * H :]))
        return (torch.lerp(candidate, h_BH, update),)


class LSTMPolicy(RecurrentPolicy):
    """An LSTM (Hochreiter and Schmidhuber, 1997) over embedded tokens.

    Args:
        vocabulary: what it reads and writes.
        embedding: size of a token's embedding.
        hidden: H, units of a layer.
        layers: how many layers.
        dropout: share of units dropped while training, between all layers.
        variational: drop the same units at every step, of the embedding and of the last layer alone
            (see layers.py).
        tied: the output layer has the embedding's weights; they are of one size then.
        condition_size: C, numbers of a condition that it reads; 0 for none.
        modes: M, of what conditions are drawn from where none is given (see conditions.py).
    """

    name = "LSTM"
    _network = nn.LSTM
    states = 2

    def input_bias(self, layer: int) -> Tensor:
        """The input's and the state's: only their sum is used."""
        return self.weight("bias_ih", layer) + self.weight("bias_hh", layer)

    def _cell(self, gates: Tensor, state: State, layer: int) -> State:
        h_BH, c_BH = state
        weight, packed = self.weight("weight_hh", layer), self.packed("weight_hh", layer)
        gates = add_product(gates, h_BH, weight, packed)
        i, f, g, o = gates.chunk(4, dim=1)
        c_BH = torch.addcmul(f.sigmoid() * c_BH, i.sigmoid(), _tanh(g))
        return o.sigmoid() * _tanh(c_BH), c_BH


def _tanh(x: Tensor) -> Tensor:
    """By the sigmoid, which takes a third of the time on a CPU; half precision is too coarse."""
    return x.tanh() if x.dtype.itemsize < 4 else (x + x).sigmoid().mul(2).sub(1)
