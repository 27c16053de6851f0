"""A randomly initialised causal Transformer as a source.

With every weight from N(0, 1), as for the LSTM, attention would look at one token, and three of
5,000 tokens would have three quarters of the probability (1.8 nats). So weights are scaled by
1 / sqrt(fan in), which keeps the size of what they carry, and logits to a standard deviation of
2.35: normal logits of deviation s leave about ln V - s^2 / 2 nats, 5.76 for 5,000 tokens. Measured:
5.81 to 5.88 nats a token (length 20, seeds 0 to 2), as the LSTM's 5.87 to 6.09.
Left out: training, dropout, learned positions (sinusoids, so that any length can be written).
"""

# Shapes: B sequences, T steps so far, V tokens (= A: no end token), D width, N heads, K = D / N
from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .base import State, StepSource, numbered

_LOGIT_DEVIATION = 2.35


class TransformerOracle(StepSource):
    """A causal Transformer (pre-norm, GELU) with fixed weights.

    Args:
        seed: of the weights.
        num_tokens: V.
        width: D.
        layers: how many blocks.
        heads: N.
        length: T, the fixed length of its sequences.
    """

    dtype = torch.float32

    def __init__(
        self,
        seed: int = 0,
        *,
        num_tokens: int = 5000,
        width: int = 32,
        layers: int = 2,
        heads: int = 4,
        length: int = 20,
    ) -> None:
        generator = np.random.default_rng(seed)

        def draw(fan_in: int, fan_out: int) -> Tensor:
            weights = generator.standard_normal((fan_in, fan_out)) / math.sqrt(fan_in)
            return torch.from_numpy(weights.astype(np.float32))

        self.length, self.heads = length, heads
        self.vocabulary = numbered(num_tokens)
        self._embedding = draw(num_tokens, width) * math.sqrt(num_tokens)  # N(0, 1)
        shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
        self._layers = [[draw(*shape) for shape in shapes] for _ in range(layers)]
        self._out = draw(width, num_tokens) * _LOGIT_DEVIATION

    def initial_state(self, batch: int) -> State:
        """Keys and values of every layer, (B, N, 0, K) each: they grow by one a step."""
        D = self._out.shape[0]
        empty = torch.zeros((batch, self.heads, 0, D // self.heads))
        return (empty,) * (2 * len(self._layers))

    def step(self, token_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Read a token: logits (B, V), the next state."""
        token_B = token_B.masked_fill(token_B == self.vocabulary.bos, 0)
        x_BD = self._embedding[token_B]
        x_BD = x_BD + _position(state[0].shape[2], x_BD.shape[1])
        grown: list[Tensor] = []
        for layer, (w_qkv, w_o, w_up, w_down) in enumerate(self._layers):
            keys, values = state[2 * layer : 2 * layer + 2]
            q, k, v = (_norm(x_BD) @ w_qkv).unflatten(1, (3 * self.heads, 1, -1)).chunk(3, dim=1)
            keys, values = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
            x_BD = x_BD + F.scaled_dot_product_attention(q, keys, values).flatten(1) @ w_o
            x_BD = x_BD + F.gelu(_norm(x_BD) @ w_up) @ w_down
            grown += [keys, values]
        return _norm(x_BD) @ self._out, tuple(grown)


def _norm(x_BD: Tensor) -> Tensor:
    return F.layer_norm(x_BD, x_BD.shape[1:])


def _position(step: int, width: int) -> Tensor:
    """The sinusoids of a position (Vaswani et al., 2017, arXiv 1706.03762, section 3.5), (D,)."""
    angles = step / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=1).flatten()
