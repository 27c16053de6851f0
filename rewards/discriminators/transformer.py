"""A Transformer discriminator: every token attends to all, and the mean of the outcome is judged.

The encoder of Vaswani et al. (2017, arXiv 1706.03762) with learnt positions, GELU and the norm
before each part (Xiong et al., 2020, arXiv 2002.04745). Padding is masked: nothing attends to it,
and it is not in the mean. As every token sees those after it, completions of one prefix share
nothing but the tokens, and each is read from its beginning.
"""

# Shapes: B sequences, T steps, D width (= E, embedding)
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .base import Discriminator
from .network import TokenNetwork

if TYPE_CHECKING:
    from ...envs.vocabulary import Vocabulary


@dataclass(eq=False)
class TransformerDiscriminator(Discriminator):
    """How real a sequence is, by a Transformer; learnt from real and generated ones."""

    width: int = 64
    """Of a token's embedding, and of what the layers hand on."""
    layers: int = 2
    """How many layers."""
    heads: int = 4
    """Which divide the width."""
    dropout: float = 0.1
    """Share of units dropped while training, after the embedding and in every layer."""

    name = "transformer_discriminator"

    def __post_init__(self) -> None:
        """Check the options."""
        if min(self.width, self.layers, self.heads) < 1 or self.width % self.heads:
            raise ValueError(
                f"width {self.width}, layers {self.layers}, heads {self.heads}; expected positive "
                "numbers, and a width that the heads divide"
            )
        super().__post_init__()

    def make_network(self, vocabulary: Vocabulary, max_length: int) -> TransformerNetwork:
        """The encoder, with as many positions as a sequence can have tokens."""
        return TransformerNetwork(
            vocabulary, max(max_length, 1), self.width, self.layers, self.heads, self.dropout
        )


class TransformerNetwork(TokenNetwork):
    """Tokens to one output; see the top of this file."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        positions: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary.num_inputs, width, padding_idx=vocabulary.pad)
        self.positions_TD = nn.Parameter(torch.randn(positions, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, 1)
        with torch.no_grad():  # a token and a place count alike
            for weight in (self.embedding.weight, self.positions_TD):
                weight.mul_(width**-0.5)

    def judge(self, embedded_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        """Outputs (B,) of the mean over real tokens."""
        x_BTD = self.dropout(embedded_BTE + self.positions_TD[: embedded_BTE.shape[1]])
        for layer in self.layers:
            x_BTD = layer(x_BTD, src_key_padding_mask=~mask_BT)
        mean_BD = self.norm(x_BTD).masked_fill(~mask_BT[:, :, None], 0.0).sum(dim=1)
        mean_BD = mean_BD / mask_BT.sum(dim=1, keepdim=True)
        outputs_B: Tensor = self.output(mean_BD)[:, 0]
        return outputs_B
